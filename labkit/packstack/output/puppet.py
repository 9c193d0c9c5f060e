"""What Puppet prints while it works a manifest, read piece by piece.

Source of the forms: Puppet 4.8, the version of the Queens repository; Packstack redirects its
output into `<manifest>.pp.running` (packstack/plugins/puppet_950.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from labkit.packstack.output.parser import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINE_BYTES = 64 * 1024
_KEPT_ERRORS = 50
_KEPT_TAIL = 10
# A failed command's output follows its error, sometimes hundreds of lines of it.
_KEPT_ERROR_LINES = 12

_LEVEL = re.compile(r"(Debug|Info|Notice|Warning|Error|Critical|Alert|Emergency): ")
_RESOURCE = re.compile(r"(/Stage\[[^\]]+\]/.+?\])(?:/[a-z_]+)?: ")
_APPLIED = re.compile(r"Notice: (?:Applied catalog|Finished catalog run) in ([\d.]+) seconds")
# What packstack/modules/puppet.py of stable/queens lets pass as expected.
_IGNORED = re.compile(
    r"Command mysql is missing|Could not prefetch database_grant provider.*\.my\.cnf"
    r"|yum.*install swift-plugin-s3|NetworkManager is not running"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PuppetError:
    """An error Puppet printed.

    Attributes:
        lines: Its text without the level, and the lines that followed it; at most 12.
        resource: The resource it belongs to, as a path; empty when it names none.
    """

    lines: tuple[str, ...]
    resource: str = ""

    @property
    def text(self) -> str:
        """Return the lines as one text."""
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class PuppetLog:
    """The log of one manifest as far as it was read.

    Attributes:
        size: Bytes read.
        changed_at: When it last grew; None while it is empty.
        applied_seconds: How long the manifest took, by Puppet; None before its end.
        names: The resources that were changed or failed, each once.
        errors: The errors, the first ones, at most 50.
        tail: The last lines, at most 10.
    """

    size: int = 0
    changed_at: float | None = None
    applied_seconds: float | None = None
    names: frozenset[str] = frozenset()
    errors: tuple[PuppetError, ...] = ()
    tail: tuple[str, ...] = ()
    _rest: bytes = b""
    _in_error: bool = field(default=False)

    @property
    def resources(self) -> int:
        """Return how many resources Puppet reported about; those found right stay unmentioned."""
        return len(self.names)

    def feed(self, data: bytes, at: float) -> PuppetLog:
        """Return what is known after a further piece of the log, cut anywhere.

        Args:
            data: What is new.
            at: When it was read.
        """
        if not data:
            return self
        *lines, rest = (self._rest + data).split(b"\n")
        read = replace(self, size=self.size + len(data), changed_at=at, _rest=rest[-_LINE_BYTES:])
        return _with_lines(read, (visible(line[-_LINE_BYTES:]) for line in lines))

    def close(self) -> PuppetLog:
        """Return what is known when nothing comes any more: a last line without its end counts."""
        return _with_lines(replace(self, _rest=b""), (visible(self._rest),))


def puppet_errors(text: str) -> tuple[PuppetError, ...]:
    """Return the errors of a whole log, without those that Packstack ignores."""
    return PuppetLog().feed(text.encode(), 0.0).close().errors


def _with_lines(log: PuppetLog, lines: Iterable[str]) -> PuppetLog:
    # Names of thousands of lines are gathered before the one copy that is made of them.
    names = set(log.names)
    for line in lines:
        if not line:
            continue
        log = replace(log, tail=(*log.tail, line)[-_KEPT_TAIL:])
        level = _LEVEL.match(line)
        if not level:
            log = _error_goes_on(log, line) if log._in_error else log  # noqa: SLF001 -- its own kind
            continue
        log = replace(log, _in_error=False)
        resource = _RESOURCE.match(line, level.end())
        if resource and level[1] in {"Notice", "Error"}:
            names.add(resource[1])
        if level[1] == "Error":
            log = _failed(log, line[level.end() :], resource[1] if resource else "")
        elif level[1] == "Notice":
            log = _timed(log, line)
    return replace(log, names=frozenset(names)) if len(names) != log.resources else log


def _failed(log: PuppetLog, text: str, resource: str) -> PuppetLog:
    if _IGNORED.search(text) or len(log.errors) >= _KEPT_ERRORS:
        return log
    error = PuppetError(lines=(text,), resource=resource)
    return replace(log, errors=(*log.errors, error), _in_error=True)


def _error_goes_on(log: PuppetLog, line: str) -> PuppetLog:
    *before, error = log.errors
    if len(error.lines) >= _KEPT_ERROR_LINES:
        return log
    return replace(log, errors=(*before, replace(error, lines=(*error.lines, line))))


def _timed(log: PuppetLog, line: str) -> PuppetLog:
    applied = _APPLIED.match(line)
    return replace(log, applied_seconds=float(applied[1])) if applied else log
