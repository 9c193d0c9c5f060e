"""`snapshot --delete`: snapshots off the list, then out of every node's image."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from labkit.snapshots.heal import heal
from labkit.snapshots.members import Fault, Members, no_fault
from labkit.snapshots.record import Journal, Shelf
from labkit.snapshots.undo import drop_everywhere, withdraw
from labkit.state.lock import lab_lock

if TYPE_CHECKING:
    from labkit.state.session import Session

log = logging.getLogger(__name__)

# In their order; tests end labkit at each of them.
STEPS = ("noted", "withdrawn", "dropped")


def plan(session: Session, name: str | None) -> tuple[str, ...]:
    """Return the names of the snapshots that `delete` would remove, changing nothing.

    One whose removal was interrupted is not in the list any more, but is still to be removed.

    Args:
        session: The lab.
        name: A snapshot; None for all of them.

    Raises:
        UsageError: There is no such snapshot.
        OperationError: A manifest or the note of a verb under way is damaged.
    """
    shelf = Shelf(session.directory.snapshots)
    interrupted = shelf.interrupted()
    if name is None:
        return (*interrupted, *(record.name for record in shelf.records()))
    return (name,) if name in interrupted else (shelf.named(name).name,)


def delete(session: Session, name: str | None, *, fault: Fault = no_fault) -> tuple[str, ...]:
    """Remove a snapshot, or all of them, and return their names; children go to the parent.

    Args:
        session: The lab.
        name: A snapshot; None for all of them.
        fault: Told of every step of `STEPS`; a seam for tests.

    Raises:
        UsageError: There is no such snapshot; nothing was touched.
        LabkitError: An image refuses; the next verb tries again.
    """
    if not plan(session, name):
        return ()
    with lab_lock(session.directory, "snapshot --delete"):
        # Again, now that nobody else changes the list.
        names = plan(session, name)
        heal(session)
        shelf = Shelf(session.directory.snapshots)
        # Healing has completed an interrupted removal.
        doomed = tuple(record for record in shelf.records() if record.name in names)
        if doomed:
            keys = tuple(record.key for record in doomed)
            shelf.note(Journal(verb="delete", doomed=keys))
            fault("noted")
            withdraw(shelf, keys)
            fault("withdrawn")
            with Members(session) as members:
                drop_everywhere(members, keys)
            fault("dropped")
            shelf.done()
        return names
