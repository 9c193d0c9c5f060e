"""What is known of a Packstack run from its output so far: a fold over the parser's events."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from labkit.packstack.output.parser import (
    Applied,
    Applying,
    Bullet,
    ChangedValue,
    ErrorText,
    Event,
    Installed,
    Installing,
    InvalidParameter,
    LogFile,
    ManifestsPath,
    OtherText,
    Parser,
    StepDone,
    TracebackLine,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# A run prints some dozen lines that mean nothing to labkit; a broken one could print millions.
_KEPT_LINES = 200

_T = TypeVar("_T")


class PrintedStatus(StrEnum):
    """How a run stands, by its output; the exit code has the last word."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRun:
    """A manifest Puppet works or worked.

    Attributes:
        manifest: File name, `<ip>_<role>.pp`.
        host: The host as the answers name it.
        role: controller, network or compute.
        started: When its start was seen.
        finished: When its end was seen; None while it runs.
        ok: Whether it ended well; None while it runs.
    """

    manifest: str
    host: str
    role: str
    started: float
    finished: float | None = None
    ok: bool | None = None

    def seconds(self, now: float) -> float | None:
        """Return how long it runs or ran; None when both ends were read in one piece.

        That happens when labkit attaches late, or Packstack writes into a pipe that holds its
        lines back.
        """
        if self.finished is None:
            return max(0.0, now - self.started)
        return self.finished - self.started if self.finished > self.started else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Additional:
    """What the bullets at the end of a run say that its user has to know.

    Attributes:
        needs_reboot: Hosts whose kernel is older than the one installed.
        network_manager: Hosts on which NetworkManager is active.
    """

    needs_reboot: tuple[str, ...] = ()
    network_manager: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run as its output shows it.

    Attributes:
        expected: Titles of the steps that are to come, in order (`steps.expected_steps`).
        steps: The steps that ended, in order.
        manifests: The manifests seen, in order of their start.
        installing: Whether the parameters were accepted.
        installed: Whether Packstack said that it completed.
        invalid: Answers that it refused.
        error: The lines of its error text; empty without an error.
        traceback: The lines of a Python traceback; empty without one.
        bullets: The additional information, one text each; several lines joined by a blank.
        other: The last lines labkit knows nothing of.
    """

    expected: tuple[str, ...] = ()
    steps: tuple[StepDone, ...] = ()
    manifests: tuple[ManifestRun, ...] = ()
    installing: bool = False
    installed: bool = False
    invalid: tuple[InvalidParameter, ...] = ()
    error: tuple[str, ...] = ()
    traceback: tuple[str, ...] = ()
    bullets: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    @property
    def status(self) -> PrintedStatus:
        """Return how the run stands."""
        failed = self.error or any(not step.ok for step in self.steps)
        if failed or any(run.ok is False for run in self.manifests):
            return PrintedStatus.FAILED
        if self.installed:
            return PrintedStatus.SUCCEEDED
        return PrintedStatus.FAILED if self.traceback else PrintedStatus.RUNNING

    @property
    def total(self) -> int:
        """Return the number of steps: the expected ones, and those that came unexpected."""
        return len(self.expected) + len(self._extras)

    @property
    def done(self) -> int:
        """Return how many steps are behind the run; one that was passed over counts."""
        return self._position + sum(step.ok for step in self._extras)

    @property
    def current(self) -> str | None:
        """Return the title of the step that should be running; None when none is.

        Packstack prints a step at its end only, so this is the next expected one.
        """
        if self.status is not PrintedStatus.RUNNING or not self.installing:
            return None
        return self.expected[self._position] if self._position < len(self.expected) else None

    @property
    def running(self) -> tuple[ManifestRun, ...]:
        """Return the manifests whose end was not seen."""
        return tuple(run for run in self.manifests if run.finished is None)

    @property
    def additional(self) -> Additional:
        """Return what the bullets say, as a record.

        Source: output_messages.py and the plugins' messages of Packstack stable/queens.
        """
        return _additional(self.bullets)

    @property
    def _position(self) -> int:
        ended = [step.title for step in self.steps if step.ok]
        places = [self.expected.index(title) for title in ended if title in self.expected]
        return max(places, default=-1) + 1

    @property
    def _extras(self) -> tuple[StepDone, ...]:
        return tuple(step for step in self.steps if step.title not in self.expected)

    def advance(self, event: Event, at: float) -> RunView:  # noqa: C901, PLR0911 -- one case each
        """Return what is known after a further event.

        Args:
            event: One of `Parser.feed`.
            at: When it was seen, seconds by any clock that only goes forward.
        """
        match event:
            case StepDone():
                return replace(self, steps=(*self.steps, event))
            case Applying() | Applied():
                return replace(self, manifests=_with_manifest(self.manifests, event, at))
            case Installing():
                return replace(self, installing=True)
            case Installed():
                return replace(self, installed=True)
            case InvalidParameter():
                return replace(self, invalid=(*self.invalid, event))
            case ErrorText(line=line):
                return replace(self, error=_with_error(self.error, line))
            case TracebackLine(line=line):
                return replace(self, traceback=_last((*self.traceback, line)))
            case Bullet():
                return replace(self, bullets=_with_bullet(self.bullets, event))
            case ChangedValue() | LogFile() | ManifestsPath():
                return self
            case OtherText(line=line):
                return replace(self, other=_last((*self.other, line)))

    def advance_all(self, events: Iterable[Event], at: float) -> RunView:
        """Return what is known after further events that were seen at one moment."""
        view = self
        for event in events:
            view = view.advance(event, at)
        return view


def view_of(output: bytes, *, expected: tuple[str, ...] = (), at: float = 0.0) -> RunView:
    """Return what a whole output says; a last line without its end counts."""
    parser = Parser()
    view = RunView(expected=expected).advance_all(parser.feed(output), at)
    return view.advance_all(parser.close(), at)


def _last(lines: tuple[_T, ...]) -> tuple[_T, ...]:
    return lines[-_KEPT_LINES:]


def _with_error(lines: tuple[str, ...], line: str) -> tuple[str, ...]:
    # What failed is said first, why it failed comes last; between them `bash -x` is talking.
    return (*lines[:1], *_last((*lines[1:], line)))


def _with_manifest(
    runs: tuple[ManifestRun, ...], event: Applying | Applied, at: float
) -> tuple[ManifestRun, ...]:
    fresh = ManifestRun(manifest=event.manifest, host=event.host, role=event.role, started=at)
    others = tuple(run for run in runs if run.manifest != event.manifest)
    if isinstance(event, Applying):
        return (*others, fresh)
    ended = {run.manifest: run for run in runs}.get(event.manifest, fresh)
    ended = replace(ended, finished=at, ok=event.ok)
    if len(others) == len(runs):
        return (*runs, ended)
    return tuple(ended if run.manifest == event.manifest else run for run in runs)


def _with_bullet(bullets: tuple[str, ...], event: Bullet) -> tuple[str, ...]:
    if event.continued and bullets:
        return (*bullets[:-1], f"{bullets[-1]} {event.text}")
    return _last((*bullets, event.text))


_REBOOT = re.compile(r"Because of the kernel update the host (\S+) requires reboot\.")
_NETWORK_MANAGER = re.compile(r"Warning: NetworkManager is active on ([^ ]+(?:, ?[^ ]+)*)\. ")


def _additional(bullets: tuple[str, ...]) -> Additional:
    reboots = (_REBOOT.match(text) for text in bullets)
    active = (_NETWORK_MANAGER.match(text) for text in bullets)
    return Additional(
        needs_reboot=tuple(found[1] for found in reboots if found),
        network_manager=tuple(
            host.strip() for found in active if found for host in found[1].split(",")
        ),
    )
