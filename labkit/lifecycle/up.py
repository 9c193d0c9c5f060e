"""`up`: from a plan to nodes that are proven ready, and the second time to nothing at all."""

from __future__ import annotations

import logging
import math
import os
import shutil
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from labkit.boxes import cache
from labkit.boxes.definition import BoxDefinition, find_box
from labkit.boxes.pool import ensure
from labkit.errors import HostError, LabkitError, cause
from labkit.host import kvm, sandbox
from labkit.host.files import cache_root
from labkit.host.inventory import Seen, look
from labkit.lab.render import LabTexts, lab_texts
from labkit.lifecycle import rendering, seed
from labkit.lifecycle.guest_logs import set_aside
from labkit.lifecycle.plan import Action, NodePlan, UpPlan, claimed, plan_up, recorded
from labkit.lifecycle.readiness import Ready, Waiting, boot_budget, wait_ready
from labkit.lifecycle.turns import Turns, at_once
from labkit.snapshots.heal import heal
from labkit.state.lock import lab_lock
from labkit.state.progress import LAB, Event, Phase, stage
from labkit.state.registry import user_registry
from labkit.waiting import Deadline, WaitCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.lab.topology import ResolvedNode
    from labkit.state.directory import LabState
    from labkit.state.session import Session

log = logging.getLogger(__name__)

DOING = "bring the lab up"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpReport:
    """What `up` did.

    Attributes:
        plan: What it found to do.
        ready: The evidence per node; empty for a dry run.
    """

    plan: UpPlan
    ready: tuple[Ready, ...]


def up(session: Session, *, dry_run: bool = False, parallel: int | None = None) -> UpReport:
    """Bring the lab up; whatever is already there and right stays untouched.

    Args:
        session: The lab.
        dry_run: Only say what would be done, and touch nothing.
        parallel: How many nodes boot at the same time at most; None for what the
            host carries.

    Raises:
        UsageError: There is no such box.
        HostError: libvirt, a bridge, a tool, the box or space is missing.
        OperationError: Something foreign is in the way, or a node did not become ready.
    """
    if dry_run:
        with session.tools.connect() as hypervisor:
            seen = look(hypervisor, session.lab.pool, define_pool=False)
        return UpReport(plan=plan_now(session, session.state(), seen), ready=())
    with lab_lock(session.directory, "up"):
        heal(session)
        return up_locked(session, parallel=parallel)


def up_locked(
    session: Session, *, parallel: int | None = None, only: Sequence[str] = ()
) -> UpReport:
    """Bring a lab up that the caller holds and has healed; of its nodes only the named, if any are.

    Raises:
        LabkitError: As `up`.
    """
    session.directory.create()
    # One thread for Vagrant, one per node.
    workers = len(session.lab.nodes) + 1
    with session.tools.connect() as hypervisor, ThreadPoolExecutor(workers) as pool:
        return _Bringup(session, hypervisor, pool, parallel, only).run()


def _seeds(session: Session, texts: LabTexts) -> Mapping[str, seed.Seed]:
    """Return every node's seed, or none where the keys in them are not made yet."""
    return seed.compose_seeds(session, texts.guest) if seed.have_keys(session) else {}


def plan_now(session: Session, state: LabState, seen: Seen, *, only: Sequence[str] = ()) -> UpPlan:
    """Return what `up` would do with what is recorded, or would be, and seen; touches nothing.

    Raises:
        LabkitError: As `plan_up`, and where there is no such box.
    """
    return _decide(session, state, seen, _seeds(session, lab_texts(session.lab)), only)[0]


def _decide(
    session: Session,
    state: LabState,
    seen: Seen,
    seeds: Mapping[str, seed.Seed],
    only: Sequence[str],
) -> tuple[UpPlan, BoxDefinition | None]:
    """Return what is to be done, and the box of the nodes that are to be created, if any are."""
    ids = {name: item.seed_id for name, item in seeds.items()}
    plan = plan_up(session.lab, state, seen, seeds=ids, only=only)
    # Before anything is made: a box that does not exist is the user's typing error.
    if not plan.creating:
        return plan, None
    return plan, find_box(session.lab.box, beside=session.lab_file.parent)


def _build(session: Session, definition: BoxDefinition) -> cache.CachedBox:
    if sandbox.inside(os.environ) and definition.file.builder == "mmdebstrap":
        message = f"The box '{definition.name}' is not built, and a sandbox has no network."
        raise HostError(message, hint=f"Outside, run 'labkit box build {definition.name}'.")

    # All that builds boxes takes a tenth of a second to load, and most labs find theirs built.
    from labkit.boxes.build import build  # noqa: PLC0415

    with stage(session.progress, LAB, "building the box") as current:
        built = build(
            definition, cache_root(), _teller(session), cancelled=session.cancelled.is_set
        )
        current.note = built.key[:12]
    return built


