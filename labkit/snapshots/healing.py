"""What every changing verb does first: put right what a killed one left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.snapshots.record import Shelf
from labkit.snapshots.removal import settle
from labkit.snapshots.restoring import finish

if TYPE_CHECKING:
    from labkit.state.session import Session


def heal(session: Session) -> None:
    """Complete or undo a snapshot verb that was killed; costs nothing when none was.

    The caller holds the lab. A restore under way is completed, because its nodes are not at one
    instant until then.

    Raises:
        LabkitError: It cannot be put right; `restore` and `destroy` still can.
    """
    journal = Shelf(session.directory.snapshots).journal()
    if journal is None:
        return
    if journal.verb == "restore":
        finish(session, journal)
    else:
        settle(session, journal)
