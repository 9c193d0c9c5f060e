"""What a running verb tells the outside: which node is in which stage, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

LAB = "lab"


class Phase(StrEnum):
    """Where a stage stands."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One step of progress.

    Attributes:
        node: A node's name, or `LAB` for what concerns the whole lab.
        stage: A short present-tense phrase: "waiting for SSH".
        phase: started, done or failed.
        seconds: How long the stage took; 0 while it runs.
        note: What came out of it: an address, a size, "cached".
    """

    node: str
    stage: str
    phase: Phase
    seconds: float = 0.0
    note: str = ""


Progress = Callable[[Event], None]


@dataclass(slots=True)
class UnderWay:
    """A stage under way; its owner may leave a note for the final event."""

    note: str = ""


@contextmanager
def stage(progress: Progress, node: str, name: str) -> Iterator[UnderWay]:
    """Report a stage's start, and its end with the time it took, even when it fails."""
    started = time.monotonic()
    progress(Event(node=node, stage=name, phase=Phase.STARTED))
    current = UnderWay()
    try:
        yield current
    except BaseException:
        seconds = time.monotonic() - started
        progress(Event(node=node, stage=name, phase=Phase.FAILED, seconds=seconds))
        raise
    progress(
        Event(
            node=node,
            stage=name,
            phase=Phase.DONE,
            seconds=time.monotonic() - started,
            note=current.note,
        )
    )
