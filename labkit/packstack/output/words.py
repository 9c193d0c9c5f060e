"""A Packstack run's progress in words: a line per event, one for the run, one per node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.packstack.output.parser import (
    Applied,
    Applying,
    ChangedValue,
    Event,
    Installed,
    Installing,
    InvalidParameter,
    StepDone,
)
from labkit.packstack.output.view import PrintedStatus

if TYPE_CHECKING:
    from labkit.packstack.output.puppet import PuppetLog
    from labkit.packstack.output.view import ManifestRun, RunView

_MINUTE = 60
_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical:
    """How long something typically takes, in seconds: what people report, not a promise."""

    shortest: int
    longest: int

    def __str__(self) -> str:
        """Return it in words, labelled as typical."""
        return f"typically {self.shortest // _MINUTE} to {self.longest // _MINUTE} min"


# Public reports of Queens on real hardware. Of the other manifests and of the steps nothing
# reliable is known: what is no figure is not shown.
_TYPICAL = {"controller": Typical(shortest=20 * _MINUTE, longest=40 * _MINUTE)}


def typical(role: str) -> Typical | None:
    """Return the typical duration of a role's manifest; None when none is known.

    Source: public reports of Packstack runs; controller.pp takes most of a run's time.
    """
    return _TYPICAL.get(role)


def duration(seconds: float) -> str:
    """Return a duration as m:ss, from an hour on as h:mm:ss."""
    whole = int(seconds)
    minutes = f"{whole // _MINUTE % _MINUTE}:{whole % _MINUTE:02}"
    return f"{whole // _HOUR}:{minutes.zfill(5)}" if whole >= _HOUR else minutes


def ago(seconds: float) -> str:
    """Return how long ago something was, short: "5 s ago", "12:30 ago"."""
    whole = max(0, int(seconds))
    return f"{whole} s ago" if whole < _MINUTE else f"{duration(whole)} ago"


def event_line(event: Event, view: RunView) -> str | None:  # noqa: PLR0911 -- one case each
    """Return the line that tells an event to a person; None when it is not worth one.

    Args:
        event: What happened.
        view: The run after it, `view.advance(event, at)`.
    """
    match event:
        case StepDone(title=title, ok=ok):
            return f"step {view.done} of {view.total}: {title}" + ("" if ok else ": failed")
        case Applying(manifest=manifest, role=role):
            known = typical(role)
            return f"applying {manifest}" + (f" ({known})" if known else "")
        case Applied(manifest=manifest, ok=ok):
            took = _took(view, manifest)
            return f"{manifest}: {'done' if ok else 'failed'}{took}"
        case ChangedValue(given=given, required=required):
            return f"Packstack uses '{required}' for '{given}'"
        case InvalidParameter(key=key, reason=reason):
            return f"Packstack refuses {key}: {reason}"
        case Installing():
            return f"the parameters are accepted; {len(view.expected)} steps are to come"
        case Installed():
            return "Packstack completed the installation"
        case _:
            return None


def headline(view: RunView, *, started: float, now: float) -> str:
    """Return a run in one line: steps behind it, what it does, how long it runs.

    Args:
        view: The run.
        started: When it was started, by the clock of `now`.
        now: The present.
    """
    parts = [f"{view.done} of {view.total} steps"]
    if view.status is PrintedStatus.FAILED:
        failed = [step.title for step in view.steps if not step.ok]
        parts.append(f"failed in '{failed[0]}'" if failed else "failed")
    elif view.status is PrintedStatus.SUCCEEDED:
        parts.append("completed")
    elif view.current:
        parts.append(view.current)
    elif not view.installing:
        parts.append("checking the parameters")
    return ", ".join([*parts, duration(now - started)])


def node_line(run: ManifestRun, log: PuppetLog | None, *, now: float) -> str:
    """Return a manifest in one line: "controller.pp 12:30, 340 resources, log 5 s ago".

    Args:
        run: The manifest.
        log: What was read of its log; None when it was not seen.
        now: The present, by the clock the others were recorded with.
    """
    seconds = run.seconds(now)
    if seconds is None and log is not None:
        seconds = log.applied_seconds
    parts = [f"{run.role}.pp" + (f" {duration(seconds)}" if seconds is not None else "")]
    if run.ok is not None:
        parts.append("done" if run.ok else "failed")
    if log is not None and log.resources:
        parts.append(f"{log.resources} resources" if log.resources > 1 else "1 resource")
    if log is not None and log.errors:
        parts.append(f"{len(log.errors)} errors" if len(log.errors) > 1 else "1 error")
    if run.ok is None:
        grew = log.changed_at if log is not None else None
        parts.append("no log yet" if grew is None else f"log {ago(now - grew)}")
        known = typical(run.role)
        parts += [str(known)] if known else []
    return ", ".join(parts)


def _took(view: RunView, manifest: str) -> str:
    for run in view.manifests:
        if run.manifest == manifest and run.finished is not None:
            seconds = run.seconds(run.finished)
            return f" after {duration(seconds)}" if seconds is not None else ""
    return ""