def _teller(session: Session) -> Callable[[str], None]:
    """Return what takes the lines of work on a box."""

    def told(line: str) -> None:
        log.info("box: %s", line)
        session.progress(Event(node=LAB, stage=line, phase=Phase.STARTED))

    return told


class _Bringup:
    """One `up` of a lab that the caller holds; its methods are the stages in their order."""

    def __init__(
        self,
        session: Session,
        hypervisor: Hypervisor,
        pool: Executor,
        parallel: int | None,
        only: Sequence[str],
    ) -> None:
        self.session = session
        self.parallel = parallel
        self.only = only
        self.hypervisor = hypervisor
        self.pool = pool
        self.lab = session.lab
        self.state = session.state()
        self.texts = lab_texts(session.lab)
        self.seeds = _seeds(session, self.texts)

    def run(self) -> UpReport:
        seen = look(self.hypervisor, self.lab.pool, define_pool=False)
        self.plan, box = _decide(self.session, self.state, seen, self.seeds, self.only)
        self.accelerated = accelerated(self.hypervisor)
        self._pace()
        pool_path = None
        if self.plan.changes:
            pool_path = self.hypervisor.storage.ensure_pool(self.lab.pool).path
            if seen.pool(self.lab.pool) is None or seen.unseen(self.lab.pool):
                # What lies in a pool that was not active could not be seen before.
                seen = look(self.hypervisor, self.lab.pool)
                self.plan, box = _decide(self.session, self.state, seen, self.seeds, self.only)
                self._pace()
        try:
            self._claim()
            self._clear()
            # The plan lets no pool pass that is no directory.
            if box is not None and pool_path is not None:
                self._box(box, pool_path)
            # Vagrant loads for most of a second; the rest is prepared meanwhile.
            made = self.pool.submit(self._create)
            try:
                self._furnish()
            except Exception as error:
                earlier = made.exception() if made.done() else None
                if isinstance(earlier, Exception):
                    raise cause([earlier, error], doing=DOING) from earlier
                raise
            ready = self._collect(made)
        except BaseException:
            self.session.cancelled.set()
            raise
        return UpReport(plan=self.plan, ready=ready)

    def _pace(self) -> None:
        """Decide how many nodes boot at the same time, and how long each may take."""
        cpus = os.cpu_count() or 1
        most = self.parallel or at_once(cpus, accelerated=self.accelerated)
        starting, creating = self.plan.of(Action.START), self.plan.creating
        turns = Turns(most)
        self.turns = {node.name: turns.queue() for node in creating}
        self.rounds = math.ceil(len(creating) / most)
        self.boot_budget = boot_budget(
            os.environ,
            accelerated=self.accelerated,
            guests=len(starting) + min(most, len(creating)),
            cpus=cpus,
        )

    def _claim(self) -> None:
        """Write down what is about to be made, before it is made, and until when it is wanted."""
        state = claimed(self.lab, self.state, self.plan) if self.plan.changes else self.state
        lifetime = self.lab.lifetime_seconds
        end = None if lifetime is None else datetime.now(UTC) + timedelta(seconds=lifetime)
        self._save(state.model_copy(update={"expires": end}))
        user_registry().enter(self.session.directory, self.state)

    def _save(self, state: LabState) -> None:
        if state != self.state:
            self.session.directory.save(state)
            self.state = state

    def _clear(self) -> None:
        """Remove half-made domains and volumes that an interrupted run left."""
        for node in self.plan.of(Action.RECREATE):
            self.hypervisor.power_off(node.uuid)
            self.hypervisor.undefine(node.uuid)
        for name in self.plan.leftovers:
            self.hypervisor.storage.delete_volume(self.lab.pool, name)

    def _box(self, definition: BoxDefinition, pool_path: Path) -> None:
        """Put the box into the pool, and write down for Vagrant what it has to make of it."""
        self.session.directory.gate.unlink(missing_ok=True)
        shutil.rmtree(self.session.directory.turns, ignore_errors=True)
        self.session.directory.turns.mkdir()
        box = cache.cached(definition, cache_root()) or _build(self.session, definition)
        with stage(self.session.progress, LAB, "box volume") as current:
            current.note = ensure(
                self.hypervisor,
                box,
                pool=self.lab.pool,
                overlays=len(self.plan.creating),
                progress=_teller(self.session),
                cancelled=self.session.cancelled.is_set,
            )
        rendering.write(
            self.session, self.texts, box, pool=pool_path, accelerated=self.accelerated
        )

    def _create(self) -> None:
        if not self.plan.creating:
            return
        with stage(self.session.progress, LAB, "vagrant up"):
            self.session.tools.machines(self.session.directory).up(
                tuple(node.name for node in self.plan.creating),
                gate=self.session.directory.gate,
                turns=self.session.directory.turns,
                turns_seconds=self.boot_budget * self.rounds,
                cancelled=self.session.cancelled.is_set,
            )

    def _furnish(self) -> None:
        """Make what the machines need before they start, then let Vagrant make them."""
        if not self.seeds:
            with stage(self.session.progress, LAB, "keys"):
                seed.make_keys(self.session)
            self.seeds = _seeds(self.session, self.texts)
        self._networks()
        # A node that is off takes a changed lab.yaml from its seed at this start.
        starting = self.plan.of(Action.START)
        self._seed((*self.plan.creating, *starting))
        for node in starting:
            self.hypervisor.start(node.uuid)
        for node in self.plan.of(Action.RESUME):
            self.hypervisor.resume(node.uuid)
        if self.plan.creating:
            self.session.directory.gate.touch()

    def _networks(self) -> None:
        for network in self.lab.networks:
            if network.name in self.plan.networks:
                with stage(self.session.progress, LAB, f"network {network.name}") as current:
                    self.hypervisor.networks.ensure(self.texts.networks[network.name])
                    current.note = network.bridge

    def _seed(self, nodes: tuple[ResolvedNode, ...]) -> None:
        if not nodes:
            return
        with stage(self.session.progress, LAB, "seeds"):
            for node in nodes:
                self._seed_node(node)

    def _seed_node(self, node: ResolvedNode) -> None:
        image = self.session.directory.seeds / f"{node.name}.iso"
        seed.write_image(self.seeds[node.name], image)
        self.hypervisor.storage.delete_volume(self.lab.pool, node.seed_volume)
        self.hypervisor.storage.upload_volume(self.lab.pool, node.seed_volume, image, mode=0o600)
        for path in (
            self.session.directory.console_log(node.name),
            self.session.directory.firstboot_log(node.name),
        ):
            for old in (*set_aside(path), path):
                old.unlink(missing_ok=True)
            # QEMU writes into it as another user; made here so that the user can read it.
            path.touch(mode=0o644)

    def _ready(self, item: NodePlan, started: Callable[[], bool]) -> Ready:
        node = item.node
        # A running node may have been rebooted since; its report is no longer asked for.
        seed_id = self.seeds[node.name].seed_id if item.boots else ""
        with self.session.tools.connect() as hypervisor, self._turn(node) as booted:
            return wait_ready(
                Waiting(
                    endpoint=self.session.endpoint(node),
                    seed_id=seed_id,
                    firstboot_log=self.session.directory.firstboot_log(node.name),
                    console_log=self.session.directory.console_log(node.name),
                    state=lambda: hypervisor.domain_state(node.uuid),
                    started=started,
                    deadline=Deadline.after(self.boot_budget),
                    cancelled=self.session.cancelled.is_set,
                    progress=self.session.progress,
                    connect=self.session.tools.ssh,
                    greet=self.session.tools.greet,
                    booted=booted,
                )
            )

    @contextmanager
    def _turn(self, node: ResolvedNode) -> Iterator[Callable[[], None]]:
        """Let Vagrant start a node that it makes, when it is its turn; yields what ends that."""
        turn = self.turns.get(node.name)
        if turn is None:
            yield lambda: None
            return
        with turn:
            turn.wait(self.session.cancelled.is_set)
            (self.session.directory.turns / node.name).touch()
            yield turn.end

    def _collect(self, made: Future[None]) -> tuple[Ready, ...]:
        """Wait for Vagrant and the nodes side by side; raise what failed, the first cause first."""
        waiting = [
            self.pool.submit(self._ready, item, lambda: _succeeded(made))
            for item in self.plan.nodes
        ]
        pending: set[Future[Any]] = {made, *waiting}
        errors: list[Exception] = []
        while pending:
            done, pending = wait(pending, return_when="FIRST_COMPLETED")
            for future in sorted(done, key=lambda each: each is not made):
                try:
                    future.result()
                    if future is made:
                        self._save(recorded(self.lab, self.state, self.plan, seeds=self._ids()))
                except WaitCancelled:
                    # Not a cause: whoever set `cancelled` has one.
                    continue
                except Exception as error:
                    if future is made and errors and self.session.cancelled.is_set():
                        log.debug("ended for what failed before", exc_info=error)
                        continue
                    errors.append(error)
                    if future is made or not isinstance(error, LabkitError):
                        # Without the machines, or a record of them, there is nothing to wait for.
                        self.session.cancelled.set()
        if errors:
            raise cause(errors, doing=DOING)
        return tuple(future.result() for future in waiting)

    def _ids(self) -> Mapping[str, str]:
        return {name: item.seed_id for name, item in self.seeds.items()}


def _succeeded(future: Future[None]) -> bool:
    return future.done() and future.exception() is None


def accelerated(hypervisor: Hypervisor) -> bool:
    """Return whether guests run under KVM: libvirt offers it and a tiny guest really ran."""
    return hypervisor.offers_kvm() and kvm.probe(cache=cache_root()).usable
