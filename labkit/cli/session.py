"""How a verb gets its session: with progress and a log when it changes something."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from labkit.state.session import Session, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.state.progress import Event, Progress


def _silent(_event: Event) -> None:
    return


def looking(lab: Path, *, box: str | None = None) -> Session:
    """Open a session for a verb that only looks."""
    return open_session(lab, _silent, box=box)


@contextmanager
def working(lab: Path, verb: str, *, box: str | None = None, changes: bool) -> Iterator[Session]:
    """Open a session whose progress is shown, and logged when the verb changes something."""
    from labkit.cli import log_file as logfile

    session = open_session(lab, _silent, box=box)
    if changes:
        session.directory.create()
        logfile.start(session.directory.logs, verb)
    with ExitStack() as stack:
        yield replace(session, progress=_Shown(stack))


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
