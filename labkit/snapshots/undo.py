"""Puts right what a verb left that failed or was killed: nodes run on, what is torn or doomed goes."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labkit.errors import HostError, LabkitError
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots import engine
from labkit.snapshots.plan import reparented
from labkit.snapshots.record import Shelf
from labkit.state.progress import LAB, stage
from labkit.waiting import Deadline, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labkit.snapshots.members import Member, Members
    from labkit.snapshots.record import Journal

log = logging.getLogger(__name__)

RESUME_SECONDS = 30.0
THAW_SECONDS = 5


def settle(members: Members, journal: Journal) -> None:
    """Put right what a verb left, other than a restore under way: all of it, or none.

    Raises:
        LabkitError: libvirt or an image refuses.
    """
    session = members.session
    shelf = Shelf(session.directory.snapshots)
    with stage(session.progress, LAB, f"healing a {journal.verb}") as current:
        resume_paused(members, journal.running, thaw=journal.verb == "take")
        if journal.verb == "delete":
            withdraw(shelf, journal.doomed)
            drop_everywhere(members, journal.doomed)
        elif journal.verb == "take":
            published = any(record.key == journal.key for record in shelf.published())
            drop_everywhere(members, journal.doomed if published else (journal.key,))
            if published:
                shelf.set_current(journal.key)
            else:
                current.note = f"'{journal.name}' was not complete and is gone"
    shelf.done()


@contextmanager
def told_after(first: BaseException) -> Iterator[None]:
    """Let an error of what puts things right be told with the one that led to it, not instead.

    What is not put right here stays noted, and the next changing verb tries again.
    """
    try:
        yield
    except (LabkitError, OSError) as second:
        log.warning("what is left stays for now", exc_info=second)
        if isinstance(first, LabkitError):
            also = f"What it left could not be put right yet: {second}"
            first.details = (*first.details, also)


def resume_paused(members: Members, names: Sequence[str], *, thaw: bool = False) -> None:
    """Let those of the nodes that stand still run on, also when libvirtd was away for a while.

    Args:
        members: The lab.
        names: The nodes.
        thaw: Let their file systems be written again as well: labkit was killed, maybe between
            freeze and thaw.

    Raises:
        LabkitError: A node could not be resumed.
    """
    lab = members.session.lab
    nodes = tuple(node for node in lab.nodes if node.name in names)

    def resume(member: Member) -> None:
        if member.hypervisor.domain_state(member.node.uuid) is DomainState.PAUSED:
            member.hypervisor.resume(member.node.uuid)
        if thaw:
            member.hypervisor.snapshots.thaw(member.node.uuid, timeout=THAW_SECONDS)

    wait_until(
        lambda: members.side_by_side(nodes, resume, doing="resume every node"),
        what=f"libvirtd, to resume the lab '{lab.name}'",
        deadline=Deadline.after(RESUME_SECONDS, members.session.tools.clock),
        retry_on=(HostError,),
    )


def withdraw(shelf: Shelf, keys: Sequence[str]) -> None:
    """Take snapshots off the list, their children going to their parents first."""
    for key in keys:
        records = shelf.published()
        record = next((item for item in records if item.key == key), None)
        if record is None:
            continue
        for child in reparented(records, record, record.parent):
            shelf.publish(child)
        if shelf.current() == key:
            shelf.set_current(record.parent)
        shelf.withdraw(record.name)


def drop_everywhere(members: Members, keys: Sequence[str]) -> None:
    """Remove snapshots from every node's image, side by side; those not there are no error.

    Raises:
        LabkitError: An image refuses.
    """

    def drop(member: Member) -> None:
        for key in keys:
            engine.drop(member, key, member.node.disk_volume)

    if keys:
        storage = members.hypervisor().storage
        storage.ensure_pool(members.session.lab.pool)
        storage.refresh(members.session.lab.pool)
        nodes = members.session.lab.nodes
        members.side_by_side(nodes, drop, doing="remove a snapshot from every node")
