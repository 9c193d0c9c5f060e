"""Whether a deployed lab is what it should be: outputs collected over SSH, judged by the checks."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from labkit.errors import LabkitError, OperationError, UsageError
from labkit.host import ssh
from labkit.lab import deployment
from labkit.state.progress import stage
from labkit.verify.check import Result, Verdict, not_judged, printable, run
from labkit.verify.checks import all_checks
from labkit.verify.collect import script, unpack
from labkit.verify.outputs import Kind, Output, command_seconds, commands
from labkit.verify.report import Report
from labkit.waiting import AGENT_READY, Deadline, NotYet, WaitTimeout, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.state.progress import Progress
    from labkit.state.session import Session

REACHABLE = "reachable"
REACHABLE_SUMMARY = "The node takes an SSH session and its commands can be run."
JUDGED = "judged"
JUDGED_SUMMARY = "Something of the node could be judged."
# Beside a file: how its command ended, when that was not with 0.
ERROR_SUFFIX = ".error"
MOST_BYTES = 4 * 1024 * 1024
# Agents and services report themselves within a minute or two of their start.
SETTLE_SECONDS = 180.0
# Nobody but Packstack and labkit writes them: what is wrong in them stays so.
FILES = frozenset({Kind.IFCFG_BRIDGE, Kind.IFCFG_NIC})


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was collected of a lab.

    Attributes:
        outputs: Per node that answered, its outputs by file name.
        unreachable: Per node that did not, the reason.
    """

    outputs: Mapping[str, Mapping[str, Output]]
    unreachable: Mapping[str, str] = field(default_factory=dict)

    def then(self, newer: Collected) -> Collected:
        """Return this with what was collected since in the place of the older."""
        asked = {*newer.outputs, *newer.unreachable}
        outputs = {
            name: {**self.outputs.get(name, {}), **newer.outputs.get(name, {})}
            for name in dict.fromkeys((*self.outputs, *newer.outputs))
        }
        still = {name: why for name, why in self.unreachable.items() if name not in asked}
        return Collected(outputs=outputs, unreachable={**still, **newer.unreachable})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A lab's report and the outputs it was made of."""

    collected: Collected
    report: Report


def judge(
    lab: ResolvedLab,
    outputs: Mapping[str, Mapping[str, Output]],
    *,
    unreachable: Mapping[str, str] | None = None,
) -> Report:
    """Judge outputs; which checks apply follows from the lab.

    Args:
        lab: The lab they come from.
        outputs: Per node, what its commands printed by file name. A missing file leaves its
            checks not judged.
        unreachable: Per node that could not be asked, why; for outputs just collected. Every
            node then has a check more, which says whether it could be reached.

    A node that was reached and of which nothing could be judged fails one check more, so that no
    outputs at all are never taken for a lab that is as it should be.
    """
    results: list[Result] = []
    for node in deployment.deployed_nodes(lab):
        reason = (unreachable or {}).get(node.name)
        if unreachable is not None:
            results.append(_reached(node, reason))
        applying = [check for check in all_checks() if node in check.nodes(lab)]
        if reason is not None:
            gone = "the node could not be reached"
            results += [not_judged(check, node, gone) for check in applying]
            continue
        found = [run(check, lab, node, outputs.get(node.name, {})) for check in applying]
        if found and all(r.verdict is Verdict.NOT_JUDGED and not r.late for r in found):
            results.append(_nothing_judged(node))
        results += found
    return Report(lab=lab.name, results=tuple(results))


def _nothing_judged(node: ResolvedNode) -> Result:
    return Result(
        node=node.name,
        check=JUDGED,
        summary=JUDGED_SUMMARY,
        verdict=Verdict.FAILED,
        expected="an output that a check can judge",
        seen=f"no output of node '{node.name}'",
    )


def _reached(node: ResolvedNode, reason: str | None) -> Result:
    return Result(
        node=node.name,
        check=REACHABLE,
        summary=REACHABLE_SUMMARY,
        verdict=Verdict.OK if reason is None else Verdict.FAILED,
        expected="an SSH session",
        seen="an SSH session" if reason is None else printable(reason),
    )


class Asked(Protocol):
    """What a node is asked over, as `labkit.host.ssh.Connection`."""

    def run_script(self, script: str, *, what: str, timeout: float) -> ssh.ScriptResult:
        """Run a script there as root."""


Connect = Callable[["ssh.Endpoint"], AbstractContextManager[Asked]]


def verify(
    session: Session, known: Verification | None = None, *, connect: Connect | None = None
) -> Verification:
    """Collect the outputs of the nodes, side by side, and judge them.

    Args:
        session: The lab.
        known: What was found before; then only what may have come right since is asked for.
        connect: Returns what a node is asked over, for who has that; a session of its own when None.

    Raises:
        OperationError: The lab was never brought up.
    """
    collected = collect(
        session.lab,
        session.endpoint,
        connect=connect or session.tools.ssh,
        progress=session.progress,
        kinds=None if known is None else waited_for(known.report),
    )
    if known is not None:
        collected = known.collected.then(collected)
    report = judge(session.lab, collected.outputs, unreachable=collected.unreachable)
    return Verification(collected=collected, report=report.without(session.hide))


def waited_for(report: Report) -> Mapping[str, frozenset[Kind]]:
    """Return per node the outputs that its checks which may still come right have to see anew."""
    needs = {check.id: frozenset(check.needs) for check in all_checks()}
    wanted: dict[str, frozenset[Kind]] = {}
    for result in report.results:
        # A node that was not reached, or told nothing, is asked for everything.
        kinds = needs.get(result.check, frozenset(Kind))
        if (result.failed or result.late) and not kinds <= FILES:
            wanted[result.node] = wanted.get(result.node, frozenset()) | kinds
    return wanted


