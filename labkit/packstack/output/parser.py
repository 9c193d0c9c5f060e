"""What Packstack prints, as events, however its output was cut into pieces.

Source of every pattern: packstack/installer/{run_setup,output_messages}.py, core/sequences.py,
utils/strings.py and plugins/puppet_950.py of Packstack stable/queens (cfffafa9).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

# What a terminal is told between the characters of a line: colours, mostly.
# What is left of an escape that is none of these would still be one for a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[()][A-Z0-9]|[=>78cDEHM])")
# On a terminal a spinner rewrites one line for hours; only its end can matter.
_LINE_BYTES = 64 * 1024

ROLES = ("controller", "network", "compute")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """A step of a sequence ended.

    Attributes:
        title: As printed, such as "Preparing Nova API entries".
        ok: Whether it printed DONE, not ERROR.
    """

    title: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Applying:
    """Puppet begins with a manifest on a host.

    Attributes:
        manifest: File name, `<ip>_<role>.pp`.
        host: The host as the answers name it.
        role: One of `ROLES`.
    """

    manifest: str
    host: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """Puppet is done with a manifest; the fields are those of `Applying` and `StepDone`."""

    manifest: str
    host: str
    role: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedValue:
    """Packstack replaced an answer, such as a host name by its address."""

    given: str
    required: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidParameter:
    """An answer was refused by Packstack's validators."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Installing:
    """The parameters are accepted, the steps begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """Packstack says that the installation was completed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorText:
    """One line of the error a run ends with; the first comes without its `ERROR : `."""

    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TracebackLine:
    """One line of a Python traceback on stderr; the last one names the exception."""

    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullet:
    """A line of the additional information at the end.

    Attributes:
        text: Without the bullet.
        continued: Whether it belongs to the bullet before, which spans several lines.
    """

    text: str
    continued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherText:
    """A line that says nothing labkit knows: output of a tool, a warning of SSH."""

    line: str


Event = (
    StepDone
    | Applying
    | Applied
    | ChangedValue
    | InvalidParameter
    | Installing
    | Installed
    | ErrorText
    | TracebackLine
    | Bullet
    | OtherText
)


class _Part(StrEnum):
    """Which part of the output a line is in."""

    STEPS = "steps"
    TRACEBACK = "traceback"
    ERROR = "error"
    ADDITIONAL = "additional"


_STATUS = re.compile(r"(?P<title>.+?)\s*\[ (?P<status>DONE|ERROR) \]")
_MANIFEST = rf"(?P<manifest>(?P<host>\S+)_(?P<role>{'|'.join(ROLES)})\.pp)"
_APPLIED = re.compile(rf"{_MANIFEST}:")
_APPLYING = re.compile(rf"Applying {_MANIFEST}")
_CHANGED = re.compile(r"Packstack changed given value (.*) to required value (.*)")
_INVALID = re.compile(r"Parameter (\S+) failed validation: (.*)")
# logging.error() without a handler, as before Packstack has its log, prints the prefix to stderr.
_TRACEBACK = re.compile(r"(?:ERROR:\w+:)?Traceback \(most recent call last\):")
_ERROR = re.compile(r"ERROR : (.*)")
_USAGE = re.compile(r"packstack: error: (.*)")
_LOG_HINT = re.compile(r"Please check log file \S+ for more information")
# Where the log and the manifests are is shown by the bullets at the end.
_PASSED_OVER = re.compile(
    r"Welcome to the Packstack setup utility"
    r"|The (?:installation log file is|generated manifests are) available at: \S+"
)
_ADDITIONAL = "Additional information:"
_INSTALLING = "Installing:"
_INSTALLED = "**** Installation completed successfully ******"
_BULLET = " * "


@dataclass(slots=True)
class Parser:
    """Reads a stream of Packstack's output, stdout and stderr together.

    The stream may be cut anywhere: within a character, an escape sequence, a line.
    """

    _rest: bytes = b""
    _part: _Part = field(default=_Part.STEPS)

    def feed(self, data: bytes) -> tuple[Event, ...]:
        """Return the events of the lines that end in a further piece of the stream.

        Source of the forms: Packstack stable/queens, see the module.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_LINE_BYTES:]
        return tuple(event for line in lines for event in self._line(line[-_LINE_BYTES:]))

    def close(self) -> tuple[Event, ...]:
        """Return the events of a last line without its end; the stream is over."""
        rest, self._rest = self._rest, b""
        return self._line(rest) if rest else ()

    def _line(self, raw: bytes) -> tuple[Event, ...]:
        line = visible(raw)
        if not line:
            return ()
        if line == _ADDITIONAL:
            self._part = _Part.ADDITIONAL
            return ()
        begins = _ERROR.fullmatch(line) or _USAGE.fullmatch(line)
        if begins and self._part is not _Part.ADDITIONAL:
            self._part = _Part.ERROR
            return (ErrorText(line=begins[1]),)
        return self._goes_on(line)

    def _goes_on(self, line: str) -> tuple[Event, ...]:
        match self._part:
            case _Part.ADDITIONAL:
                return _bullet(line)
            case _Part.ERROR:
                return self._error_goes_on(line)
            case _Part.TRACEBACK:
                self._part = _Part.TRACEBACK if line.startswith(" ") else _Part.STEPS
                return (TracebackLine(line=line),)
            case _Part.STEPS if _TRACEBACK.fullmatch(line):
                self._part = _Part.TRACEBACK
                return (TracebackLine(line=line),)
            case _Part.STEPS:
                return _ordinary(line)

    def _error_goes_on(self, line: str) -> tuple[Event, ...]:
        if _LOG_HINT.fullmatch(line):
            self._part = _Part.STEPS
            return ()
        return (ErrorText(line=line),)


def visible(raw: bytes) -> str:
    """Return what a terminal would show of a line: no escapes, the last version if rewritten."""
    text = _ESCAPE.sub("", raw.decode("utf-8", errors="replace"))
    return _CONTROL.sub("", text.rstrip("\r").rpartition("\r")[2]).rstrip()


def _bullet(line: str) -> tuple[Event, ...]:
    text = line.removeprefix(_BULLET)
    return (Bullet(text=text.strip(), continued=text == line),)


def _ordinary(line: str) -> tuple[Event, ...]:
    status = _STATUS.fullmatch(line)
    if status:
        ok = status["status"] == "DONE"
        applied = _APPLIED.fullmatch(status["title"])
        if applied:
            return (Applied(**applied.groupdict(), ok=ok),)
        return (StepDone(title=status["title"], ok=ok),)
    applying = _APPLYING.fullmatch(line)
    if applying:
        return (Applying(**applying.groupdict()),)
    return () if _PASSED_OVER.fullmatch(line) else _notice(line)


def _notice(line: str) -> tuple[Event, ...]:
    changed = _CHANGED.fullmatch(line)
    if changed:
        return (ChangedValue(given=changed[1], required=changed[2]),)
    invalid = _INVALID.fullmatch(line)
    if invalid:
        return (InvalidParameter(key=invalid[1], reason=invalid[2]),)
    if line == _INSTALLING:
        return (Installing(),)
    if line.strip() == _INSTALLED:
        return (Installed(),)
    return (OtherText(line=line),)
