"""The error a failed run ends with: what Packstack said, what is known of it, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.packstack.detached import RunState
from labkit.packstack.explain import explain, shown_errors
from labkit.packstack.gather import masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from labkit.packstack.run import RunOutcome

TAIL_LINES = 10
# Packstack needs room for its logs and packages; with less than this it fails in odd places.
LITTLE_BYTES = 64 * 1024 * 1024


def run_failed(
    outcome: RunOutcome, *, logs: Path, secrets: Iterable[str], restorable: str
) -> OperationError:
    """Return the error for a run that did not end well.

    Args:
        outcome: How it ended.
        logs: Where the logs of all nodes were collected.
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
            f"Logs of all nodes: {logs}",
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
        return (*lines, *outcome.view.error[:TAIL_LINES])
    tail = [line for line in output.splitlines() if line.strip()][-TAIL_LINES:]
    if not tail:
        return (*lines, "It printed nothing.")
    return (*lines, "Its last lines:", *(f"  {line}" for line in tail))


def _masked(text: str, secrets: Iterable[str]) -> str:
    return masked(text.encode(), secrets).decode("utf-8", "replace")
