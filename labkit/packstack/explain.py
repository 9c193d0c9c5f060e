"""Why a Packstack run failed, and what mends it: the known failures in its texts, and the error it ends with."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.packstack.detached import RunState
from labkit.packstack.gather import masked
from labkit.packstack.known_failures import Failure, Where, failures
from labkit.packstack.output.puppet import PuppetError, puppet_errors
from labkit.packstack.output.view import PrintedStatus, RunView, view_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from labkit.packstack.run import RunOutcome

ERROR_LINES = 5
# Packstack runs its scripts by 'bash -x' and repeats all that they print on standard error
# (packstack/installer/utils/shell.py).
_TRACED = re.compile(
    r"\++ |bash: warning: setlocale: |tar: Removing leading |Warning: Permanently added "
)
TAIL_LINES = 10
# Packstack needs room for its logs and packages; with less than this it fails in odd places.
LITTLE_BYTES = 64 * 1024 * 1024
_LINE_CHARACTERS = 300
_PUPPET_LIMIT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A known failure as it was met.

    Attributes:
        failure: What is known of it.
        cause: Its cause, in one sentence about this run.
        remedy: The command or the lab file's key that mends it, in one sentence.
        node: The node whose Puppet log shows it; empty when Packstack's output does.
    """

    failure: Failure
    cause: str
    remedy: str
    node: str


def explain(output_text: str, puppet_texts: Mapping[str, str]) -> tuple[Explanation, ...]:
    """Return the known failures that a run's texts show, the most specific first.

    Errors come before notes, such as the kernel that waits for a reboot; of a run that
    completed only the notes are left. Every failure is told once, by the text met first. Secrets
    in the texts have to be masked before (`gather.masked`).

    Args:
        output_text: What Packstack printed, stdout and stderr.
        puppet_texts: Puppet's logs by the name of their node.

    Source: the records' own, see `known_failures`.
    """
    view = view_of(output_text.encode())
    places = list(_places(view, puppet_texts))
    found: list[Explanation] = []
    for known in failures():
        if view.status is PrintedStatus.SUCCEEDED and not known.note:
            continue
        for where, node, text in places:
            met = _met(known, node, text) if where in known.where else None
            if met:
                found.append(met)
                break
    # The sort is stable: of equal ones the registry's order decides.
    found.sort(key=lambda one: (one.failure.note, -one.failure.specificity))
    # What is known exactly makes the general words needless.
    errors = [one for one in found if not one.failure.note]
    exact = [one for one in errors if one.failure.specificity > 0]
    return (*(exact or errors), *(one for one in found if one.failure.note))


def notes(bullets: Iterable[str]) -> tuple[str, ...]:
    """Return what a run's additional information has for its user to do, a text each."""
    found = (_met(known, "", text) for text in bullets for known in failures() if known.note)
    return tuple(f"{met.cause} {met.remedy}" for met in found if met)


def shown_errors(puppet_texts: Mapping[str, str]) -> tuple[str, ...]:
    """Return Puppet's first errors of each log as lines "node: resource: text", limited."""
    return tuple(
        line
        for node, text in puppet_texts.items()
        for error in _distinct(puppet_errors(text))[:_PUPPET_LIMIT]
        for line in _shown(node, error)
    )


