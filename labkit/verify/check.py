"""What a check is, and how one is run on the outputs of a node."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from labkit.verify import expected
from labkit.verify.outputs import Kind, answers, file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.verify.outputs import Output

LONGEST = 600
TIMED_OUT = 124


class Verdict(StrEnum):
    """What came out of a check."""

    OK = "ok"
    FAILED = "failed"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a check looks at.

    Attributes:
        lab: The lab.
        node: The node.
        texts: The outputs the check asked for.
    """

    lab: ResolvedLab
    node: ResolvedNode
    texts: Mapping[Kind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a check expected and saw; ok when `seen` is as expected."""

    ok: bool
    expected: str
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check.

    Attributes:
        id: Its name, in kebab case.
        summary: What holds when it passes, one sentence.
        description: More about it, from its docstring.
        nodes: The nodes of a lab that it applies to.
        needs: The outputs it judges.
        judge: The judgement. A ValueError says that an output cannot be read.
    """

    id: str
    summary: str
    description: str
    nodes: Callable[[ResolvedLab], tuple[ResolvedNode, ...]]
    needs: tuple[Kind, ...]
    judge: Callable[[Subject], Judgement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came out of one check on one node; its texts are fit for a terminal.

    Attributes:
        node: The node's name.
        check: The check's id.
        summary: The check's summary.
        verdict: ok, failed or not judged.
        expected: What should have been seen.
        seen: What was seen, or why nothing was.
        late: Whether it was not judged because a command did not end in the time it had.
    """

    node: str
    check: str
    summary: str
    verdict: Verdict
    expected: str = ""
    seen: str = ""
    late: bool = False

    @property
    def failed(self) -> bool:
        """Return whether it was judged and is not as it should be."""
        return self.verdict is Verdict.FAILED


def check(
    *,
    id: str,  # noqa: A002 -- what it is called everywhere
    summary: str,
    nodes: Callable[[ResolvedLab], tuple[ResolvedNode, ...]],
    needs: tuple[Kind, ...],
) -> Callable[[Callable[[Subject], Judgement]], Check]:
    """Turn a judging function into a check; its docstring becomes the description."""

    def decorate(judge: Callable[[Subject], Judgement]) -> Check:
        return Check(
            id=id,
            summary=summary,
            description=" ".join(inspect.getdoc(judge).split()) if judge.__doc__ else "",  # type: ignore[union-attr] # it has a docstring
            nodes=nodes,
            needs=needs,
            judge=judge,
        )

    return decorate


def run(
    check: Check, lab: ResolvedLab, node: ResolvedNode, outputs: Mapping[str, Output]
) -> Result:
    """Judge the outputs of a node.

    Args:
        check: A check that applies to the node.
        lab: The lab.
        node: The node.
        outputs: What its commands printed, by file name; a missing file is no failure.
    """
    reason = expected.unjudged(lab, check.id)
    if reason is not None:
        return not_judged(check, node, reason)
    files = {kind: file_name(kind, lab) for kind in check.needs}
    missing = [file for file in files.values() if file not in outputs]
    if missing:
        return _result(check, node, Verdict.NOT_JUDGED, seen=f"there is no {', '.join(missing)}")
    for kind, file in files.items():
        if outputs[file].returncode == TIMED_OUT:
            late = not_judged(check, node, f"{file}: {failure(outputs[file])}")
            return replace(late, late=True)
        if outputs[file].returncode not in answers(kind):
            seen = f"{file}: {failure(outputs[file])}"
            return _result(check, node, Verdict.FAILED, expected=check.summary, seen=seen)
    texts = {kind: outputs[file].text for kind, file in files.items()}
    try:
        found = check.judge(Subject(lab=lab, node=node, texts=texts))
    except ValueError as exc:
        told = [line for file in files.values() for line in outputs[file].stderr.splitlines()]
        seen = f"{', '.join(files.values())} cannot be read: {'; '.join([str(exc), *told[-2:]])}"
        return _result(check, node, Verdict.FAILED, expected=check.summary, seen=seen)
    verdict = Verdict.OK if found.ok else Verdict.FAILED
    return _result(check, node, verdict, expected=found.expected, seen=found.seen)


def not_judged(check: Check, node: ResolvedNode, reason: str) -> Result:
    """Return the result of a check that had nothing to judge."""
    return _result(check, node, Verdict.NOT_JUDGED, seen=reason)


def failure(output: Output) -> str:
    """Return how a command failed, in one line."""
    told = (output.stderr.strip() or output.text.strip()).splitlines()
    if output.returncode == TIMED_OUT:
        return "the command did not end in time" + (f": {told[-1]}" if told else "")
    return f"exit {output.returncode}" + (f": {told[-1]}" if told else "")


def printable(text: str) -> str:
    """Return a guest's text without what a terminal or XML would take for more than text."""
    clean = "".join(
        char if char.isprintable() else " " if char.isspace() else f"\\x{ord(char):02x}"
        for char in text[: LONGEST + 1]
    )
    return clean if len(clean) <= LONGEST else f"{clean[:LONGEST]}…"


def _result(
    check: Check, node: ResolvedNode, verdict: Verdict, *, seen: str, expected: str = ""
) -> Result:
    return Result(
        node=node.name,
        check=check.id,
        summary=check.summary,
        verdict=verdict,
        expected=printable(expected),
        seen=printable(seen),
    )
