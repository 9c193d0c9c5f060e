"""The rehearsal: the whole job from `up` to `destroy`, each stage timed and proven."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.boxes import definition as boxes
from labkit.errors import OperationError
from labkit.host import ssh
from labkit.lifecycle import tunnel_proof
from labkit.lifecycle.status import LabStatus, status
from labkit.lifecycle.teardown import destroy
from labkit.lifecycle.up import up
from labkit.packstack.deploy import SNAPSHOT, deploy
from labkit.snapshots.restore import restore
from labkit.snapshots.take import take
from labkit.verify.report import summary
from labkit.verify.run import settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

COMMAND_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of the rehearsal: its name, the seconds it took, what it showed."""

    name: str
    seconds: float
    result: str


@dataclass(slots=True)
class Rehearsal:
    """The stages so far."""

    box: str
    steps: list[Step] = field(default_factory=list)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return table rows, the total last."""
        rows = [(step.name, f"{step.seconds:.1f}", step.result) for step in self.steps]
        return [*rows, ("total", f"{sum(step.seconds for step in self.steps):.1f}", "")]

    def as_json(self) -> dict[str, object]:
        """Return plain data for `json.dumps`."""
        return {
            "box": self.box,
            "stand_in": True,
            "seconds": {step.name: round(step.seconds, 3) for step in self.steps},
            "results": {step.name: step.result for step in self.steps},
        }

    def step(self, name: str, work: Callable[[], str]) -> None:
        """Run a stage and keep its time and what it showed."""
        started = time.monotonic()
        result = work()
        self.steps.append(Step(name=name, seconds=time.monotonic() - started, result=result))


def rehearse(session: Session) -> Rehearsal:
    """Run the whole job; the lab is removed whatever happens.

    Up, up again, status, SSH, ping, snapshot, deploy with its verification, a packet through the
    tunnels, restore, deploy again, destroy.

    Raises:
        LabkitError: A stage failed; the lab has been destroyed all the same.
    """
    result = Rehearsal(box=session.lab.box)
    stand_in = boxes.find_box(session.lab.box).file.stand_in
    try:
        result.step("up", lambda: _up(session))
        result.step("up again", lambda: _up_again(session))
        result.step("status", lambda: _status(session))
        result.step("ssh", lambda: _ssh(session))
        result.step("ping", lambda: _ping(session))
        result.step("snapshot", lambda: _snapshot(session))
        result.step("deploy", lambda: _deploy(session))
        if stand_in:
            # Neutron's own agent would take the flows of a port that no network has.
            result.step("tunnel", lambda: tunnel_proof.prove(session))
        result.step("restore", lambda: _restore(session))
        result.step("deploy again", lambda: _deploy(session))
        result.step("verify", lambda: _verify(session))
    finally:
        result.step("destroy", lambda: _destroy(session))
    return result


def _up(session: Session) -> str:
    ready = up(session).ready
    return ", ".join(f"{item.node} at {item.address}" for item in ready)


def _up_again(session: Session) -> str:
    if up(session).plan.changes:
        message = "A second 'up' of an unchanged lab found something to change."
        raise OperationError(message)
    return "nothing to change"


def _status(session: Session) -> str:
    found = status(session)
    problems = differences(session, found)
    if problems:
        message = "The running lab is not what lab.yaml asks for."
        raise OperationError(message, details=problems)
    return "; ".join(f"{n.name} {n.vcpus} vCPU {n.memory_mib} MiB" for n in found.nodes)


def differences(session: Session, found: LabStatus) -> tuple[str, ...]:
    """Compare what runs with what the lab file asks for; one line per difference."""
    lines: list[str] = []
    for wanted, seen in zip(session.lab.nodes, found.nodes, strict=True):
        facts: list[tuple[str, object, object]] = [
            ("state", "running", seen.state),
            ("cpus", wanted.cpus, seen.vcpus),
            ("memory in MiB", wanted.memory_mib, seen.memory_mib),
        ]
        for nic, card in zip(wanted.nics, seen.nics, strict=True):
            facts += [
                (f"{nic.name}: asked of the guest", True, card.seen_in_guest),
                (f"{nic.name}: name", nic.name, card.name),
                (f"{nic.name}: slot", f"0000:00:{nic.slot:02x}.0", card.pci),
                (f"{nic.name}: has {nic.address}", True, str(nic.address) in card.addresses),
            ]
        lines += [
            f"{wanted.name}: {what}: expected {expected}, found {got}"
            for what, expected, got in facts
            if expected != got
        ]
    return tuple(lines)


def _ssh(session: Session) -> str:
    names = [_run(session, node, "hostname -s").strip() for node in session.lab.nodes]
    expected = [node.name for node in session.lab.nodes]
    if names != expected:
        message = f"The guests call themselves {names}, expected {expected}."
        raise OperationError(message)
    return "host keys checked, host names right"


def _ping(session: Session) -> str:
    count = 0
    for node in session.lab.nodes:
        commands = [
            f"ping -n -c 1 -W 5 -I {shlex.quote(nic.name)} {target.address.ip}"
            for peer in session.lab.nodes
            if peer is not node
            for nic in node.nics
            for target in peer.nics
            if target.network == nic.network
        ]
        count += len(commands)
        _run(session, node, " && ".join(commands))
    return f"{count} ways between the nodes, every one answered"


def _snapshot(session: Session) -> str:
    record = take(session, SNAPSHOT, note="by the rehearsal")
    return f"{record.memory_bytes // 2**20} MiB of memory, stood still {record.pause_ms:.0f} ms"


def _deploy(session: Session) -> str:
    report = deploy(session)
    if report.verification is None or not report.verification.passed:
        seen = report.verification.results if report.verification else ()
        failed = [f"{item.node}: {item.check}: {item.seen}" for item in seen if item.failed]
        message = "The deployed lab is not what it should be."
        raise OperationError(message, details=tuple(failed))
    return summary(report.verification).split(": ", 1)[1]


def _verify(session: Session) -> str:
    report = settled(session)
    if not report.passed:
        message = "The deployed lab is not what it should be any more."
        raise OperationError(message)
    return summary(report).split(": ", 1)[1]


def _restore(session: Session) -> str:
    report = restore(session, SNAPSHOT)
    bridge = session.lab.deployment.external_bridge
    for node in session.lab.nodes:
        _run(session, node, f"! ip link show {shlex.quote(bridge)} 2>/dev/null")
    return (
        f"restored in {report.restored_seconds:.1f} s, healthy in {report.healthy_seconds:.1f} s; "
        f"memory kept, {bridge} gone"
    )


def _run(session: Session, node: ResolvedNode, command: str) -> str:
    with session.tools.ssh(session.endpoint(node), timeout=ssh.CONNECT_SECONDS * 4) as connection:
        result = connection.run(command, timeout=COMMAND_SECONDS)
    if result.returncode != 0:
        message = f"'{command}' failed on node '{node.name}' with {result.returncode}."
        lines = (result.stderr or result.stdout).splitlines()
        raise OperationError(message, details=tuple(lines[-10:]))
    return result.stdout


def _destroy(session: Session) -> str:
    removed = destroy(session)
    return f"{len(removed.describe())} things removed, nothing left"
