"""`snapshot`: the whole lab at one instant, or nothing of it."""

from __future__ import annotations

import logging
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from labkit import __version__
from labkit.errors import OperationError
from labkit.host.inventory import POOL, look
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots import engine as internal
from labkit.snapshots import guests
from labkit.snapshots.healing import heal
from labkit.snapshots.plan import NodeSeen, TakePlan, check_note, plan_take, reparented
from labkit.snapshots.record import Journal, Kept, NicRecord, NodeRecord, Shelf, SnapshotRecord
from labkit.snapshots.removal import abandon, drop_everywhere, resume_paused
from labkit.snapshots.together import Fault, Member, no_fault, side_by_side
from labkit.state.lock import lab_lock
from labkit.state.progress import LAB, stage

if TYPE_CHECKING:
    from labkit.host.libvirt.xml import DomainInfo, VolumeInfo
    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

log = logging.getLogger(__name__)

ALIGN_SECONDS = 10.0
_ON = {DomainState.RUNNING, DomainState.BLOCKED, DomainState.PAUSED}
# In their order; tests end labkit at each of them.
STEPS = ("noted", "flushed", "paused", "saved", "resumed", "published", "replaced")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """When the nodes stood still, by the monotonic clock: pauses asked for and confirmed."""

    asked: float
    confirmed: float


def plan(session: Session, name: str, *, replace: bool = False) -> TakePlan:
    """Return what `take` would do, changing nothing.

    Raises:
        LabkitError: As `take`.
    """
    return plan_take(
        name,
        _seen(session),
        Shelf(session.directory.snapshots).records(),
        free_bytes=_free_bytes(session),
        replace=replace,
    )


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
    check_note(note)
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
    check_note(note)
    heal(session)
    wanted = plan(session, name, replace=replace)
    return _Taking(session, wanted, fault).run(note)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """A node right before it is paused."""

    domain: DomainInfo
    volume: VolumeInfo
    definition: str

    def record(self, kept: Kept, saved: internal.Saved, nonce: str) -> NodeRecord:
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

    def __init__(self, session: Session, wanted: TakePlan, fault: Fault) -> None:
        self.session = session
        self.wanted = wanted
        self.fault = fault
        self.shelf = Shelf(session.directory.snapshots)
        self.key = f"labkit-{wanted.name}-{secrets.token_hex(4)}"
        self.kept = dict(wanted.nodes)
        self.running = self._nodes(Kept.RUNNING)

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
        self.fault("noted")
        try:
            record = self._save(note)
        except BaseException:
            # None has it: what some nodes already have goes again.
            abandon(self.session, self.key)
            raise
        self._publish(record)
        return record

    def _save(self, note: str) -> SnapshotRecord:
        with stage(self.session.progress, LAB, "flushing"):
            nonces = side_by_side(self.session, self.running, self._mark, doing="flush every node")
        self.fault("flushed")
        before = self._before()
        with stage(self.session.progress, LAB, "saving") as current:
            window, resumed, saved = self._standing_still(before)
            size = sum(item.memory_bytes for item in saved.values())
            current.note = f"{size // 2**20} MiB of memory"
        pause_ms = (resumed - window.asked) * 1000 if self.running else 0.0
        skew_ms = (window.confirmed - window.asked) * 1000 if len(self.running) > 1 else 0.0
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
        with self.session.tools.connect() as hypervisor:
            seen = look(hypervisor)
            for node in self.session.lab.nodes:
                domain = next((item for item in seen.domains if item.uuid == node.uuid), None)
                if domain is None:
                    message = f"The domain of node '{node.name}' is gone."
                    raise OperationError(message, hint="Run 'labkit up', then try again.")
                found[node.name] = _Before(
                    domain=domain,
                    volume=internal.disk_of(domain, seen.volumes),
                    definition=hypervisor.snapshots.definition(node.uuid),
                )
        return found

    def _standing_still(
        self, before: dict[str, _Before]
    ) -> tuple[_Window, float, dict[str, internal.Saved]]:
        """Pause, save and resume; the nodes that ran run again, whatever happens."""

        def save(member: Member) -> internal.Saved:
            name = member.node.name
            live = self.kept[name] is not Kept.OFF
            saved = internal.keep(member, self.key, before[name].volume, live=live)
            self.fault("saved")
            return saved

        try:
            window = self._pause()
            self.fault("paused")
            saved = side_by_side(
                self.session, self.session.lab.nodes, save, doing="save every node"
            )
        finally:
            resume_paused(self.session, tuple(node.name for node in self.running))
        resumed = self.session.tools.clock()
        self.fault("resumed")
        return window, resumed, saved

    def _pause(self) -> _Window:
        """Pause every running node; the calls leave together, once every connection is open."""
        barrier = threading.Barrier(max(1, len(self.running)))

        def pause(member: Member) -> tuple[float, float]:
            barrier.wait(ALIGN_SECONDS)
            asked = self.session.tools.clock()
            member.hypervisor.snapshots.suspend(member.node.uuid)
            return asked, self.session.tools.clock()

        times = side_by_side(self.session, self.running, pause, doing="pause every node").values()
        now = self.session.tools.clock()
        return _Window(
            asked=min((asked for asked, _ in times), default=now),
            confirmed=max((confirmed for _, confirmed in times), default=now),
        )

    def _mark(self, member: Member) -> str:
        return guests.mark(member, self.session.endpoint(member.node), self.session.tools.ssh)

    def _publish(self, record: SnapshotRecord) -> None:
        replaced = self.wanted.replaced
        if replaced is not None:
            for child in reparented(self.shelf.records(), replaced, replaced.parent):
                self.shelf.publish(child)
        self.shelf.publish(record)
        self.fault("published")
        self.shelf.set_current(record.key)
        if replaced is not None:
            drop_everywhere(self.session, (replaced.key,))
            self.fault("replaced")
        self.shelf.done()

    def _parent(self) -> str:
        current = self.shelf.current()
        replaced = self.wanted.replaced
        if replaced is not None and current == replaced.key:
            return replaced.parent
        return current

    def _nodes(self, kept: Kept) -> tuple[ResolvedNode, ...]:
        return tuple(node for node in self.session.lab.nodes if self.kept[node.name] is kept)


def _seen(session: Session) -> tuple[NodeSeen, ...]:
    with session.tools.connect() as hypervisor:
        found: list[NodeSeen] = []
        for node in session.lab.nodes:
            domain = hypervisor.domain_by_uuid(node.uuid)
            resident = 0
            try:
                if domain is not None and domain.state in _ON:
                    resident = hypervisor.snapshots.resident_bytes(node.uuid)
            except OperationError as exc:
                log.debug("no memory figures: %s", exc)
            found.append(NodeSeen(name=node.name, domain=domain, resident_bytes=resident))
    return tuple(found)


def _free_bytes(session: Session) -> int:
    with session.tools.connect() as hypervisor:
        hypervisor.storage.ensure_pool(POOL)
        return hypervisor.storage.pool_free_bytes(POOL)