def without_trace(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the lines of an error of Packstack's without those that only say what was being done."""
    return tuple(line for line in lines if not _TRACED.match(line.strip())) or tuple(lines)


def run_failed(
    outcome: RunOutcome, *, logs: Path | None, secrets: Iterable[str], restorable: str
) -> OperationError:
    """Return the error for a run that did not end well.

    Args:
        outcome: How it ended.
        logs: Where the logs of all nodes were collected; None when they could not be.
        secrets: Texts that must not be shown.
        restorable: Name of a snapshot from before the run; empty when there is none.
    """
    hidden = tuple(secrets)
    output = _masked(outcome.output, hidden)
    puppet = {name: _masked(text, hidden) for name, text in outcome.puppet.items()}
    back = f"'labkit restore {restorable}', then " if restorable else ""
    return OperationError(
        _message(outcome),
        details=(
            *_why(outcome, output),
            *shown_errors(puppet),
            *explained(output, puppet),
            f"Logs of all nodes: {logs or 'could not be collected'}",
        ),
        hint=f"Mend the cause, then {back}'labkit deploy' again; passwords stay the same.",
    )


def explained(output: str, puppet: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return what is known of the failures that texts show, two lines each.

    Args:
        output: What a run printed; secrets are masked.
        puppet: Puppet's logs by name.
    """
    lines: list[str] = []
    for known in explain(output, puppet or {}):
        node = known.node.partition(":")[0]
        remedy = known.remedy.replace("NODE", node) if node else known.remedy
        lines += [f"Cause: {known.cause}", f"  Remedy: {remedy}"]
    return tuple(lines)


def _shown(node: str, error: PuppetError) -> tuple[str, ...]:
    # The text of an error that names its resource begins with it.
    first, *more = error.lines[:1] + error.lines[1:][-(ERROR_LINES - 1) :]
    return (_short(f"{node}: {first}"), *(_short(f"  {line.strip()}") for line in more))


def _distinct(errors: Iterable[PuppetError]) -> tuple[PuppetError, ...]:
    # Puppet tells a failed command twice: alone, and again with the resource that ran it.
    kept: list[PuppetError] = []
    for error in errors:
        twins = [at for at, other in enumerate(kept) if _same(error, other)]
        if twins:
            more = kept[twins[0]].lines[1:]
            kept[twins[0]] = replace(error, lines=(*error.lines, *more))
        elif not any(_same(other, error) for other in kept):
            kept.append(error)
    return tuple(kept)


def _same(longer: PuppetError, shorter: PuppetError) -> bool:
    return bool(longer.resource) and shorter.lines[0] in longer.lines[0]


def _places(view: RunView, puppet_texts: Mapping[str, str]) -> Iterable[tuple[Where, str, str]]:
    invalid = (f"Parameter {one.key} failed validation: {one.reason}" for one in view.invalid)
    yield Where.OUTPUT, "", "\n".join((*view.traceback, *invalid, *view.error, *view.other))
    yield Where.BULLETS, "", "\n".join(view.bullets)
    for node, text in puppet_texts.items():
        for error in _distinct(puppet_errors(text)):
            yield Where.PUPPET, node, error.text


def _met(known: Failure, node: str, text: str) -> Explanation | None:
    match = known.pattern.search(text)
    if match is None:
        return None
    told = {name: value for name, value in match.groupdict().items() if value}
    return Explanation(
        failure=known,
        cause=_short(known.cause_for(told)),
        remedy=_short(known.remedy_for(told)),
        node=node,
    )


def _short(line: str) -> str:
    return line if len(line) <= _LINE_CHARACTERS else f"{line[: _LINE_CHARACTERS - 1]}…"


def _message(outcome: RunOutcome) -> str:
    last, view = outcome.last, outcome.view
    if last.state is RunState.ENDED:
        failed = [step.title for step in view.steps if not step.ok]
        where = f" in step '{failed[0]}'" if failed else ""
        return f"Packstack failed{where} with exit code {last.code}."
    if last.rebooted:
        return "The controller was rebooted while Packstack ran, which ended the run."
    if last.state is RunState.NONE:
        return "The controller knows nothing of the Packstack run any more."
    return "The Packstack run was killed in the controller before it ended."


def _why(outcome: RunOutcome, output: str) -> tuple[str, ...]:
    lines: list[str] = []
    if outcome.last.free_bytes < LITTLE_BYTES:
        free = outcome.last.free_bytes // 2**20
        lines.append(f"The controller's root file system is full: {free} MiB are free.")
    if outcome.view.error:
        return (*lines, *without_trace(outcome.view.error)[:TAIL_LINES])
    tail = [line for line in output.splitlines() if line.strip()][-TAIL_LINES:]
    if not tail:
        return (*lines, "It printed nothing.")
    return (*lines, "Its last lines:", *(f"  {line}" for line in tail))


def _masked(text: str, secrets: Iterable[str]) -> str:
    return masked(text.encode(), secrets).decode("utf-8", "replace")
