"""Answers to what a getty asks on a serial line, so that nobody has to type a password."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from labkit.host.terminal import Line

# A getty that starts anew, and an emulated guest that is busy. Who logs out later is not to be
# logged in once more.
ANSWER_SECONDS: Final = 60.0
# More than a question takes, whatever the kernel says in between.
SEEN_BYTES: Final = 4096


class Login:
    """A line on which a login is answered, once.

    Args:
        line: The line.
        user: Who logs in.
        password: Their password; sent only where it was asked for.
        clock: The time in seconds, monotonic.
    """

    def __init__(
        self, line: Line, *, user: str, password: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._line = line
        self._clock = clock
        self._until = clock() + ANSWER_SECONDS
        self._answers = [(b"login:", user), (b"assword:", password)]
        self._seen = b""

    def read(self) -> bytes:
        """Wait for what the line says, answer it where it asks, and return it."""
        piece = self._line.read()
        if self._answers and self._clock() < self._until:
            question, answer = self._answers[0]
            self._seen = (self._seen + piece)[-SEEN_BYTES:]
            # At the end of a line: 'Last login: ...' asks nothing.
            if re.search(re.escape(question) + rb" *(?:[\r\n]|\Z)", self._seen):
                del self._answers[0]
                self._seen = b""
                self._line.write(answer.encode() + b"\r")
        return piece

    def write(self, piece: bytes) -> None:
        """Say something to the line."""
        self._line.write(piece)

    def close(self) -> None:
        """Close the line."""
        self._line.close()
