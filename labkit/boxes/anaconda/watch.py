"""Follows an installation by its logs, its disk and its machine, and decides how it ended."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.boxes.anaconda.log import InstallState, LogSource, advance, clean
from labkit.host.libvirt.xml import DomainState
from labkit.waiting import Clock, NotYet

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader
    from pathlib import Path

LOGS = {
    LogSource.SERIAL: "serial.log",
    LogSource.LOG: "anaconda.log",
    LogSource.RESULT: "result.log",
}
TAIL_LINES = 8
LINE_BYTES = 64 * 1024
# virtlogd writes the files and may be behind a machine that is off already.
SETTLE_SECONDS = 1.0
OFF = {None, DomainState.SHUTOFF, DomainState.CRASHED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, in seconds of this machine.

    Attributes:
        silence: Without console output, log line or disk write until an installation counts as
            hung.
        last_words: For a failed installer to say more before it is powered off.
    """

    silence: float
    last_words: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOutcome:
    """How an installation ended.

    Attributes:
        reason: Why it failed, as a clause; empty for success.
        paused: Whether QEMU stopped the machine, as it does when an image cannot grow.
    """

    reason: str = ""
    paused: bool = False


def outcome(
    state: InstallState,
    *,
    paused: bool,
    off: float | None,
    failing: float,
    silent: float,
    patience: Patience,
) -> InstallOutcome | None:
    """Decide how an installation ended; None while it has not.

    Args:
        state: What it said so far.
        paused: Whether the machine is stopped, neither running nor off.
        off: Seconds since the machine was first seen off; None while it is on.
        failing: Seconds since the first failure was seen.
        silent: Seconds since it last said or wrote something.
        patience: How long is too long.
    """
    if state.failure is not None and (off is not None or failing >= patience.last_words):
        return InstallOutcome(reason=state.failure)
    if paused:
        return InstallOutcome(
            reason="QEMU stopped the machine, because it could not write", paused=True
        )
    if off is not None and state.ok:
        return InstallOutcome()
    if off is not None:
        reason = "the machine went off or restarted before the installed system reported success"
        return InstallOutcome(reason=reason) if off >= SETTLE_SECONDS else None
    if silent >= patience.silence:
        reason = f"it hung: no console output, no log line and no disk write for {silent:.0f} s"
        return InstallOutcome(reason=reason)
    return None


@dataclass(slots=True, kw_only=True)
class LogTail:
    """Reads a growing file line by line, also after virtlogd has put it aside (2 MiB each).

    Attributes:
        path: The file; one that is not there yet has no lines.
        last: Its last lines as a terminal would show them.
        size: Bytes read so far.
    """

    path: Path
    last: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    size: int = 0
    _stream: BufferedReader | None = None
    _rest: bytes = b""

    def lines(self) -> list[str]:
        """Return the complete lines that came since the last call."""
        fresh = self._read()
        if self._replaced():
            # What the old file got between the read and the look is read before it is left.
            fresh += self._read()
            self.close()
            fresh += self._read()
        self.size += len(fresh)
        *whole, self._rest = (self._rest + fresh).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            whole.append(self._rest)
            self._rest = b""
        found = [line.decode("utf-8", "replace") for line in whole]
        self.last.extend(text for text in map(clean, found) if text)
        return found

    def rest(self) -> str:
        """Return the line that has no end yet: a prompt, a machine's last word."""
        return clean(self._rest.decode("utf-8", "replace"))

    def close(self) -> None:
        """Close the file; the next call of `lines` opens it anew from its beginning."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _read(self) -> bytes:
        if self._stream is None:
            try:
                self._stream = self.path.open("rb")
            except OSError:
                # Not there yet; or begun anew by virtlogd as root, then the disk's activity
                # and the result port, which stays small, still tell the end.
                return b""
        return self._stream.read()

    def _replaced(self) -> bool:
        if self._stream is None:
            return False
        try:
            return self.path.stat().st_ino != os.fstat(self._stream.fileno()).st_ino
        except OSError:
            return False


@dataclass(slots=True, kw_only=True)
class Watch:
    """Follows an installation: what it said, and when it last did anything.

    Attributes:
        logs: Directory of the three logs.
        disk: The disk that is installed to.
        patience: How long to wait for it.
        machine: Asks what the machine does; None when libvirt does not know it any more.
        progress: Told the stage whenever it changes.
        clock: What tells the time.
        state: What is known so far.
        tails: The logs.
    """

    logs: Path
    disk: Path
    patience: Patience
    machine: Callable[[], DomainState | None]
    progress: Callable[[str], None]
    clock: Clock = time.monotonic
    state: InstallState = field(default_factory=InstallState)
    tails: dict[LogSource, LogTail] = field(default_factory=dict)
    _activity: tuple[int, ...] = ()
    _active_at: float = 0.0
    _failed_at: float | None = None
    _off_at: float | None = None

    def __post_init__(self) -> None:
        for source, name in LOGS.items():
            self.tails[source] = LogTail(path=self.logs / name)

    def look(self) -> InstallOutcome:
        """Read what is new and return how the installation ended.

        Raises:
            NotYet: It has not ended.
        """
        # Asked first: when it is off, everything it said is in the files or on its way there.
        machine = self.machine()
        off = machine in OFF
        before = self.state.progress()
        for source, tail in self.tails.items():
            self.state = advance(self.state, source, tail.lines())
        if off:
            for source, tail in self.tails.items():
                self.state = advance(self.state, source, [tail.rest()])
        if self.state.progress() != before:
            self.progress(self.state.progress())
        now = self.clock()
        activity = self._measure()
        if activity != self._activity:
            self._activity, self._active_at = activity, now
        if self.state.failure is not None and self._failed_at is None:
            self._failed_at = now
        if off and self._off_at is None:
            self._off_at = now
        found = outcome(
            self.state,
            paused=machine is DomainState.PAUSED,
            off=None if self._off_at is None else now - self._off_at,
            failing=0.0 if self._failed_at is None else now - self._failed_at,
            silent=now - self._active_at,
            patience=self.patience,
        )
        if found is None:
            raise NotYet(self.state.progress())
        return found

    def _measure(self) -> tuple[int, ...]:
        disk = self.disk.stat()
        said = [tail.size for tail in self.tails.values()]
        return (*said, disk.st_mtime_ns, disk.st_blocks)

    def close(self) -> None:
        """Close the logs."""
        for tail in self.tails.values():
            tail.close()

    def last_lines(self) -> tuple[str, ...]:
        """Return the last lines of every log that has any, each log under a heading."""
        found: list[str] = []
        for source, tail in self.tails.items():
            lines = [*tail.last, *filter(None, [tail.rest()])]
            if lines:
                found += [f"Last lines of {source}:", *(f"  {line}" for line in lines)]
        return tuple(found)
