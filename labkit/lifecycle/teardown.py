"""`halt` and `destroy`: stop a lab, or remove everything of it and prove that nothing is left."""

from __future__ import annotations

import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import LabkitError, OperationError, UsageError, joined
from labkit.host.inventory import look
from labkit.host.libvirt.xml import DomainState
from labkit.lab.types import NAME_PATTERN
from labkit.lifecycle.plan import Possessions, possessions
from labkit.state.lock import lab_lock
from labkit.state.progress import LAB, stage
from labkit.state.registry import Registry, user_registry
from labkit.waiting import Deadline, NotYet, WaitTimeout, stretched, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.state.directory import LabDirectory, LabState
    from labkit.state.progress import Progress
    from labkit.state.session import Session
    from labkit.state.tools import Tools

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 60.0
OFF = frozenset({None, DomainState.SHUTOFF, DomainState.CRASHED})


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltReport:
    """How each node stopped: "does not exist", "was off", "shut down" or "powered off"."""

    nodes: tuple[tuple[str, str], ...]


def halt(
    session: Session, *, only: Sequence[str] = (), force: bool = False, dry_run: bool = False
) -> HaltReport:
    """Shut every node down by ACPI, side by side; cut the power of one that does not follow.

    Args:
        session: The lab.
        only: The names of the nodes to shut down; all of them when empty.
        force: Cut the power at once.
        dry_run: Only say what would be done.

    Raises:
        UsageError: There is no such node.
        LabInUseError: Another labkit holds the lab.
        LabkitError: A node could not be stopped; the others are.
    """
    nodes = tuple(session.node(name) for name in dict.fromkeys(only)) or session.lab.nodes
    names = [node.name for node in nodes]
    if dry_run:
        with session.tools.connect() as hypervisor:
            states = [hypervisor.domain_state(node.uuid) for node in nodes]
        todo = [_off(state, "is off") or "would be shut down" for state in states]
        return HaltReport(nodes=tuple(zip(names, todo, strict=True)))
    with (
        lab_lock(session.directory, "halt"),
        ThreadPoolExecutor(max_workers=len(nodes)) as pool,
    ):
        try:
            stopping = [pool.submit(_halt_node, session, node, force=force) for node in nodes]
            wait(stopping)
        except BaseException:
            # Its threads are waited for, however this ends.
            session.cancelled.set()
            raise
    errors: list[LabkitError] = []
    for future in stopping:
        error = future.exception()
        if isinstance(error, LabkitError):
            errors.append(error)
        elif error is not None:
            raise error
    if errors:
        raise joined(errors, f"{len(errors)} nodes could not be stopped.")
    how = (future.result() for future in stopping)
    return HaltReport(nodes=tuple(zip(names, how, strict=True)))


def _halt_node(session: Session, node: ResolvedNode, *, force: bool) -> str:
    with session.tools.connect() as hypervisor:
        state = hypervisor.domain_state(node.uuid)
        if off := _off(state, "was off"):
            return off
        with stage(session.progress, node.name, "shutting down") as current:
            if state is DomainState.PAUSED:
                hypervisor.resume(node.uuid)
            current.note = "powered off" if force else _by_acpi(session, hypervisor, node)
            if current.note == "powered off":
                hypervisor.power_off(node.uuid)
        return current.note


def _off(state: DomainState | None, off: str) -> str:
    """Return what to say of a node that does not run; nothing of one that does."""
    if state is None:
        return "does not exist"
    return off if state in OFF else ""


def _by_acpi(session: Session, hypervisor: Hypervisor, node: ResolvedNode) -> str:
    def check() -> None:
        if hypervisor.domain_state(node.uuid) not in OFF:
            msg = "it still runs"
            raise NotYet(msg)

    domain = hypervisor.domain_by_uuid(node.uuid)
    seconds = stretched(
        SHUTDOWN_SECONDS,
        accelerated=domain is not None and domain.domain_type == "kvm",
        guests=len(session.lab.nodes),
        cpus=os.cpu_count() or 1,
    )
    hypervisor.shutdown(node.uuid)
    try:
        wait_until(
            check,
            what=f"node '{node.name}' to shut down",
            deadline=Deadline.after(seconds),
            cancelled=session.cancelled.is_set,
        )
    except WaitTimeout:
        return "powered off"
    return "shut down"


def destroy(session: Session, *, dry_run: bool = False) -> Possessions:
    """Remove every domain, volume, network and file of the lab, and verify that none is left.

    Through libvirt alone: `vagrant destroy` goes by names and by ids in files, and would remove
    what is another lab's. Its records of this lab's machines lie in the lab's directory and go with
    it. Works on any state an interrupted verb can leave, and a second time finds nothing to do.

    Returns:
        What was removed; for a dry run what would be.

    Raises:
        OperationError: Something could not be removed; details list it.
    """
    remains = _Remains(
        name=session.lab.name,
        lab=session.lab,
        directory=session.directory,
        registry=user_registry(),
        progress=session.progress,
        tools=session.tools,
    )
    return remains.look() if dry_run else remains.remove()


