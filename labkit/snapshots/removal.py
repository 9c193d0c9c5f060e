"""`snapshot --delete`, and putting right what a killed snapshot or delete left behind."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from labkit.errors import HostError, LabkitError, UsageError
from labkit.host.inventory import POOL
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots import engine as internal
from labkit.snapshots.plan import reparented
from labkit.snapshots.record import Journal, Shelf, SnapshotRecord
from labkit.snapshots.together import Fault, Member, no_fault, side_by_side
from labkit.state.progress import LAB, stage
from labkit.waiting import Deadline, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.host.libvirt.xml import DomainInfo
    from labkit.state.session import Session

log = logging.getLogger(__name__)

RESUME_SECONDS = 30.0
THAW_SECONDS = 5
# In their order; tests end labkit at each of them.
STEPS = ("noted", "withdrawn", "dropped")


def find(shelf: Shelf, name: str) -> SnapshotRecord:
    """Return a snapshot.

    Raises:
        UsageError: There is none of that name; says which there are.
    """
    found = shelf.find(name)
    if found is None:
        known = ", ".join(f"'{record.name}'" for record in shelf.records())
        message = f"The lab has no snapshot '{name}'; it has {known or 'none'}."
        raise UsageError(message, hint="'labkit snapshots' lists them.")
    return found


def remove(
    session: Session, records: Sequence[SnapshotRecord], *, fault: Fault = no_fault
) -> None:
    """Remove snapshots: from the list first, then from every image.

    Raises:
        LabkitError: An image refuses; the next verb tries again.
    """
    shelf = Shelf(session.directory.snapshots)
    keys = tuple(record.key for record in records)
    shelf.note(Journal(verb="delete", doomed=keys))
    fault("noted")
    _withdraw(shelf, keys)
    fault("withdrawn")
    drop_everywhere(session, keys)
    fault("dropped")
    shelf.done()


def _withdraw(shelf: Shelf, keys: Sequence[str]) -> None:
    """Take snapshots off the list, their children going to their parents first."""
    for key in keys:
        records = shelf.records()
        record = next((item for item in records if item.key == key), None)
        if record is None:
            continue
        for child in reparented(records, record, record.parent):
            shelf.publish(child)
        if shelf.current() == key:
            shelf.set_current(record.parent)
        shelf.withdraw(record.name)


def drop_everywhere(session: Session, keys: Sequence[str]) -> None:
    """Remove snapshots from every node's image, side by side; those not there are no error.

    Raises:
        LabkitError: An image refuses.
    """

    def drop(member: Member) -> None:
        for key in keys:
            internal.drop(member, key, member.node.disk_volume)

    if keys:
        with session.tools.connect() as hypervisor:
            hypervisor.storage.ensure_pool(POOL)
            hypervisor.storage.refresh(POOL)
        side_by_side(session, session.lab.nodes, drop, doing="remove a snapshot from every node")


def resume_paused(session: Session, names: Sequence[str], *, thaw: bool = False) -> None:
    """Let those of the nodes that stand still run on, also when libvirtd was away for a while.

    Args:
        session: The lab.
        names: The nodes.
        thaw: Let their file systems be written again as well: labkit was killed, maybe between
            freeze and thaw.

    Raises:
        LabkitError: A node could not be resumed.
    """
    nodes = tuple(node for node in session.lab.nodes if node.name in names)

    def resume(member: Member) -> None:
        if member.hypervisor.domain_state(member.node.uuid) is DomainState.PAUSED:
            member.hypervisor.resume(member.node.uuid)
        if thaw:
            member.hypervisor.snapshots.thaw(member.node.uuid, timeout=THAW_SECONDS)

    wait_until(
        lambda: side_by_side(session, nodes, resume, doing="resume every node"),
        what=f"libvirtd, to resume the lab '{session.lab.name}'",
        deadline=Deadline.after(RESUME_SECONDS),
        retry_on=(HostError,),
    )


def settle(session: Session, journal: Journal) -> None:
    """Put right what a killed verb left, other than a restore under way: all of it, or none.

    Raises:
        LabkitError: libvirt or an image refuses.
    """
    shelf = Shelf(session.directory.snapshots)
    with stage(session.progress, LAB, f"healing a {journal.verb}") as current:
        resume_paused(session, journal.running, thaw=journal.verb == "take")
        if journal.verb == "delete":
            _withdraw(shelf, journal.doomed)
            drop_everywhere(session, journal.doomed)
        elif journal.verb == "take":
            published = any(record.key == journal.key for record in shelf.records())
            drop_everywhere(session, journal.doomed if published else (journal.key,))
            if published:
                shelf.set_current(journal.key)
            else:
                current.note = f"'{journal.name}' was not complete and is gone"
    shelf.done()


def abandon(session: Session, key: str) -> None:
    """Remove what a failed snapshot left, and leave the rest to the next verb when that fails."""
    try:
        drop_everywhere(session, (key,))
    except LabkitError as exc:
        # The failure that led here is the one to report; the journal stays for the next verb.
        log.warning("the torn snapshot '%s' stays for now: %s %s", key, exc, exc.details)
    else:
        Shelf(session.directory.snapshots).done()


def forget(hypervisor: Hypervisor, domains: Iterable[DomainInfo]) -> None:
    """Make libvirt forget domains' snapshots, so that removing them need not clean their images.

    Vagrant's destroy deletes every snapshot it finds from an image that goes anyway, one by one.
    """
    for domain in domains:
        for name in hypervisor.snapshots.names(domain.uuid):
            try:
                hypervisor.snapshots.forget(domain.uuid, name)
            except LabkitError as exc:
                log.warning("a snapshot of '%s' stays for now: %s", domain.name, exc)
