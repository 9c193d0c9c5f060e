"""What a guest wrote, as it may be shown on a terminal: nothing in it commands the terminal."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.lifecycle.guest_logs import set_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

PIECE_BYTES = 64 * 1024
LOOK_SECONDS = 0.5
# Colours (ECMA-48, SGR), and what a serial line puts before the end of a line.
_HARMLESS = re.compile(r"\x1b\[[0-9;]*m|\r(?=\n|\Z)")


def visible(text: str) -> str:
    """Return a text without colours and with every other control character made visible.

    Line ends and tabs stay. A character of C0 stands as `^X`, any other by its number.
    """
    plain = _HARMLESS.sub("", text)
    return "".join(
        char if char.isprintable() or char in "\n\t" else _shown(char) for char in plain
    )


def _shown(char: str) -> str:
    code = ord(char)
    return f"^{chr(code ^ 0x40)}" if code < 0x80 else f"\\u{code:04x}"  # noqa: PLR2004 -- ASCII


def console_pieces(
    log: Path, *, node: str, follow: bool, pause: Callable[[float], bool]
) -> Iterator[bytes]:
    """Yield what a node wrote to its serial console since `up` last started it, piece by piece.

    Args:
        log: Where libvirt keeps it.
        node: The node's name, for errors.
        follow: Whether to wait for more, also in a file that takes its place.
        pause: Waits for so many seconds; True ends the following.

    Raises:
        OperationError: The node was never started, or this user may not read its console.
    """
    for earlier in set_aside(log):
        with _opened(earlier, node) as stream:
            yield from iter(lambda: stream.read(PIECE_BYTES), b"")
    while True:
        with _opened(log, node) as stream:
            while True:
                while piece := stream.read(PIECE_BYTES):
                    yield piece
                if not follow or pause(LOOK_SECONDS):
                    return
                if _replaced(log, stream):
                    break


def _opened(log: Path, node: str) -> BinaryIO:
    try:
        return log.open("rb")
    except FileNotFoundError as exc:
        message = f"The node '{node}' has no console log: it was never started."
        raise OperationError(message, hint="Run 'labkit up' first.") from exc
    except PermissionError as exc:
        # QEMU's output goes through virtlogd, which makes the file anew, for root alone.
        message = f"The console of the node '{node}', '{log}', is a file of root's."
        command = shlex.join(["sudo", "cat", "-v", "--", str(log)])
        raise OperationError(message, hint=f"Run '{command}'.") from exc


def _replaced(log: Path, stream: BinaryIO) -> bool:
    try:
        now = log.stat()
    except FileNotFoundError:
        return False
    own = os.fstat(stream.fileno())
    return (now.st_ino, now.st_dev) != (own.st_ino, own.st_dev) or now.st_size < stream.tell()
