"""This process's terminal, made the near end of a serial line until its escape is typed."""

from __future__ import annotations

import os
import select
import termios
import threading
import tty
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

# Ctrl-], as telnet and virsh have it.
ESCAPE: Final = b"\x1d"
ESCAPE_NAME: Final = "^]"

LOOK_SECONDS: Final = 0.2
# What is on its way when the escape is typed gets so long to arrive.
LAST_SECONDS: Final = 1.0
PIECE_BYTES: Final = 4096


class Line(Protocol):
    """The far end."""

    def read(self) -> bytes:
        """Wait for what it says and return it; nothing once it has ended."""

    def write(self, piece: bytes) -> None:
        """Say something to it."""

    def close(self) -> None:
        """End a `read` that waits."""


def typed(piece: bytes) -> tuple[bytes, bool]:
    """Return what of some typed bytes is for the far end, and whether the escape ended it."""
    before, escape, _after = piece.partition(ESCAPE)
    return before, bool(escape)


def talk(line: Line, *, stdin: int, stdout: int) -> bool:
    """Let a terminal and a line talk, byte for byte, and put the terminal back as it was.

    Args:
        line: The line; it is closed in the end.
        stdin: The descriptor of what is typed, a terminal.
        stdout: The descriptor of what shows the answers.

    Returns:
        Whether it was left from here, by the escape or because the terminal is gone; False when
        the line ended.

    Raises:
        LabkitError: The line's own.
    """
    exchange = _Exchange(line, stdout)
    try:
        with _raw(stdin), exchange.shown():
            left = exchange.carry(stdin)
    finally:
        # After the terminal is back: a libvirtd that hangs would keep it raw for as long.
        line.close()
    if exchange.failure is not None and not left:
        raise exchange.failure
    return left


class _Exchange:
    """The two directions, a thread for each, because either may have to wait."""

    def __init__(self, line: Line, stdout: int) -> None:
        self.failure: Exception | None = None
        self._line = line
        self._stdout = stdout
        self._over = threading.Event()
        self._hushed = threading.Event()
        self._keys: SimpleQueue[bytes] = SimpleQueue()

    def carry(self, stdin: int) -> bool:
        """Pass on what is typed until the escape (True) or the line's end (False)."""
        sender = self._start(self._send)
        self._start(self._hear)
        while not self._over.is_set():
            if not select.select([stdin], [], [], LOOK_SECONDS)[0]:
                continue
            piece, escaped = typed(_read(stdin))
            if piece:
                self._keys.put(piece)
            # Neither: the terminal itself is gone.
            if escaped or not piece:
                self._keys.put(b"")
                sender.join(LAST_SECONDS)
                return True
        return False

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show what the line says in the block, and nothing of it afterwards."""
        try:
            yield
        finally:
            self._hushed.set()

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except Exception as exc:  # noqa: BLE001 -- the main thread's to raise
                self.failure = self.failure or exc
                self._over.set()

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def _send(self) -> None:
        while piece := self._keys.get():
            self._line.write(piece)

    def _hear(self) -> None:
        while (piece := self._line.read()) and not self._hushed.is_set():
            _write(self._stdout, piece)
        self._over.set()


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    before = termios.tcgetattr(descriptor)
    try:
        # Not the default, which throws away what was typed before.
        tty.setraw(descriptor, termios.TCSANOW)
        yield
    finally:
        # What was pasted behind the escape is not for the shell.
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, PIECE_BYTES)
    except OSError:
        # EIO: the other side of the terminal was closed.
        return b""


def _write(descriptor: int, piece: bytes) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]
