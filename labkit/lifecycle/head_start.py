"""Vagrant's head start: where a lab is new, it loads before labkit knows all that it is to make."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from labkit.state.session import Session

# Waits until the lab's own takes its place.
_FIRST = Path(__file__).parents[1] / "host" / "ruby" / "first_vagrantfile.rb"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStart:
    """A Vagrant that waits for its Vagrantfile, and then for the gate.

    Attributes:
        names: The machines it was told to make.
        made: Done when Vagrant is.
        unwanted: Set when it is to end, whatever it does.
    """

    names: tuple[str, ...]
    made: Future[None]
    unwanted: threading.Event

    def drop(self) -> None:
        """End it if it still runs; before the gate is open it has made nothing."""
        self.unwanted.set()
        wait([self.made])


def started(session: Session, pool: Executor) -> HeadStart | None:
    """Start Vagrant for every node of a lab that has none yet; None for any other lab.

    Which nodes an older lab has to get is not known before libvirt was asked. The caller holds
    the lab, and drops what it does not use.

    Args:
        session: The lab.
        pool: Runs Vagrant on one of its threads.
    """
    directory = session.directory
    vagrantfile, first = directory.vagrant / "Vagrantfile", _FIRST.read_text(encoding="utf-8")
    if session.state().nodes or _text(vagrantfile) not in {"", first}:
        return None
    try:
        directory.gate.unlink(missing_ok=True)
        vagrantfile.write_text(first, encoding="utf-8")
    except OSError:
        # Whoever writes the lab's own will say what is wrong.
        return None
    names, unwanted = tuple(node.name for node in session.lab.nodes), threading.Event()
    made = pool.submit(
        session.tools.machines(directory).up,
        names,
        gate=directory.gate,
        cancelled=lambda: unwanted.is_set() or session.cancelled.is_set(),
    )
    return HeadStart(names=names, made=made, unwanted=unwanted)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
