"""`restore`: the whole lab back at one instant, and proof that it is."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import LabkitError, OperationError, joined
from labkit.host import ssh
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots import engine, guests
from labkit.snapshots.examine import examined
from labkit.snapshots.integrity import problems
from labkit.snapshots.members import Fault, Member, Members, no_fault
from labkit.snapshots.record import Journal, Kept, Shelf, SnapshotRecord
from labkit.snapshots.undo import resume_paused, settle, told_after
from labkit.state.lock import lab_lock
from labkit.state.progress import LAB, stage
from labkit.waiting import SSH_CONNECT, Deadline, stretched, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

log = logging.getLogger(__name__)

AGENT_SECONDS = 3
PROOF_SECONDS = 30.0
DEPLOYED = "deployed"
# In their order; tests end labkit at each of them.
STEPS = ("checked", "noted", "prepared", "put back", "resumed", "proven")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What `restore` did.

    Attributes:
        record: The snapshot.
        proofs: Per node that runs again: what it showed.
        unproven: Nodes that run again but took no SSH session when the snapshot was taken.
        shallow: Images of which no more than the header could be read by this user.
        restored_seconds: From the start until every node ran again.
        ssh_seconds: From the start until every node that can be proven took an SSH session.
        healthy_seconds: From the start until everything was proven.
    """

    record: SnapshotRecord
    proofs: tuple[guests.Proof, ...]
    unproven: tuple[str, ...]
    shallow: tuple[str, ...]
    restored_seconds: float
    ssh_seconds: float
    healthy_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What `restore` would do: per node, what it does now and what it will do."""

    record: SnapshotRecord
    nodes: tuple[tuple[str, str, str], ...]


def plan(session: Session, name: str) -> RestorePlan:
    """Return what `restore` would do, after the checks that touch nothing.

    Raises:
        UsageError: There is no such snapshot.
        OperationError: The snapshot is damaged, or the lab is not the one it was taken of.
    """
    record = Shelf(session.directory.snapshots).named(name)
    with Members(session) as members:
        found = examined(members, record)
    _require_sound(record, problems(record, session.lab, found))
    now = {
        name: "gone" if item.domain is None else item.domain.state.value
        for name, item in found.items()
    }
    return RestorePlan(
        record=record,
        nodes=tuple((name, now[name], kept.state.value) for name, kept in record.nodes.items()),
    )


def restore(
    session: Session,
    name: str,
    *,
    prove: Callable[[], None] | None = None,
    fault: Fault = no_fault,
) -> RestoreReport:
    """Put memory and disk of every node back, let them run on together, and prove it.

    Works whatever the lab does now: it may run, be paused, off, crashed, or have lost domains
    whose disks are still there.

    Args:
        session: The lab.
        name: The snapshot.
        prove: What else has to hold when the lab was deployed at that point; raises otherwise.
        fault: Told of every step of `STEPS`; a seam for tests.

    Raises:
        UsageError: There is no such snapshot.
        OperationError: The snapshot is damaged or the lab is not the one it was taken of, and
            nothing was touched; or a node did not come back.
    """
    shelf = Shelf(session.directory.snapshots)
    shelf.named(name)
    with lab_lock(session.directory, "restore"), Members(session) as members:
        started = session.tools.clock()
        shelf.move_over()
        journal = shelf.journal()
        if journal is not None and journal.verb != "restore":
            settle(members, journal)
        work = _Restoring(members, shelf.named(name), fault, started)
        work.check()
        return work.run(prove)


def finish(members: Members, journal: Journal) -> None:
    """Complete a restore that was killed: its nodes are not at one instant until then.

    Raises:
        OperationError: It cannot be completed.
    """
    session = members.session
    shelf = Shelf(session.directory.snapshots)
    record = next((item for item in shelf.records() if item.key == journal.key), None)
    if record is None:
        message = f"A restore of '{journal.name}' was interrupted, and that snapshot is gone."
        raise OperationError(
            message, hint="Restore another snapshot, or run 'labkit destroy' and 'labkit up'."
        )
    log.warning("an interrupted restore of '%s' is completed first", journal.name)
    work = _Restoring(members, record, no_fault, session.tools.clock())
    work.check()
    work.run(None)


class _Restoring:
    """One restore; its methods are the stages in their order."""

    def __init__(
        self, members: Members, record: SnapshotRecord, fault: Fault, started: float
    ) -> None:
        self.members = members
        self.session = members.session
        self.record = record
        self.fault = fault
        self.started = started
        self.shelf = Shelf(self.session.directory.snapshots)
        self.shallow: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse a snapshot that cannot be restored; the lab stays, or runs on, as it was."""
        with stage(self.session.progress, LAB, "checking"):
            found = examined(self.members, self.record)
            _require_sound(self.record, problems(self.record, self.session.lab, found))
            running = [
                node
                for node in self.session.lab.nodes
                if (domain := found[node.name].domain) is not None
                and domain.state in {DomainState.RUNNING, DomainState.BLOCKED}
            ]
            self.running = tuple(node.name for node in running)
            # An interrupted restore stays noted: until one is complete, nothing else is right.
            journal = Journal(verb="check", running=self.running)
            fresh = self.shelf.journal() is None
            if fresh:
                self.shelf.note(journal)
            try:
                # Standing still, QEMU has written all of its tables; a restore ends it anyway.
                self.members.at_once(
                    running,
                    lambda each: each.hypervisor.snapshots.suspend(each.node.uuid),
                    doing="pause every node",
                )
                _require_sound(self.record, self._damage())
            except BaseException as exc:
                with told_after(exc):
                    if fresh:
                        settle(self.members, journal)
                    else:
                        resume_paused(self.members, self.running)
                raise
        self.fault("checked")

    def run(self, prove: Callable[[], None] | None) -> RestoreReport:
        """Put every node back."""
        record = self.record
        self.shelf.note(
            Journal(verb="restore", name=record.name, key=record.key, running=self.running)
        )
        self.fault("noted")
        with stage(self.session.progress, LAB, "putting back"):
            self._prepare()
            self.fault("prepared")
            self.members.side_by_side(
                self.session.lab.nodes, self._put_back, doing="put every node back"
            )
        self.fault("put back")
        live = tuple(
            node
            for node in self.session.lab.nodes
            if record.nodes[node.name].state is Kept.RUNNING
        )
        with stage(self.session.progress, LAB, "proving"):
            answers = self._resume_and_prove(live)
            # All run again at one instant; what is not proven is no reason to do it again.
            self._settle()
            refused = [each for _, each in answers.values() if isinstance(each, LabkitError)]
            if refused:
                raise joined(refused, f"labkit could not prove that '{record.name}' was restored.")
        restored = max((at for at, _ in answers.values()), default=self.session.tools.clock())
        if prove is not None and record.stage == DEPLOYED:
            prove()
        self.fault("proven")
        proofs = tuple(each for _, each in answers.values() if isinstance(each, guests.Proof))
        connected = max((proof.connected for proof in proofs), default=restored)
        return RestoreReport(
            record=record,
            proofs=proofs,
            unproven=tuple(name for name, (_, proof) in answers.items() if proof is None),
            shallow=self.shallow,
            restored_seconds=restored - self.started,
            ssh_seconds=connected - self.started,
            healthy_seconds=self.session.tools.clock() - self.started,
        )

    def _damage(self) -> tuple[str, ...]:
        volumes = self.members.hypervisor().storage.volumes(self.session.lab.pool)
        wanted = {kept.disk for kept in self.record.nodes.values()}
        wanted |= {kept.base for kept in self.record.nodes.values()}
        images = [volume for volume in volumes if volume.name in wanted]
        with ThreadPoolExecutor(max_workers=max(1, len(images))) as pool:
            answers = list(pool.map(engine.damage, [image.path for image in images]))
        found = dict(zip((image.name for image in images), answers, strict=True))
        self.shallow = tuple(name for name, answer in found.items() if answer is None)
        return tuple(
            f"{name}: its image '{image}' is damaged: {'; '.join(found[image] or ())}"
            for name, kept in self.record.nodes.items()
            for image in (kept.disk, kept.base)
            if found.get(image)
        )

    def _prepare(self) -> None:
        """Give libvirt back what it lost: networks, domains, descriptions of snapshots."""
        # Templates take long to load, and taking a snapshot loads this module.
        from labkit.lab import render  # noqa: PLC0415

        session, record = self.session, self.record
        hypervisor = self.members.hypervisor()
        active = {network.uuid for network in hypervisor.networks.listed() if network.active}
        for network in session.lab.networks:
            if network.libvirt_name is not None and network.uuid not in active:
                hypervisor.networks.ensure(render.network_xml(session.lab, network))
        for node in session.lab.nodes:
            if hypervisor.domain_state(node.uuid) is None:
                hypervisor.snapshots.define(record.nodes[node.name].domain_xml)
            self._describe(hypervisor, node)

    def _describe(self, hypervisor: Hypervisor, node: ResolvedNode) -> None:
        known = hypervisor.snapshots.names(node.uuid)
        for record in self.shelf.records():
            kept = record.nodes.get(node.name)
            if kept is None or record.key in known:
                continue
            pool = self.session.lab.pool
            mine = record.key == self.record.key
            if mine or engine.holds(hypervisor, pool, kept.disk, record.key):
                hypervisor.snapshots.describe_again(node.uuid, kept.snapshot_xml)

    def _put_back(self, member: Member) -> None:
        engine.put_back(member, self.record.key, self.record.nodes[member.node.name])
        self.fault("put one back")

    def _resume_and_prove(
        self, nodes: tuple[ResolvedNode, ...]
    ) -> dict[str, tuple[float, guests.Proof | LabkitError | None]]:
        def work(member: Member) -> tuple[float, guests.Proof | LabkitError | None]:
            member.hypervisor.resume(member.node.uuid)
            at = self.session.tools.clock()
            with ThreadPoolExecutor(max_workers=1) as beside:
                clock = beside.submit(
                    member.hypervisor.snapshots.set_time, member.node.uuid, timeout=AGENT_SECONDS
                )
                self.fault("resumed")
                try:
                    return at, self._prove(member, clock.result)
                except LabkitError as exc:
                    return at, exc

        return self.members.at_once(nodes, work, doing="bring every node back")

    def _prove(self, member: Member, agent_done: Callable[[], bool]) -> guests.Proof | None:
        kept = self.record.nodes[member.node.name]
        if not kept.nonce:
            # It took no SSH session before its snapshot, so none can be expected after.
            agent_done()
            return None
        domain = member.hypervisor.domain_by_uuid(member.node.uuid)
        endpoint = self.session.endpoint(member.node)
        seconds = stretched(
            PROOF_SECONDS,
            accelerated=domain is not None and domain.domain_type == "kvm",
            guests=len(self.session.lab.nodes),
            cpus=os.cpu_count() or 1,
        )
        return wait_until(
            lambda: guests.prove(
                endpoint, kept.nonce, tools=self.session.tools, agent_done=agent_done
            ),
            what=f"the restored node '{member.node.name}' to take SSH",
            deadline=Deadline.after(seconds, self.session.tools.clock),
            policy=SSH_CONNECT,
            retry_on=(ssh.NotReachableError,),
            cancelled=self.session.cancelled.is_set,
        )

    def _settle(self) -> None:
        """Write down where the lab is now."""
        state = self.session.state()
        if state.deployment != self.record.deployment:
            known = {"deployment": self.record.deployment}
            self.session.directory.save(state.model_copy(update=known))
        self.shelf.set_current(self.record.key)
        self.shelf.done()


def _require_sound(record: SnapshotRecord, found: tuple[str, ...]) -> None:
    if found:
        message = f"The snapshot '{record.name}' cannot be restored; the lab is as it was."
        raise OperationError(
            message,
            details=found,
            hint="Mend what is listed, restore another snapshot, or run 'labkit destroy' and "
            "'labkit up'.",
        )
