"""How a verb gets its session: with progress, and with a log when it changes something."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from labkit.state.progress import Event, Progress
    from labkit.state.session import Session

KEPT = 20
FORMAT = "%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"


def _silent(_event: Event) -> None:
    return


def looking(lab: Path, *, box: str | None = None) -> Session:
    """Open a session for a verb that only looks."""
    return _opened(lab, box=box)[0]


def _opened(lab: Path, *, box: str | None) -> tuple[Session, Callable[[str], str]]:
    """Open a session, and return it with what hides the lab's secrets."""
    from labkit.cli.hiding import keep_secrets
    from labkit.state.session import open_session  # what it loads takes long

    session = open_session(lab, _silent, box=box)
    return session, keep_secrets(session.lab, session.directory)


@contextmanager
def working(lab: Path, verb: str, *, box: str | None = None, changes: bool) -> Iterator[Session]:
    """Open a session whose progress is shown, and logged when the verb changes something."""
    session, hide = _opened(lab, box=box)
    if changes:
        start_log(session.directory.logs, verb, hide=hide)
    with ExitStack() as stack:
        yield replace(session, progress=_Shown(stack))


class _Formatter(logging.Formatter):
    """Formats records, tracebacks included, without secrets."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        super().__init__(FORMAT)
        self.converter = time.gmtime
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        return self._hide(super().format(record))


def start_log(directory: Path, verb: str, *, hide: Callable[[str], str] = str) -> LogFile:
    """Send all of labkit's log records, from DEBUG on, to a new file of the lab's directory.

    Args:
        directory: Where the lab's logs lie.
        verb: What the file is named after.
        hide: Returns a text without the lab's secrets.
    """
    from labkit.state import lock

    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    handler = LogFile(directory / f"{stamp}-{os.getpid()}-{verb}.log", awaited=lock.__name__)
    handler.setFormatter(_Formatter(hide))
    logger = logging.getLogger("labkit")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    return handler


class LogFile(logging.FileHandler):
    """A file that is made when the verb holds the lab, and there is a directory to put it into.

    Until then its records wait: a command that is refused leaves nothing. Where the disk takes no
    log, the verb goes on without one. Only the newest files are kept, so that a CI host's
    directory does not fill up.

    Args:
        path: Where it goes.
        awaited: The logger whose first record says that the lab is held.
    """

    def __init__(self, path: Path, *, awaited: str) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self._directory = path.parent
        self._awaited = awaited
        self._holds = False
        self._waiting: list[logging.LogRecord] = []

    @property
    def path(self) -> str:
        """Return where the log is; empty while there is none."""
        return "" if self.stream is None else self.baseFilename

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after those that waited."""
        self._holds = self._holds or record.name == self._awaited
        self._waiting.append(record)
        try:
            if self.stream is None:
                if not (self._holds and self._directory.is_dir()):
                    return
                for old in sorted(self._directory.glob("*Z-*-*.log"))[: 1 - KEPT]:
                    old.unlink(missing_ok=True)
            records, self._waiting = self._waiting, []
            for each in records:
                super().emit(each)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's own name
        """Pass over what the disk does not take; report anything else, which is a mistake."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


class _Shown:
    """Shows progress from the first event on: what shows it takes long to load."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._lock = threading.Lock()
        self._show: Progress | None = None

    def __call__(self, event: Event) -> None:
        with self._lock:
            if self._show is None:
                from labkit.cli.output import shown_progress

                self._show = self._stack.enter_context(shown_progress())
        self._show(event)
