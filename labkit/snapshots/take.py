"""`snapshot`: the whole lab at one instant, or nothing of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from labkit import __version__
from labkit.errors import LabkitError, OperationError
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots import engine, guests
from labkit.snapshots.heal import heal
from labkit.snapshots.members import Fault, Member, Members, no_fault
from labkit.snapshots.plan import NodeSeen, TakePlan, check_note, plan_take, reparented, to_replace
from labkit.snapshots.record import (
    Journal,
    Kept,
    NicRecord,
    NodeRecord,
    Shelf,
    SnapshotRecord,
    new_key,
)
from labkit.snapshots.undo import drop_everywhere, resume_paused, settle, told_after
from labkit.state.lock import lab_lock
from labkit.state.progress import LAB, stage

if TYPE_CHECKING:
    from labkit.host.libvirt.connection import Hypervisor
    from labkit.host.libvirt.xml import DomainInfo, VolumeInfo
    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

log = logging.getLogger(__name__)

_ON = {DomainState.RUNNING, DomainState.BLOCKED, DomainState.PAUSED}
# In their order; tests end labkit at each of them.
STEPS = ("noted", "flushed", "paused", "saved", "resumed", "published", "replaced")


def check(session: Session, name: str, *, note: str = "", replace: bool = False) -> None:
    """Refuse what is refused whatever the nodes do, touching and asking nothing but files.

    Raises:
        UsageError: The name or the note cannot be used.
        OperationError: The name is taken, or the lab was never brought up.
    """
    check_note(note)
    to_replace(name, Shelf(session.directory.snapshots).records(), replace=replace)
    if not session.directory.path.exists():
        message = f"The lab '{session.lab.name}' was never brought up; there is nothing to keep."
        raise OperationError(message, hint="Run 'labkit up' first.")


def plan(session: Session, name: str, *, note: str = "", replace: bool = False) -> TakePlan:
    """Return what `take` would do, changing nothing.

    Raises:
        LabkitError: As `take`.
    """
    check(session, name, note=note, replace=replace)
    with session.tools.connect() as hypervisor:
        return _planned(session, hypervisor, name, replace=replace)


def take(
    session: Session,
    name: str,
    *,
    note: str = "",
    replace: bool = False,
    fault: Fault = no_fault,
) -> SnapshotRecord:
    """Keep memory and disk of every node as of one instant, and let the lab run on.

    Either all nodes have it or none has. Works on a lab that runs, is paused, is off, or is a
    mixture of these.

    Args:
        session: The lab.
        name: What to call it.
        note: Free text for the list.
        replace: Put it in the place of one of the same name, which is kept until then.
        fault: Told of every step of `STEPS`; a seam for tests.

    Raises:
        UsageError: The name or the note cannot be used.
        HostError: The pool has too little space; nothing was paused.
        OperationError: The name is taken, a node is in no state to be kept, or a node could
            not be kept: then no node has the snapshot and the lab runs as before.
    """
    check(session, name, note=note, replace=replace)
    with lab_lock(session.directory, "snapshot"):
        return take_locked(session, name, note=note, replace=replace, fault=fault)


def take_locked(
    session: Session,
    name: str,
    *,
    note: str = "",
    replace: bool = False,
    fault: Fault = no_fault,
) -> SnapshotRecord:
    """Do what `take` does for a caller that holds the lab's lock.

    Raises:
        LabkitError: As `take`.
    """
    check(session, name, note=note, replace=replace)
    heal(session)
    with Members(session) as members:
        wanted = _planned(session, members.hypervisor(), name, replace=replace)
        return _Taking(members, wanted, fault).run(note)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """A node right before it is paused."""

    domain: DomainInfo
    volume: VolumeInfo
    definition: str

    def record(self, kept: Kept, saved: engine.Saved, nonce: str) -> NodeRecord:
        """Return what is written down of it."""
        base = self.volume.backing_path
        return NodeRecord(
            state=kept,
            uuid=self.domain.uuid,
            domain_xml=self.definition,
            snapshot_xml=saved.description,
            vcpus=self.domain.vcpus,
            memory_mib=self.domain.memory_mib,
            nics=tuple(NicRecord(mac=nic.mac, pci=nic.pci or "") for nic in self.domain.nics),
            disk=self.volume.name,
            base=base.name if base else "",
            memory_bytes=saved.memory_bytes,
            grown_bytes=saved.grown_bytes,
            nonce=nonce,
        )


class _Taking:
    """One snapshot; its methods are the stages in their order."""

    def __init__(self, members: Members, wanted: TakePlan, fault: Fault) -> None:
        self.members = members
        self.session = members.session
        self.wanted = wanted
        self.fault = fault
        self.shelf = Shelf(self.session.directory.snapshots)
        self.key = new_key(wanted.name)
        self.kept = dict(wanted.nodes)
        nodes = self.session.lab.nodes
        self.running = tuple(node for node in nodes if self.kept[node.name] is Kept.RUNNING)
        self.published = False

    def run(self, note: str) -> SnapshotRecord:
        replaced = self.wanted.replaced
        journal = Journal(
            verb="take",
            name=self.wanted.name,
            key=self.key,
            doomed=(replaced.key,) if replaced else (),
            running=tuple(node.name for node in self.running),
        )
        self.shelf.note(journal)
        try:
            self.fault("noted")
            record = self._save(note)
            self._publish(record)
        except BaseException as exc:
            # The nodes run on, and none has it once it is not published.
            with told_after(exc):
                settle(self.members, journal)
            if isinstance(exc, LabkitError) and self.published:
                exc.details += (f"The snapshot '{self.wanted.name}' itself is complete.",)
            raise
        self.shelf.done()
        return record

    def _save(self, note: str) -> SnapshotRecord:
        with stage(self.session.progress, LAB, "flushing"):
            nonces = self.members.side_by_side(self.running, self._mark, doing="flush every node")
        self.fault("flushed")
        before = self._before()
        with stage(self.session.progress, LAB, "saving") as current:
            asked, paused, resumed, saved = self._standing_still(before)
            size = sum(item.memory_bytes for item in saved.values())
            current.note = f"{size // 2**20} MiB of memory"
        pause_ms = (resumed - asked) * 1000 if self.running else 0.0
        skew_ms = (paused - asked) * 1000 if len(self.running) > 1 else 0.0
        return SnapshotRecord(
            key=self.key,
            name=self.wanted.name,
            note=note,
            created=datetime.now(UTC),
            parent=self._parent(),
            labkit=__version__,
            box=self.session.lab.box,
            stage=self.session.state().stage,
            deployment=self.session.state().deployment,
            pause_ms=round(pause_ms, 1),
            skew_ms=round(skew_ms, 1),
            nodes={
                name: item.record(self.kept[name], saved[name], nonces.get(name, ""))
                for name, item in before.items()
            },
        )

    def _before(self) -> dict[str, _Before]:
        """Return what every node is, right before it is paused."""
        found: dict[str, _Before] = {}
        hypervisor = self.members.hypervisor()
        hypervisor.storage.ensure_pool(self.session.lab.pool)
        listed = hypervisor.storage.volumes(self.session.lab.pool)
        volumes = {volume.name: volume for volume in listed}
        for node in self.session.lab.nodes:
            domain = hypervisor.domain_by_uuid(node.uuid)
            if domain is None:
                message = f"The domain of node '{node.name}' is gone."
                raise OperationError(message, hint="Run 'labkit up', then try again.")
            found[node.name] = _Before(
                domain=domain,
                volume=engine.disk_of(domain, volumes),
                definition=hypervisor.snapshots.definition(node.uuid),
            )
        return found

    def _standing_still(
        self, before: dict[str, _Before]
    ) -> tuple[float, float, float, dict[str, engine.Saved]]:
        """Pause, save and resume; when it fails, whoever called lets the nodes run again.

        Returns:
            When the first pause was asked for, the last one confirmed and the last node resumed, by
            the monotonic clock; and what was saved.
        """

        def save(member: Member) -> engine.Saved:
            name = member.node.name
            live = self.kept[name] is not Kept.OFF
            saved = engine.keep(member, self.key, before[name].volume, live=live)
            self.fault("saved")
            return saved

        asked, paused = self._pause()
        self.fault("paused")
        saved = self.members.side_by_side(self.session.lab.nodes, save, doing="save every node")
        resume_paused(self.members, tuple(node.name for node in self.running))
        resumed = self.session.tools.clock()
        self.fault("resumed")
        return asked, paused, resumed, saved

    def _pause(self) -> tuple[float, float]:
        """Pause every running node; the calls leave together, once every connection answers."""

        def pause(member: Member) -> tuple[float, float]:
            asked = self.session.tools.clock()
            member.hypervisor.snapshots.suspend(member.node.uuid)
            return asked, self.session.tools.clock()

        times = self.members.at_once(self.running, pause, doing="pause every node").values()
        now = self.session.tools.clock()
        return min((at for at, _ in times), default=now), max((at for _, at in times), default=now)

    def _mark(self, member: Member) -> str:
        return guests.mark(member, self.session.endpoint(member.node), self.session.tools.ssh)

    def _publish(self, record: SnapshotRecord) -> None:
        replaced = self.wanted.replaced
        if replaced is not None:
            for child in reparented(self.shelf.records(), replaced, replaced.parent):
                self.shelf.publish(child)
        self.shelf.publish(record)
        self.published = True
        self.fault("published")
        self.shelf.set_current(record.key)
        if replaced is not None:
            drop_everywhere(self.members, (replaced.key,))
            self.fault("replaced")

    def _parent(self) -> str:
        current = self.shelf.current()
        replaced = self.wanted.replaced
        if replaced is not None and current == replaced.key:
            return replaced.parent
        return current


def _planned(session: Session, hypervisor: Hypervisor, name: str, *, replace: bool) -> TakePlan:
    try:
        # Asked, not made ready: nothing is accepted yet.
        free = hypervisor.storage.pool_free_bytes(session.lab.pool)
    except OperationError:
        free = None
    return plan_take(
        name,
        [_seen(hypervisor, node) for node in session.lab.nodes],
        Shelf(session.directory.snapshots).records(),
        free_bytes=free,
        replace=replace,
    )


def _seen(hypervisor: Hypervisor, node: ResolvedNode) -> NodeSeen:
    domain = hypervisor.domain_by_uuid(node.uuid)
    resident = 0
    try:
        if domain is not None and domain.state in _ON:
            resident = hypervisor.snapshots.resident_bytes(node.uuid)
    except OperationError as exc:
        log.debug("no memory figures: %s", exc)
    return NodeSeen(name=node.name, domain=domain, resident_bytes=resident)
