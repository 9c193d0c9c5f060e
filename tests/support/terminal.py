"""A pseudo-terminal with labkit on its inner side and a test at its keyboard."""

from __future__ import annotations

import os
import select
import termios
import threading
import time
from contextlib import AbstractContextManager, suppress

SECONDS = 60.0
_pause = threading.Event().wait  # an event that nobody sets


class Terminal(AbstractContextManager["Terminal"]):
    """A terminal; as a context manager it is closed at the end.

    Attributes:
        inner: The descriptor that is labkit's standard input and output.
        outer: The other side.
        seen: What it has shown so far.
    """

    def __init__(self) -> None:
        self.outer, self.inner = os.openpty()
        self.seen = b""
        self._settings = termios.tcgetattr(self.inner)

    def __exit__(self, *_error: object) -> None:
        for each in (self.outer, self.inner):
            with suppress(OSError):
                os.close(each)

    def type(self, keys: bytes) -> None:
        """Type."""
        os.write(self.outer, keys)

    def until(self, wanted: bytes, *, since: int = 0) -> int:
        """Wait until it shows something, from a place in `seen` on; return the place behind it."""
        end = time.monotonic() + SECONDS
        while wanted not in self.seen[since:]:
            assert time.monotonic() < end, self.seen
            self.look()
        return self.seen.index(wanted, since) + len(wanted)

    def look(self, seconds: float = 0.1) -> bytes:
        """Return what it has shown by now."""
        while select.select([self.outer], [], [], seconds)[0]:
            self.seen += os.read(self.outer, 4096)
        return self.seen

    def until_raw(self) -> None:
        """Wait until Ctrl-C is no longer its own."""
        end = time.monotonic() + SECONDS
        while termios.tcgetattr(self.inner)[3] & termios.ISIG:
            assert time.monotonic() < end, self.seen
            _pause(0.01)

    def is_as_before(self) -> bool:
        """Return whether its settings are those it was made with."""
        return termios.tcgetattr(self.inner) == self._settings
