"""A serial line in memory, and libvirt's stream to it; the test is its far end."""

from __future__ import annotations

import threading
from queue import SimpleQueue


class FakeLine:
    """A line that says what a test lets it say.

    Attributes:
        heard: What was said to it.
        closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.closed = threading.Event()
        self._said: SimpleQueue[bytes | Exception] = SimpleQueue()
        self._news = threading.Condition()

    def say(self, *pieces: bytes | Exception) -> None:
        """Say something, fail, or end: an empty piece."""
        for piece in pieces:
            self._said.put(piece)

    def until(self, heard: bytes) -> None:
        """Wait until it heard all of this."""
        with self._news:
            assert self._news.wait_for(lambda: heard in self.heard, timeout=5), self.heard

    def read(self) -> bytes:
        """Wait for what it says."""
        piece = self._said.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    def write(self, piece: bytes) -> None:
        """Hear something."""
        with self._news:
            self.heard += piece
            self._news.notify_all()

    def close(self) -> None:
        """End."""
        self.closed.set()
        self._said.put(b"")


class FakeStream(FakeLine):
    """A line as libvirt's virStream has it; it takes three bytes at a time."""

    def recv(self, _most: int) -> bytes:
        """Wait for what it says."""
        return self.read()

    def send(self, piece: bytes) -> int:
        """Hear the first bytes and return how many."""
        self.write(piece[:3])
        return len(piece[:3])

    def abort(self) -> int:
        """End."""
        self.close()
        return 0
