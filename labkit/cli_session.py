"""How a verb gets its session: with progress and a log when it changes something."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from labkit.session import Session, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.progress import Event


def _silent(_event: Event) -> None:
    return


def looking(lab: Path, *, box: str | None = None) -> Session:
    """Open a session for a verb that only looks."""
    return open_session(lab, _silent, box=box)


@contextmanager
def working(lab: Path, verb: str, *, box: str | None = None, changes: bool) -> Iterator[Session]:
    """Open a session whose progress is shown, and logged when the verb changes something."""
    from labkit import logfile
    from labkit.output import shown_progress

    session = open_session(lab, _silent, box=box)
    if changes:
        session.directory.create()
        logfile.start(session.directory.logs, verb)
    with shown_progress() as progress:
        yield replace(session, progress=progress)
