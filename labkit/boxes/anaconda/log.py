"""What an unattended installation says about itself: serial console, anaconda's log, result port.

The phrases are those of anaconda 21.48.22.134, dracut and the kernel of CentOS 7; the log
patterns are the ones lorax gives up at (logmonitor.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class InstallStage(StrEnum):
    """How far an installation is, in the order of events."""

    DRACUT = "dracut"
    ANACONDA = "anaconda"
    PACKAGES = "packages"
    POST = "post"
    FINISHED = "finished"


class LogSource(StrEnum):
    """Where a line came from."""

    SERIAL = "the serial console"
    LOG = "anaconda's log"
    RESULT = "the result port"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallState:
    """What is known after the lines so far.

    Attributes:
        stage: The furthest stage seen; a late line of an earlier one does not take it back.
        packages_done: The package being installed, counted from 1; 0 before the first.
        packages_total: Number of packages of the transaction; 0 before the first.
        failure: What went wrong, as a clause; None while nothing has. The first failure stays
            unless a later line knows more of the cause.
        insight: How much the source of `failure` knows of its cause; 0 without a failure.
        ok: Whether the installed system reported success. It counts only once the machine is off.
        quoted: The line after anaconda's "exact error message is", empty before; None without.
    """

    stage: InstallStage = InstallStage.DRACUT
    packages_done: int = 0
    packages_total: int = 0
    failure: str | None = None
    insight: int = 0
    ok: bool = False
    quoted: str | None = None

    def progress(self) -> str:
        """Return the stage as a short phrase for the person who waits."""
        if self.stage is InstallStage.PACKAGES and self.packages_total:
            return f"installing package {self.packages_done} of {self.packages_total}"
        return _PHRASES[self.stage]


RESULT_OK = "OK"
RESULT_FAILED = "FAILED"

# The kickstart's %onerror and %traceback know that something failed, console and log say what,
# and the kickstart's own checks say what and where.
_INSIGHT_HOOK, _INSIGHT_INSTALLER, _INSIGHT_CHECK = 1, 2, 3
_HOOK = "anaconda "

_PHRASES = {
    InstallStage.DRACUT: "starting the installer",
    InstallStage.ANACONDA: "anaconda prepares the installation",
    InstallStage.PACKAGES: "installing packages",
    InstallStage.POST: "configuring the installed system",
    InstallStage.FINISHED: "the installed system reported success",
}
_ORDER = list(InstallStage)
# A terminal's colours, cursor movements and character sets: systemd and anaconda use them.
_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9])")
_PACKAGE = re.compile(r"\bInstalling \S+ \((\d+)/(\d+)\)")
# Only these programs run in the installer alone; `kernel:` lines come from dracut's time too.
_ANACONDA = re.compile(
    r"^\d\d:\d\d:\d\d,\d+ \w+ (anaconda|blivet|packaging|program):|Starting installer, one moment"
    r"|^anaconda \d+\."
)
_PACKAGES = re.compile(r"Starting package installation process|Running anaconda-yum to install")
_POST = re.compile(
    r"Configuring installed system|Running (kickstart %{1,2}post|post-installation)"
)
_QUOTE = re.compile(r"The exact error message is:\s*(.*)")
_GAVE_UP = "The installer will now terminate"
# Any of these ends an installation, also where the machine stays on at a prompt.
_SERIAL_FAILURES = (
    (re.compile(r"Kernel panic - not syncing: ?(.*)"), "the installer's kernel panicked: {}"),
    (
        re.compile(r"Could not boot\."),
        "the kickstart or the installer's image was not found on the CD-ROMs (dracut timed out)",
    ),
    (re.compile(r"Entering emergency mode"), "dracut gave up and opened an emergency shell"),
    (
        re.compile(r"(The following problem occurred on line .* of the kickstart file.*)"),
        "anaconda refused the kickstart: {}",
    ),
    (re.compile(r"Kickstart file (\S+) is missing"), "anaconda did not find the kickstart '{}'"),
    (
        re.compile(r"There was an error running the kickstart script at line\s*(\d*)"),
        "a script of the kickstart failed, line {}",
    ),
    (re.compile(r"installation will be aborted"), "anaconda met a fatal error"),
)
# Not lorax's 'Call Trace:': an old kernel on a new processor prints one at boot and goes on.
_LOG_FAILURES = (
    (re.compile(r"CmdlineError: (.*)"), "anaconda gave up: {}"),
    (
        re.compile(r"packaging:\s*(base repo .* not valid.*)"),
        "the ISO's packages are unusable: {}",
    ),
    (re.compile(r"Traceback \((.*)"), "the installer crashed, see the traceback in its log"),
    (re.compile(r"(Out of memory: .*)"), "the installer's memory ran out: {}"),
    (re.compile(r"(insufficient disk space:.*)"), "the disk is too small: {}"),
)


def advance(state: InstallState, source: LogSource, lines: Iterable[str]) -> InstallState:
    """Return what is known after further complete lines of one source."""
    for raw in lines:
        line = clean(raw)
        if not line:
            continue
        if source is LogSource.RESULT:
            state = _result(state, line)
        else:
            state = _failure(_quote(_progress(state, line), source, line), source, line)
    return state


def clean(line: str) -> str:
    """Return a console line without what only a terminal understands."""
    # Of a line that was overwritten from its start, the last version is what one would see.
    return _ESCAPE.sub("", line).rstrip("\r\n \0").rpartition("\r")[2].strip()


def _reached(state: InstallState, stage: InstallStage) -> InstallState:
    later = _ORDER.index(stage) > _ORDER.index(state.stage)
    return replace(state, stage=stage) if later else state


def _result(state: InstallState, line: str) -> InstallState:
    word, _, rest = line.partition(" ")
    if word == RESULT_OK:
        return replace(_reached(state, InstallStage.FINISHED), ok=True)
    if word == RESULT_FAILED:
        clause = f"the kickstart reported: {rest}" if rest else "the kickstart reported a failure"
        knows = _INSIGHT_HOOK if not rest or rest.startswith(_HOOK) else _INSIGHT_CHECK
        return _failed(state, clause, knows)
    return state


def _failed(state: InstallState, clause: str, insight: int) -> InstallState:
    return replace(state, failure=clause, insight=insight) if insight > state.insight else state


def _progress(state: InstallState, line: str) -> InstallState:
    package = _PACKAGE.search(line)
    if package:
        # Console and log tell the same twice and not in step.
        done = max(state.packages_done, int(package[1]))
        state = replace(state, packages_done=done, packages_total=int(package[2]))
        return _reached(state, InstallStage.PACKAGES)
    for pattern, stage in (
        (_POST, InstallStage.POST),
        (_PACKAGES, InstallStage.PACKAGES),
        (_ANACONDA, InstallStage.ANACONDA),
    ):
        if pattern.search(line):
            return _reached(state, stage)
    return state


def _quote(state: InstallState, source: LogSource, line: str) -> InstallState:
    if source is not LogSource.SERIAL:
        return state
    begins = _QUOTE.search(line)
    if begins:
        return replace(state, quoted=begins[1])
    return replace(state, quoted=line) if state.quoted == "" else state


def _failure(state: InstallState, source: LogSource, line: str) -> InstallState:
    if source is LogSource.SERIAL and _GAVE_UP in line:
        reason = (state.quoted or "it gave no reason").removeprefix("CmdlineError: ").rstrip(".")
        return _failed(state, f"anaconda gave up: {reason}", _INSIGHT_INSTALLER)
    known = _SERIAL_FAILURES if source is LogSource.SERIAL else _LOG_FAILURES
    for pattern, clause in known:
        match = pattern.search(line)
        if match:
            found = match[1].strip().rstrip(".") if match.groups() else ""
            return _failed(state, clause.format(found), _INSIGHT_INSTALLER)
    return state
