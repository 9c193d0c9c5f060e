"""The rehearsal: the whole job from `up` to `destroy`, each stage timed and proven."""

from __future__ import annotations

import logging
import re
import shlex
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from labkit.boxes.definition import find_box
from labkit.errors import LabkitError, OperationError
from labkit.host.inventory import look
from labkit.lab import deployment
from labkit.lifecycle.plan import possessions
from labkit.lifecycle.run import up_lines
from labkit.lifecycle.stages import Stages, told
from labkit.lifecycle.status import LabStatus, status
from labkit.lifecycle.teardown import destroy
from labkit.lifecycle.up import up
from labkit.packstack.deploy import SNAPSHOT, deploy
from labkit.packstack.deployable import require_possible
from labkit.snapshots.restore import restore
from labkit.snapshots.take import take
from labkit.state.lock import LabInUseError
from labkit.verify.checks.tunnels import port_name
from labkit.verify.report import summary
from labkit.verify.run import settled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labkit.host import ssh
    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

    Step = tuple[str, Callable[["Session"], str]]

log = logging.getLogger(__name__)

COMMAND_SECONDS = 60.0
PACKETS = 3
TOOLS = ("openstack-packstack", "puppet")
# TEST-NET-2 of RFC 5737: no lab has it, and nobody else is asked.
PROOF_NETWORK = "198.51.100"

_PORT = """\
ovs-vsctl --may-exist add-port br-int labkit-proof -- set interface labkit-proof type=internal
ip address replace @ADDRESS@/24 dev labkit-proof
ip link set dev labkit-proof up
"""


@dataclass(slots=True, kw_only=True)
class Rehearsal:
    """A rehearsal so far: the box it is done on, and its stages."""

    box: str
    stages: Stages = field(default_factory=Stages)

    def as_json(self) -> dict[str, object]:
        """Return plain data for `json.dumps`."""
        return {
            "box": self.box,
            "stand_in": True,
            "seconds": {each.name: round(each.seconds, 3) for each in self.stages.ended},
            "results": {each.name: each.result for each in self.stages.ended},
        }


def rehearse(session: Session, steps: Sequence[Step] = ()) -> Rehearsal:
    """Run the whole job; the lab is removed whatever happens.

    Up, up again, status, SSH, ping, snapshot, deploy with its verification, the versions of what
    ran, a packet through the tunnels, restore, deploy again, destroy.

    Args:
        session: The lab.
        steps: What is done before `destroy`, for tests; the above when empty.

    Raises:
        OperationError: The lab has nodes already, another labkit works on it, or it cannot be
            deployed on its box; it stays as it is.
        LabkitError: A stage failed; the lab has been destroyed all the same.
    """
    result = Rehearsal(box=session.lab.box)
    stages = result.stages
    box = find_box(session.lab.box, beside=session.lab_file.parent).file
    steps = steps or _steps(stand_in=box.stand_in)
    require_possible(session)
    _require_new(session)
    try:
        for name, work in steps:
            stages.run(name, partial(work, session))
    except LabInUseError:
        # Whose lab it is by now is not known.
        raise
    except BaseException as exc:
        session.cancelled.clear()
        try:
            stages.run("destroy", partial(_destroy, session))
        except (LabkitError, OSError) as left:
            log.warning("the lab stays: %s", told(left))
            if isinstance(exc, LabkitError):
                exc.details += ("And then it could not be destroyed:", *told(left).splitlines())
        raise
    stages.run("destroy", partial(_destroy, session))
    return result


def plan(session: Session) -> tuple[str, ...]:
    """Return what `rehearse` would do, a line each, changing nothing.

    Raises:
        OperationError: The lab has nodes already, or it cannot be deployed on its box.
        LabkitError: As `up`.
    """
    require_possible(session)
    _require_new(session)
    stages = [
        name
        for name, _ in _steps(
            stand_in=find_box(session.lab.box, beside=session.lab_file.parent).file.stand_in
        )
    ]
    return (*up_lines(session), f"would go through {', '.join(stages)}", "would remove the lab")


def _steps(*, stand_in: bool) -> tuple[Step, ...]:
    # Neutron's own agent would take the flows of a port that no network has.
    tunnel: tuple[Step, ...] = (("tunnel", _tunnel),) if stand_in else ()
    return (
        ("up", _up),
        ("up again", _up_again),
        ("status", _status),
        ("ssh", _ssh),
        ("ping", _ping),
        ("snapshot", _snapshot),
        ("deploy", _deploy),
        ("versions", _versions),
        *tunnel,
        ("restore", _restore),
        ("deploy again", _deploy),
        ("verify", _verify),
    )


