"""`halt` and `destroy`: stop a lab, or remove everything of it and prove that nothing is left."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit import vagrant
from labkit.domain_xml import DomainState
from labkit.errors import LabkitError, OperationError
from labkit.lablock import lab_lock
from labkit.plan import Possessions, possessions
from labkit.progress import LAB, stage
from labkit.retry import Deadline, NotYet, WaitTimeout, stretched, wait_until
from labkit.session import POOL, Session, libvirt, look

if TYPE_CHECKING:
    from labkit.hypervisor import Hypervisor
    from labkit.state import LabState
    from labkit.topology import ResolvedNode

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 60.0
OFF = frozenset({None, DomainState.SHUTOFF, DomainState.CRASHED})


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltReport:
    """How each node stopped: "was off", "shut down" or "powered off"."""

    nodes: tuple[tuple[str, str], ...]


def halt(session: Session, *, force: bool = False, dry_run: bool = False) -> HaltReport:
    """Shut every node down by ACPI, side by side; cut the power of one that does not follow.

    Args:
        session: The lab.
        force: Cut the power at once.
        dry_run: Only say what would be done.
    """
    nodes = session.lab.nodes
    names = [node.name for node in nodes]
    if dry_run:
        with libvirt() as hypervisor:
            states = [hypervisor.domain_state(node.uuid) for node in nodes]
        todo = ["is off" if state in OFF else "would be shut down" for state in states]
        return HaltReport(nodes=tuple(zip(names, todo, strict=True)))
    with (
        lab_lock(session.directory, "halt"),
        ThreadPoolExecutor(max_workers=len(nodes)) as pool,
    ):
        how = pool.map(lambda node: _halt_node(session, node, force=force), nodes)
        return HaltReport(nodes=tuple(zip(names, how, strict=True)))


def _halt_node(session: Session, node: ResolvedNode, *, force: bool) -> str:
    with libvirt() as hypervisor:
        state = hypervisor.domain_state(node.uuid)
        if state in OFF:
            return "was off"
        with stage(session.progress, node.name, "shutting down") as current:
            if state is DomainState.PAUSED:
                hypervisor.resume(node.uuid)
            current.note = "powered off" if force else _by_acpi(session, hypervisor, node)
            if current.note == "powered off":
                hypervisor.power_off(node.uuid)
        return current.note


def _by_acpi(session: Session, hypervisor: Hypervisor, node: ResolvedNode) -> str:
    def check() -> None:
        if hypervisor.domain_state(node.uuid) not in OFF:
            msg = "it still runs"
            raise NotYet(msg)

    domain = hypervisor.domain_by_uuid(node.uuid)
    fast = domain is not None and domain.domain_type == "kvm"
    hypervisor.shutdown(node.uuid)
    try:
        wait_until(
            check,
            what=f"node '{node.name}' to shut down",
            deadline=Deadline.after(stretched(SHUTDOWN_SECONDS, accelerated=fast)),
            cancelled=session.cancelled.is_set,
        )
    except WaitTimeout:
        return "powered off"
    return "shut down"


def destroy(session: Session, *, dry_run: bool = False) -> Possessions:
    """Remove every domain, volume, network and file of the lab, and verify that none is left.

    Vagrant goes first, so that its own records stay right; what it leaves, or cannot remove
    because it crashes on a half-made machine, is removed through libvirt. Works on any state an
    interrupted verb can leave, and a second time finds nothing to do.

    Returns:
        What was removed; for a dry run what would be.

    Raises:
        OperationError: Something could not be removed; details list it.
    """
    if dry_run:
        with libvirt() as hypervisor:
            return possessions(session.lab, session.state(), look(hypervisor, define_pool=False))
    with lab_lock(session.directory, "destroy"):
        with libvirt() as hypervisor:
            state = session.state()
            owned = possessions(session.lab, state, look(hypervisor))
            state = _claim(session, state, owned)
            with stage(session.progress, LAB, "vagrant destroy") as current:
                current.note = _vagrant_destroy(session)
            with stage(session.progress, LAB, "removing") as current:
                problems = _remove(hypervisor, possessions(session.lab, state, look(hypervisor)))
                left = possessions(session.lab, state, look(hypervisor))
                current.note = "nothing left" if not left.describe() else "incomplete"
        if left.describe():
            message = f"Not everything of the lab '{session.lab.name}' could be removed."
            raise OperationError(
                message,
                details=(*left.describe(), *problems),
                hint="Run 'labkit destroy' again; what is listed above is what still exists.",
            )
        session.directory.remove()
        return owned


def _claim(session: Session, state: LabState, owned: Possessions) -> LabState:
    """Write down volumes that only their domain says are the lab's, before the domain goes."""
    volumes = {*state.volumes, *owned.volumes}
    if volumes == {*state.volumes}:
        return state
    claimed = state.model_copy(update={"volumes": tuple(sorted(volumes))})
    session.directory.save(claimed)
    return claimed


def _vagrant_destroy(session: Session) -> str:
    machines = session.directory.vagrant / ".vagrant" / "machines"
    if not any(machines.glob("*/libvirt/id")):
        return "knows no machine"
    try:
        vagrant.Machines(
            root=session.directory.vagrant, log=session.directory.logs / "vagrant.log"
        ).destroy()
    except LabkitError as exc:
        log.warning("vagrant destroy failed: %s %s", exc.message, exc.details)
        return "failed; libvirt does it"
    return ""


def _remove(hypervisor: Hypervisor, owned: Possessions) -> tuple[str, ...]:
    problems: list[str] = []
    for domain in owned.domains:
        try:
            hypervisor.power_off(domain.uuid)
            hypervisor.undefine(domain.uuid)
        except LabkitError as exc:
            problems += [exc.message, *exc.details]
    for volume in owned.volumes:
        try:
            hypervisor.storage.delete_volume(POOL, volume)
        except LabkitError as exc:
            problems += [exc.message, *exc.details]
    for network in owned.networks:
        try:
            hypervisor.remove_network(network.uuid)
        except LabkitError as exc:
            problems += [exc.message, *exc.details]
    return tuple(problems)