def settled(
    session: Session, known: Verification | None = None, *, connect: Connect | None = None
) -> Report:
    """Verify a lab until it is as it should be, cannot become so by itself, or had its time.

    Args:
        session: The lab.
        known: What was found just now, if the lab was asked already.
        connect: As for `verify`.

    Returns:
        The last report, green or not.
    """
    found = [known or verify(session, connect=connect)]

    def check() -> Report:
        report = found[-1].report
        if report.passed or not waited_for(report):
            return report
        found.append(verify(session, found[-1], connect=connect))
        if not found[-1].report.passed:
            msg = "not every check passes"
            raise NotYet(msg)
        return found[-1].report

    seconds = SETTLE_SECONDS + command_seconds(session.lab)
    try:
        return wait_until(
            check,
            what="every check to pass",
            deadline=Deadline.after(seconds, session.tools.clock),
            policy=AGENT_READY,
            cancelled=session.cancelled.is_set,
        )
    except WaitTimeout:
        return found[-1].report


def prove_deployed(session: Session) -> None:
    """Require that every check of a deployed lab passes, for a restore of one.

    Raises:
        OperationError: Some do not, after the time services are given to find each other again.
    """
    report = settled(session)
    if not report.passed:
        message = f"The lab '{session.lab.name}' runs, and not every check of it passes."
        raise OperationError(
            message, details=report.failures, hint="'labkit verify' shows expected and seen."
        )


def collect(
    lab: ResolvedLab,
    endpoint: Callable[[ResolvedNode], ssh.Endpoint],
    *,
    connect: Connect,
    progress: Progress,
    kinds: Mapping[str, frozenset[Kind]] | None = None,
) -> Collected:
    """Run every node's commands, one SSH command per node, all nodes side by side.

    Args:
        lab: The lab.
        endpoint: How to reach a node.
        connect: Opens an SSH session.
        progress: Told of every node.
        kinds: The nodes to be asked, and for which outputs each; all for all when None.

    Raises:
        LabkitError: What `endpoint` raises.
    """
    every = deployment.deployed_nodes(lab)
    wanted = {node.name: frozenset(Kind) for node in every} if kinds is None else kinds
    nodes = [node for node in every if node.name in wanted]
    ends = [endpoint(node) for node in nodes]
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        answers = list(
            pool.map(
                lambda node, end: _ask(
                    lab, node, end, wanted[node.name], connect=connect, progress=progress
                ),
                nodes,
                ends,
            )
        )
    pairs = list(zip((node.name for node in nodes), answers, strict=True))
    return Collected(
        outputs={name: answer for name, answer in pairs if not isinstance(answer, str)},
        unreachable={name: answer for name, answer in pairs if isinstance(answer, str)},
    )


def _ask(
    lab: ResolvedLab,
    node: ResolvedNode,
    end: ssh.Endpoint,
    kinds: frozenset[Kind],
    *,
    connect: Connect,
    progress: Progress,
) -> Mapping[str, Output] | str:
    """Return a node's outputs, or why there are none."""
    try:
        with stage(progress, node.name, "asking"), connect(end) as connection:
            result = connection.run_script(
                script(lab, node, kinds),
                what="collect outputs",
                timeout=command_seconds(lab) + ssh.ANSWER_SECONDS,
            )
            return _unpacked(node, result)
    except LabkitError as exc:
        return "; ".join((exc.message, *exc.details))


def _unpacked(node: ResolvedNode, result: ssh.ScriptResult) -> Mapping[str, Output]:
    try:
        return unpack(result.stdout)
    except ValueError as exc:
        message = f"The outputs of '{node.name}' cannot be read: {exc}."
        told = result.stderr.splitlines()[-3:]
        raise OperationError(message, details=(f"exit {result.returncode}", *told)) from exc


def from_directory(lab: ResolvedLab, path: Path) -> Report:
    """Judge outputs kept in files, `PATH/NODE/FILE`; neither libvirt nor a node is asked.

    Raises:
        UsageError: The directory cannot be read, or has no directory of any node.
    """
    nodes = deployment.deployed_nodes(lab)
    if not any((path / node.name).is_dir() for node in nodes):
        names = ", ".join(f"'{node.name}'" for node in nodes)
        message = f"A directory of {names} was expected in '{path}', and none is there."
        hint = "'labkit verify --from DIR' takes a directory that holds one directory per node."
        raise UsageError(message, hint=hint)
    return judge(lab, {node.name: _read(lab, node, path / node.name) for node in nodes})


def _read(lab: ResolvedLab, node: ResolvedNode, directory: Path) -> dict[str, Output]:
    found: dict[str, Output] = {}
    for command in commands(lab, node):
        text = _text(directory / command.file)
        if text is None:
            continue
        error = _text(directory / f"{command.file}{ERROR_SUFFIX}") or ""
        first, _, rest = error.partition("\n")
        code = re.fullmatch(r"exit (\d{1,3})", first)
        found[command.file] = Output(
            text=text, returncode=int(code[1]) if code else 0, stderr=rest if code else error
        )
    return found


def _text(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            return stream.read(MOST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as exc:
        message = f"The file '{file}' cannot be read: {exc.strerror}."
        raise UsageError(message) from exc
