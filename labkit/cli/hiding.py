"""Standard output and error without secrets, whoever writes to them."""

from __future__ import annotations

import codecs
import re
import sys
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.lab.topology import ResolvedLab
    from labkit.state.directory import LabDirectory


class HidingStream:
    """A text stream that hides the secrets of the lab a verb works on; the rest is the stream's own.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.hide: Callable[[str], str] = _as_it_is

    def write(self, text: str) -> int:
        """Write a text without its secrets."""
        return self._stream.write(self.hide(text))

    def writelines(self, lines: list[str]) -> None:
        """Write texts without their secrets."""
        self.write("".join(lines))

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _as_it_is(text: str) -> str:
    # Not str(): what is no text has to be refused by the stream itself. Some libraries find out by
    # that whether a stream takes bytes.
    return text


class Secrets:
    """Hides every secret that a lab had at some moment since the verb began.

    A lab gets its passwords while it is deployed, and loses them when it is destroyed; both can
    happen before a verb's report is written.

    Args:
        lab: The lab.
        directory: Its directory.
    """

    def __init__(self, lab: ResolvedLab, directory: LabDirectory) -> None:
        self._lab = lab
        self._directory = directory
        self._known: frozenset[str] = frozenset()

    def hide(self, text: str) -> str:
        """Return a text without secrets."""
        from labkit.state.secrets import hidden, known_secrets  # for verbs that have a lab alone

        self._known |= known_secrets(self._lab, self._directory)
        return hidden(text, self._known)


class Pieces:
    """Turns output that comes in pieces into texts of which none ends within a word.

    A secret has no blank in it, so none is cut in two.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self.rest = ""

    def whole(self, piece: bytes) -> str:
        """Return what can be shown by now; what follows the last blank waits in `rest`."""
        text = self.rest + self._decoder.decode(piece)
        shown = re.match(r"(?:.*\s)?", text, re.DOTALL)
        length = 0 if shown is None else shown.end()
        self.rest = text[length:]
        return text[:length]


def hide_in_streams() -> None:
    """Put a hiding stream in the place of standard output and of standard error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, HidingStream):
            setattr(sys, name, cast("TextIO", HidingStream(stream)))


def keep_secrets(lab: ResolvedLab, directory: LabDirectory) -> Callable[[str], str]:
    """Have the streams hide a lab's secrets, and return what hides them elsewhere."""
    secrets = Secrets(lab, directory)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, HidingStream):
            stream.hide = secrets.hide
    return secrets.hide


def shown(text: str) -> str:
    """Return a text as standard output would show it: for files, and for cells of a table."""
    return sys.stdout.hide(text) if isinstance(sys.stdout, HidingStream) else text
