"""`up`: from a plan to nodes that are proven ready, and the second time to nothing at all."""

from __future__ import annotations

import logging
import math
import os
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from labkit import waiting as retry
from labkit.boxes import definition as boxes
from labkit.boxes import pool as boxstore
from labkit.errors import HostError, LabkitError, UsageError, joined
from labkit.host import kvm, sandbox
from labkit.host.files import cache_root
from labkit.host.inventory import POOL, look
from labkit.lab import render
from labkit.lifecycle import seed, vagrantfile
from labkit.lifecycle.guest_files import compose_seeds, have_keys, make_keys
from labkit.lifecycle.plan import Action, NodePlan, UpPlan, plan_up, spec_digest
from labkit.lifecycle.readiness import Ready, Waiting, wait_ready
from labkit.snapshots import heal
from labkit.state.directory import LabState, NodeState
from labkit.state.progress import LAB, Event, Phase, stage
from labkit.state.registry import user_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.lab.topology import ResolvedNode
    from labkit.lifecycle.head_start import HeadStart
    from labkit.state.session import Session

log = logging.getLogger(__name__)

BOOT_SECONDS_VARIABLE = "LABKIT_BOOT_SECONDS"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpReport:
    """What `up` did.

    Attributes:
        plan: What it found to do.
        ready: The evidence per node; empty for a dry run.
    """

    plan: UpPlan
    ready: tuple[Ready, ...]


def bring_up(session: Session, pool: Executor, early: HeadStart | None) -> UpReport:
    """Bring a lab up that the caller holds.

    Args:
        session: The lab.
        pool: Has a thread for every node, and two for Vagrant.
        early: A Vagrant that is loading already; dropped when it is not what is needed.

    Raises:
        HostError: libvirt, a bridge, a tool, the box or space is missing.
        OperationError: Something foreign is in the way, or a node did not become ready.
    """
    heal(session)
    state = session.state()
    if not state.nodes:
        # Before anything is made: a box that does not exist is the user's typing error.
        boxes.find_box(session.lab.box)
    seeds = compose_seeds(session) if have_keys(session) else {}
    ids = {name: item.seed_id for name, item in seeds.items()}
    with session.tools.connect() as hypervisor:
        plan = plan_up(session.lab, state, look(hypervisor), seeds=ids)
        bringup = _Bringup(session, hypervisor, pool, seeds=seeds, plan=plan, early=early)
        ready = bringup.run(state)
    return UpReport(plan=plan, ready=ready)


def dry_run(session: Session) -> UpReport:
    """Return what `bring_up` would do, and change nothing.

    Raises:
        HostError: libvirt does not answer, or a bridge is missing.
        OperationError: Something foreign is in the way.
    """
    boxes.find_box(session.lab.box)
    state = session.state()
    recorded = {name: node.seed for name, node in state.nodes.items()}
    with session.tools.connect() as hypervisor:
        plan = plan_up(
            session.lab,
            state,
            look(hypervisor, define_pool=False),
            seeds=recorded,
        )
    return UpReport(plan=plan, ready=())


def _build(session: Session, definition: boxes.BoxDefinition) -> boxes.CachedBox:
    if sandbox.inside(os.environ) and definition.file.builder == "mmdebstrap":
        message = f"The box '{definition.name}' is not built, and a sandbox has no network."
        raise HostError(message, hint=f"Outside, run 'labkit box build {definition.name}'.")

    # All that builds boxes takes a tenth of a second to load, and most labs find theirs built.
    from labkit.boxes import build as box_build  # noqa: PLC0415

    def told(line: str) -> None:
        log.info("box: %s", line)
        session.progress(Event(node=LAB, stage=line, phase=Phase.STARTED))

    with stage(session.progress, LAB, "building the box") as current:
        built = box_build.build(definition, cache_root(), told, cancelled=session.cancelled.is_set)
        current.note = built.key[:12]
    return built


