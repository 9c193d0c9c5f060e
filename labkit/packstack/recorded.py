"""Explains texts that somebody recorded of a Packstack run, of labkit's or of any other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from labkit.packstack.explain import ERROR_LINES, Explanation, explain, shown_errors, without_trace
from labkit.packstack.gather import masked
from labkit.packstack.output.parser import visible
from labkit.packstack.output.view import PrintedStatus, RunView, view_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# openstack-setup.log of Packstack stable/queens (packstack/installer/run_setup.py, initLogging).
_LOGGED = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d::(?P<level>[A-Z]+)::\w+::\d+::[\w.]+:: ?", re.MULTILINE
)
_PRINTED = re.compile(
    r"^Installing:$|\[ (?:DONE|ERROR) \]|^Welcome to the Packstack", re.MULTILINE
)
_PUPPET = re.compile(r"^(?:Notice|Warning|Error|Info|Debug): ", re.MULTILINE)
_MANIFEST = re.compile(r"(?P<host>[\w.-]+)_(?P<role>controller|network|compute)\.pp")
_TRACE = re.compile(r"full trace in log (?P<path>\S+)")
# By a record's specificity.
CERTAINTY = ("what failed is not known", "what failed, not why", "why, as mostly", "why, exactly")


class Kind(StrEnum):
    """What a text is."""

    OUTPUT = "Packstack's output"
    SETUP_LOG = "Packstack's openstack-setup.log"
    PUPPET_LOG = "a log of Puppet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A failure that texts show.

    Attributes:
        known: What is known of it.
        host: The host it happened on; empty when the texts do not say.
        remedy: What mends it, with the host's name where it has to be named.
    """

    known: Explanation
    host: str
    remedy: str

    @property
    def certainty(self) -> str:
        """Return how much is known, in words."""
        return CERTAINTY[self.known.failure.specificity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What recorded texts show of a run.

    Attributes:
        kinds: What each text was taken for, by its name.
        failed: Whether any of them shows a failure.
        findings: The known failures, the best explained first; notes last.
        broken_off: The last step of an output that ends before Packstack does; empty otherwise.
        lines: Of every error, the lines that matter.
        trace: The log of Puppet that Packstack names for more; empty when one is among the texts.
    """

    kinds: Mapping[str, Kind]
    failed: bool
    broken_off: str
    findings: tuple[Finding, ...]
    lines: tuple[str, ...]
    trace: str

    @property
    def understood(self) -> bool:
        """Return whether every failure is at least known for what it is."""
        return not self.failed or any(
            found.known.failure.specificity > 0 and not found.known.failure.note
            for found in self.findings
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "texts": {name: kind.value for name, kind in self.kinds.items()},
            "failed": self.failed,
            "broken_off": self.broken_off,
            "understood": self.understood,
            "failures": [
                {
                    "id": found.known.failure.id,
                    "note": found.known.failure.note,
                    "host": found.host,
                    "cause": found.known.cause,
                    "remedy": found.remedy,
                    "certainty": found.certainty,
                    "seen": list(found.known.failure.seen),
                    "source": found.known.failure.source,
                }
                for found in self.findings
            ],
            "lines": list(self.lines),
            "trace": self.trace,
        }


def kind_of(text: str) -> Kind:
    """Return what a text is, by its form; what has none of these counts as Packstack's output."""
    if _LOGGED.search(text):
        return Kind.SETUP_LOG
    if _PUPPET.search(text) and not _PRINTED.search(text):
        return Kind.PUPPET_LOG
    return Kind.OUTPUT


def recorded(texts: Mapping[str, str]) -> Recorded:
    """Explain the texts of one run.

    Args:
        texts: The texts by the names of their files. A log of Puppet is told to be of the host
            that its file's name has, such as `192.0.2.1_controller.pp.log`.
    """
    clean = {name: _clean(text) for name, text in texts.items()}
    kinds = {name: kind_of(text) for name, text in clean.items()}
    puppet: dict[str, str] = {}
    for name, text in clean.items():
        if kinds[name] is Kind.PUPPET_LOG:
            file = PurePath(name).name
            puppet[file] = f"{puppet.get(file, '')}{text}\n"
    outputs = [
        _LOGGED.sub("", text) if kinds[name] is Kind.SETUP_LOG else text
        for name, text in clean.items()
        if kinds[name] is not Kind.PUPPET_LOG
    ]
    views = [view_of(text.encode()) for text in outputs]
    errors = shown_errors(puppet)
    failed = bool(errors) or any(view.status is PrintedStatus.FAILED for view in views)
    found: dict[str, Finding] = {}
    for text, view in zip(outputs or [""], views or [RunView()], strict=True):
        for known in explain(text, puppet):
            found.setdefault(known.failure.id, _finding(known, view))
    ordered = sorted(
        found.values(), key=lambda one: (one.known.failure.note, -one.known.failure.specificity)
    )
    lines = (*(line for view in views for line in _told(view, errors)), *errors)
    return Recorded(
        kinds=kinds,
        failed=failed,
        broken_off=next((at for view in views if (at := _broken_off(view))), ""),
        findings=tuple(ordered),
        lines=tuple(dict.fromkeys(lines)),
        trace="" if puppet else _trace(outputs),
    )


def _clean(text: str) -> str:
    shown = "\n".join(visible(line.encode()) for line in text.splitlines())
    return masked(shown.encode(), ()).decode("utf-8", "replace")


def _host(name: str) -> str:
    found = _MANIFEST.search(name)
    return found["host"] if found else ""


def _finding(known: Explanation, view: RunView) -> Finding:
    host = _host(known.node)
    if not host:
        ended = [run.host for run in view.manifests if run.ok is False]
        host = ended[0] if ended else ""
    remedy = known.remedy.replace("NODE", host) if host else known.remedy
    return Finding(known=known, host=host, remedy=remedy)


def _told(view: RunView, errors: Iterable[str]) -> Sequence[str]:
    """Return the lines of a failed run's output that matter, its last ones where none is an error."""
    if view.status is not PrintedStatus.FAILED:
        return ()
    told = without_trace(view.error) or view.traceback[-ERROR_LINES:] or view.other[-ERROR_LINES:]
    known = "\n".join(errors)
    # Packstack repeats the first error of Puppet's log, and names the log.
    new = [line for line in told if not _TRACE.search(line) and _bare(line) not in known]
    return new[:ERROR_LINES]


def _bare(line: str) -> str:
    return line.removeprefix("Error: ")


def _broken_off(view: RunView) -> str:
    if view.status is not PrintedStatus.RUNNING or not view.installing:
        return ""
    if view.running:
        return f"Applying {view.running[-1].manifest}"
    return view.steps[-1].title if view.steps else "its beginning"


def _trace(texts: Iterable[str]) -> str:
    return next((found["path"] for found in map(_TRACE.search, texts) if found), "")
