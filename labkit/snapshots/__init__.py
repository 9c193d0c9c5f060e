"""Snapshots of the whole lab: one instant across all nodes, memory and disk, restored and proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.snapshots.healing import heal
from labkit.snapshots.record import Shelf, SnapshotRecord
from labkit.snapshots.removal import find, forget, remove
from labkit.snapshots.restoring import RestoreReport, restore
from labkit.snapshots.taking import take, take_locked
from labkit.snapshots.together import Fault, no_fault
from labkit.state.lock import lab_lock

if TYPE_CHECKING:
    from labkit.state.session import Session

__all__ = [
    "Fault",
    "RestoreReport",
    "SnapshotRecord",
    "delete",
    "delete_all",
    "forget",
    "heal",
    "listed",
    "restore",
    "take",
    "take_locked",
]


def listed(session: Session) -> tuple[SnapshotRecord, ...]:
    """Return every snapshot of the lab that is whole, oldest first.

    Raises:
        OperationError: A manifest is damaged.
    """
    return Shelf(session.directory.snapshots).records()


def delete(session: Session, name: str, *, fault: Fault = no_fault) -> SnapshotRecord:
    """Remove a snapshot and return what it was; its children go to its parent.

    Raises:
        UsageError: There is no such snapshot.
        LabkitError: An image refuses; the next verb tries again.
    """
    with lab_lock(session.directory, "snapshot --delete"):
        heal(session)
        record = find(Shelf(session.directory.snapshots), name)
        remove(session, (record,), fault=fault)
        return record


def delete_all(session: Session, *, fault: Fault = no_fault) -> tuple[SnapshotRecord, ...]:
    """Remove every snapshot of the lab and return what they were.

    Raises:
        LabkitError: An image refuses; the next verb tries again.
    """
    with lab_lock(session.directory, "snapshot --delete"):
        heal(session)
        records = Shelf(session.directory.snapshots).records()
        remove(session, records, fault=fault)
        return records