def _require_new(session: Session) -> None:
    """Refuse a lab that is there: it would be destroyed at the end."""
    state = session.state()
    with session.tools.connect() as hypervisor:
        found = possessions(session.lab, state, look(hypervisor, state.pool, define_pool=False))
    here = {domain.name for domain in found.domains} | set(state.nodes)
    if here:
        named = ", ".join(f"'{name}'" for name in sorted(here))
        message = (
            f"The lab '{session.lab.name}' exists: {named}. A rehearsal makes its lab, and "
            "destroys it at the end."
        )
        hint = (
            "Rehearse in a sandbox, 'labkit sandbox -- labkit rehearsal', or with another lab "
            "file by '--lab'; or run 'labkit destroy' first."
        )
        raise OperationError(message, hint=hint)


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
        # Until one answer has come: an emulated guest may lose a packet, or seconds, as it starts.
        commands = [
            f"ping -n -q -c 1 -w 30 -I {shlex.quote(nic.name)} {target.address.ip}"
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
    report = deploy(session).verification
    if report is None or not report.passed:
        message = "The deployed lab is not what it should be."
        raise OperationError(message, details=report.failures if report else ())
    return summary(report).split(": ", 1)[1]


def _versions(session: Session) -> str:
    """Return which Packstack and Puppet ran; a stand-in's release says that it is one."""
    installed = _run(session, deployment.controller(session.lab), f"rpm -q {' '.join(TOOLS)}")
    return ", ".join(installed.split())


def _verify(session: Session) -> str:
    report = settled(session)
    if not report.passed:
        message = "The deployed lab is not what it should be any more."
        raise OperationError(message, details=report.failures)
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


def _tunnel(session: Session) -> str:
    """Send packets from a port on the controller's br-int to one on every other tunnel node's.

    The counters of each tunnel have to rise by as many, so nothing can have taken another way.

    Returns:
        How many packets crossed how many tunnels.

    Raises:
        OperationError: A packet did not come back, or took another way.
    """
    first, *others = deployment.tunnel_nodes(session.lab)
    if not others:
        return "one node, no tunnel"
    with ExitStack() as stack:
        opened = [
            stack.enter_context(session.tools.ssh(session.endpoint(node)))
            for node in (first, *others)
        ]
        for number, connection in enumerate(opened, start=1):
            _root(connection, _PORT.replace("@ADDRESS@", f"{PROOF_NETWORK}.{number}"))
        for number, node in enumerate(others, start=2):
            port = port_name(deployment.tunnel_address(session.lab, node))
            before = _sent(opened[0], port)
            # Until as many answers have come, or 30 s: flows may still be on their way.
            _root(opened[0], f"ping -n -q -c {PACKETS} -i 0.3 -w 30 {PROOF_NETWORK}.{number}")
            crossed = _sent(opened[0], port) - before
            if crossed < PACKETS:
                message = (
                    f"{PACKETS} packets to node '{node.name}' were answered, and {crossed} of "
                    f"them went through the tunnel '{port}'."
                )
                raise OperationError(message)
        for connection in opened:
            _root(connection, "ovs-vsctl del-port br-int labkit-proof")
    return f"{PACKETS} packets through each of {len(others)} tunnels and back"


def _sent(connection: ssh.Connection, port: str) -> int:
    # Not the statistics in the database: they are up to five seconds old.
    printed = _root(connection, f"ovs-ofctl dump-ports br-tun {port}")
    found = re.search(r"tx pkts=(\d+)", printed)
    if found is None:
        message = (
            f"The counters of the tunnel '{port}' on node '{connection.node}' cannot be read."
        )
        raise OperationError(message, details=tuple(printed.splitlines()[-5:]))
    return int(found[1])


def _root(connection: ssh.Connection, script: str) -> str:
    result = connection.run_script(
        f"set -e\n{script}", what="prove the tunnels", timeout=COMMAND_SECONDS
    )
    output = result.stdout.decode("utf-8", "replace")
    if result.returncode != 0:
        message = f"No packet could be sent through the tunnels from node '{connection.node}'."
        raise OperationError(message, details=tuple((result.stderr or output).splitlines()[-5:]))
    return output


def _run(session: Session, node: ResolvedNode, command: str) -> str:
    with session.tools.ssh(session.endpoint(node)) as connection:
        result = connection.run(command, timeout=COMMAND_SECONDS)
    if result.returncode != 0:
        message = f"'{command}' failed on node '{node.name}' with {result.returncode}."
        lines = (result.stderr or result.stdout).splitlines()
        raise OperationError(message, details=tuple(lines[-10:]))
    return result.stdout


def _destroy(session: Session) -> str:
    removed = destroy(session)
    return f"{len(removed.describe())} things removed, nothing left"