def destroy_by_name(
    name: str,
    directory: LabDirectory,
    progress: Progress,
    *,
    registry: Registry,
    tools: Tools,
    dry_run: bool = False,
    once_held: Callable[[], None] = lambda: None,
) -> Possessions:
    """Remove a lab whose lab file is gone, by what its directory has on record.

    Args:
        name: Its name, as somebody typed it.
        directory: The lab's directory, `.labkit/<lab>` where its lab file was.
        progress: Told of every stage.
        registry: Where its record is.
        tools: libvirt.
        dry_run: Only say what would be removed.
        once_held: Called before anything is removed; what it raises leaves the lab as it is.

    Returns:
        What was removed; for a dry run what would be.

    Raises:
        UsageError: There is no such directory; names the labs there are.
        OperationError: Something could not be removed; details list it.
    """
    if not re.fullmatch(NAME_PATTERN, name) or not directory.state_file.exists():
        found = sorted(each.parent.name for each in directory.path.parent.glob("*/state.json"))
        known = ", ".join(f"'{each}'" for each in found) or "none"
        message = f"No lab '{name}' is on record in '{directory.path.parent}'; found {known}."
        raise UsageError(message, hint="Name the directory of the lab file with '--lab'.")
    remains = _Remains(
        name=name,
        lab=None,
        directory=directory,
        registry=registry,
        progress=progress,
        tools=tools,
        once_held=once_held,
    )
    return remains.look() if dry_run else remains.remove()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remains:
    """What is known of a lab that goes; `lab` is None when its file is gone."""

    name: str
    lab: ResolvedLab | None
    directory: LabDirectory
    registry: Registry
    progress: Progress
    tools: Tools
    once_held: Callable[[], None] = lambda: None

    def look(self) -> Possessions:
        with self.tools.connect() as hypervisor:
            return self._owned(hypervisor, self.directory.load(self.name))

    def remove(self) -> Possessions:
        with lab_lock(self.directory, "destroy"):
            self.once_held()
            with self.tools.connect() as hypervisor:
                state = self.directory.load(self.name)
                if state.volumes and look(hypervisor, define_pool=False).unseen(state.pool):
                    # What lies in a pool that is off can neither be seen nor removed.
                    hypervisor.storage.ensure_pool(state.pool)
                owned = self._owned(hypervisor, state)
                state = self._claim(state, owned)
                with stage(self.progress, LAB, "removing") as current:
                    problems = _remove(hypervisor, self._owned(hypervisor, state), state.pool)
                    left = self._owned(hypervisor, state)
                    current.note = "nothing left" if not left.describe() else "incomplete"
            if left.describe():
                message = f"Not everything of the lab '{self.name}' could be removed."
                raise OperationError(
                    message,
                    details=(*left.describe(), *problems),
                    hint="Run 'labkit destroy' again; what is listed above is what still exists.",
                )
            self.directory.clear()
            # Last: whatever is killed before leaves a record that 'sweep' clears away. The lock
            # goes after it, so that a lab made here next cannot lose its own.
            self.registry.forget(state.lab_id)
            return owned

    def _owned(self, hypervisor: Hypervisor, state: LabState) -> Possessions:
        return possessions(self.lab, state, look(hypervisor, state.pool, define_pool=False))

    def _claim(self, state: LabState, owned: Possessions) -> LabState:
        """Write down volumes that only their domain says are the lab's, before the domain goes."""
        volumes = {*state.volumes, *owned.volumes}
        if volumes == {*state.volumes}:
            return state
        claimed = state.model_copy(update={"volumes": tuple(sorted(volumes))})
        try:
            self.directory.save(claimed)
        except OSError as exc:
            # On a full disk: it counts only for the case that this labkit is killed.
            log.warning("the volumes are not on record: %s", exc)
        return claimed


def _remove(hypervisor: Hypervisor, owned: Possessions, pool: str) -> tuple[str, ...]:
    problems: list[str] = []
    for domain in owned.domains:
        try:
            hypervisor.power_off(domain.uuid)
            hypervisor.undefine(domain.uuid)
        except LabkitError as exc:
            problems += [exc.message, *exc.details]
    for volume in owned.volumes:
        try:
            hypervisor.storage.delete_volume(pool, volume)
        except LabkitError as exc:
            problems += [exc.message, *exc.details]
    for network in owned.networks:
        try:
            hypervisor.networks.remove(network.uuid)
        except LabkitError as exc:
            problems += [exc.message, *exc.details]
    return tuple(problems)