class _Bringup:
    """One execution of a plan; its methods are the stages in their order."""

    def __init__(
        self,
        session: Session,
        hypervisor: Hypervisor,
        pool: Executor,
        *,
        seeds: Mapping[str, seed.Seed],
        plan: UpPlan,
        early: HeadStart | None,
    ) -> None:
        self.session = session
        self.hypervisor = hypervisor
        self.pool = pool
        self.early = early
        self.seeds = seeds
        self.plan = plan
        self.lab = session.lab
        self.accelerated = accelerated(hypervisor)
        self.boot_budget = boot_budget(os.environ, accelerated=self.accelerated)

    def run(self, state: LabState) -> tuple[Ready, ...]:
        creating = self.plan.of(Action.CREATE, Action.RECREATE)
        if self.early is not None and self.early.names != _names(creating):
            self._drop_early()
        try:
            state = self._renew(state)
            if self.plan.changes:
                state = self._claim(state)
            user_registry().enter(self.session.directory, state)
            if self.plan.changes:
                self._clear(self.plan.of(Action.RECREATE))
            self._box(creating)
            # Vagrant loads for most of a second; the rest is prepared meanwhile.
            made = self.pool.submit(self._create, creating)
            self._furnish(creating)
            self._switch_on()
            waiting = [
                self.pool.submit(self._ready, item, lambda: _succeeded(made))
                for item in self.plan.nodes
            ]
            made.add_done_callback(lambda done: self._record(state, done))
            self._collect(made, waiting)
        except BaseException:
            self.session.cancelled.set()
            raise
        return tuple(future.result() for future in waiting)

    def _drop_early(self) -> None:
        if self.early is not None:
            self.early.drop()
            self.early = None

    def _renew(self, state: LabState) -> LabState:
        """Count the lab's time, if it has one, from now."""
        lifetime = self.lab.lifetime_seconds
        end = None if lifetime is None else datetime.now(UTC) + timedelta(seconds=lifetime)
        if end == state.expires:
            return state
        renewed = state.model_copy(update={"expires": end})
        self.session.directory.save(renewed)
        return renewed

    def _claim(self, state: LabState) -> LabState:
        """Write down what is about to be made, before it is made."""
        fresh = self.plan.of(Action.CREATE, Action.RECREATE)
        volumes = {*state.volumes}
        for node in fresh:
            volumes |= {node.disk_volume, node.seed_volume}
            state = state.with_node(node.name, NodeState())
        claimed = state.model_copy(
            update={
                "lab_id": self.lab.lab_id,
                "box": self.lab.box,
                "volumes": tuple(sorted(volumes)),
                "networks": tuple(
                    sorted({*state.networks, *(network.name for network in self.lab.networks)})
                ),
            }
        )
        self.session.directory.save(claimed)
        return claimed

    def _record(self, state: LabState, made: Future[None]) -> None:
        """Write down which nodes are whole, when that is news."""
        if not _succeeded(made):
            return
        known = state
        for item in self.plan.nodes:
            node = item.node
            if item.action is Action.KEEP and node.name in state.nodes:
                continue
            whole = NodeState(
                created=True,
                spec=spec_digest(node, self.lab.box),
                seed=self.seeds[node.name].seed_id,
            )
            known = known.with_node(node.name, whole)
        if known != state:
            self.session.directory.save(known)

    def _clear(self, nodes: tuple[ResolvedNode, ...]) -> None:
        """Remove half-made domains and volumes that an interrupted run left."""
        for node in nodes:
            self.hypervisor.power_off(node.uuid)
            self.hypervisor.undefine(node.uuid)
        for name in self.plan.leftovers:
            self.hypervisor.storage.delete_volume(POOL, name)

    def _networks(self) -> None:
        for network in self.lab.networks:
            if network.name in self.plan.networks:
                with stage(self.session.progress, LAB, f"network {network.name}") as current:
                    xml = render.network_xml(self.lab, network)
                    self.hypervisor.networks.ensure(xml)
                    current.note = network.bridge

    def _box(self, creating: tuple[ResolvedNode, ...]) -> None:
        if not creating:
            return
        self.session.directory.gate.unlink(missing_ok=True)
        definition = boxes.find_box(self.lab.box)
        box = boxes.cached(definition, cache_root())
        if box is None:
            # A build takes minutes, in which nothing should lie about waiting.
            self._drop_early()
            box = _build(self.session, definition)
        with stage(self.session.progress, LAB, "box volume") as current:
            current.note = boxstore.ensure(
                self.hypervisor,
                box,
                overlays=len(creating),
                log_file=self.session.directory.logs / "vagrant.log",
            )
        vagrantfile.write(self.session, box, accelerated=self.accelerated)

    def _furnish(self, creating: tuple[ResolvedNode, ...]) -> None:
        """Make what the machines need before they start, then let Vagrant make them."""
        keys = None if have_keys(self.session) else self.pool.submit(self._keys)
        self._networks()
        if keys is not None:
            keys.result()
            self.seeds = compose_seeds(self.session)
        # A node that is off takes a changed lab.yaml from its seed at this start.
        self._seed((*creating, *self.plan.of(Action.START)))
        if creating:
            self.session.directory.gate.touch()

    def _keys(self) -> None:
        with stage(self.session.progress, LAB, "keys"):
            make_keys(self.session)

    def _seed(self, nodes: tuple[ResolvedNode, ...]) -> None:
        if not nodes:
            return
        with stage(self.session.progress, LAB, "seeds"):
            for node in nodes:
                self._seed_node(node)

    def _seed_node(self, node: ResolvedNode) -> None:
        image = self.session.directory.seeds / f"{node.name}.iso"
        seed.write_image(self.seeds[node.name], image)
        self.hypervisor.storage.delete_volume(POOL, node.seed_volume)
        self.hypervisor.storage.upload_volume(POOL, node.seed_volume, image, mode=0o600)
        for path in (
            self.session.directory.console_log(node.name),
            self.session.directory.firstboot_log(node.name),
        ):
            path.unlink(missing_ok=True)
            # QEMU writes into it as another user; made here so that the user can read it.
            path.touch(mode=0o644)

    def _create(self, creating: tuple[ResolvedNode, ...]) -> None:
        if not creating:
            return
        with stage(self.session.progress, LAB, "vagrant up"):
            if self.early is not None:
                self.early.made.result()
                return
            self.session.tools.machines(self.session.directory).up(
                _names(creating),
                gate=self.session.directory.gate,
                cancelled=self.session.cancelled.is_set,
            )

    def _switch_on(self) -> None:
        for node in self.plan.of(Action.START):
            self.hypervisor.start(node.uuid)
        for node in self.plan.of(Action.RESUME):
            self.hypervisor.resume(node.uuid)

    def _ready(self, item: NodePlan, started: Callable[[], bool]) -> Ready:
        node = item.node
        # A running node may have been rebooted since; its report is no longer asked for.
        seed_id = (
            "" if item.action in {Action.KEEP, Action.RESUME} else self.seeds[node.name].seed_id
        )
        with self.session.tools.connect() as hypervisor:
            return wait_ready(
                Waiting(
                    endpoint=self.session.endpoint(node),
                    seed_id=seed_id,
                    firstboot_log=self.session.directory.firstboot_log(node.name),
                    console_log=self.session.directory.console_log(node.name),
                    state=lambda: hypervisor.domain_state(node.uuid),
                    started=started,
                    deadline=retry.Deadline.after(self.boot_budget),
                    cancelled=self.session.cancelled.is_set,
                    progress=self.session.progress,
                    connect=self.session.tools.ssh,
                )
            )

    def _collect(self, made: Future[None], waiting: list[Future[Ready]]) -> None:
        pending: set[Future[Any]] = {made, *waiting}
        errors: list[LabkitError] = []
        while pending:
            done, pending = wait(pending, return_when="FIRST_COMPLETED")
            for future in done:
                error = future.exception()
                if error is None or isinstance(error, retry.WaitCancelled):
                    continue
                if not isinstance(error, LabkitError):
                    raise error
                errors.append(error)
                if future is made:
                    # Without the machines the nodes cannot become ready.
                    self.session.cancelled.set()
        if errors:
            raise joined(errors, f"{len(errors)} things failed while the lab came up.")


def _names(nodes: tuple[ResolvedNode, ...]) -> tuple[str, ...]:
    return tuple(node.name for node in nodes)


def _succeeded(future: Future[None]) -> bool:
    return future.done() and future.exception() is None


def accelerated(hypervisor: Hypervisor) -> bool:
    """Return whether guests run under KVM: libvirt offers it and a tiny guest really ran."""
    return hypervisor.offers_kvm() and kvm.probe(cache=cache_root()).usable


def boot_budget(environment: Mapping[str, str], *, accelerated: bool) -> float:
    """Return the seconds a node is given from power-on to ready.

    `LABKIT_BOOT_SECONDS` overrides labkit's own figure, on a host slower than it expects.

    Raises:
        UsageError: The variable is not a number of seconds above 0.
    """
    wanted = environment.get(BOOT_SECONDS_VARIABLE, "")
    if not wanted:
        return retry.boot_seconds(accelerated=accelerated)
    try:
        seconds = float(wanted)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        message = f"{BOOT_SECONDS_VARIABLE} is '{wanted}'; expected seconds, such as '900'."
        raise UsageError(message)
    return seconds
