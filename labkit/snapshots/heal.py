"""What every changing verb does first: put right what a killed one left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.snapshots.members import Members
from labkit.snapshots.record import Shelf
from labkit.snapshots.restore import finish
from labkit.snapshots.undo import settle

if TYPE_CHECKING:
    from labkit.state.session import Session


def heal(session: Session) -> None:
    """Complete or undo a snapshot verb that was killed; costs nothing when none was.

    The caller holds the lab. A restore under way is completed, because its nodes are not at one
    instant until then.

    Raises:
        LabkitError: It cannot be put right; `restore` and `destroy` still can.
    """
    shelf = Shelf(session.directory.snapshots)
    shelf.move_over()
    journal = shelf.journal()
    if journal is None:
        return
    with Members(session) as members:
        if journal.verb == "restore":
            finish(members, journal)
        else:
            settle(members, journal)
