"""`recreate`: nodes destroyed and made anew, the rest of the lab left as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.boxes import cache
from labkit.boxes.definition import find_box
from labkit.errors import HostError, OperationError
from labkit.host.files import cache_root
from labkit.host.inventory import look
from labkit.lab.deployment import controller
from labkit.lifecycle.plan import node_volumes
from labkit.lifecycle.up import UpReport, plan_now, up_locked
from labkit.snapshots.heal import heal
from labkit.snapshots.record import Shelf
from labkit.state.directory import DeploymentState, LabState, NodeState
from labkit.state.lock import lab_lock

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from labkit.host.inventory import Seen
    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.lifecycle.plan import UpPlan
    from labkit.snapshots.record import SnapshotRecord
    from labkit.state.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class RecreateReport:
    """What `recreate` did.

    Attributes:
        up: What became of the nodes.
        undeployed: Those of them that Packstack had worked on.
    """

    up: UpReport
    undeployed: tuple[str, ...]


def recreate(
    session: Session, names: Sequence[str], *, force: bool = False, dry_run: bool = False
) -> RecreateReport:
    """Remove nodes with their disks, and make them anew from what lab.yaml says by now.

    Their names, addresses, MACs and SSH host keys stay. What is removed is first written down as
    half-made, so that after any interruption `up` goes on with it.

    Args:
        session: The lab.
        names: The names of the nodes.
        force: Also nodes that Packstack has worked on.
        dry_run: Only say what would be done.

    Raises:
        UsageError: There is no such node or box.
        HostError: The box is not built; or as `up`.
        OperationError: Snapshots or OpenStack would lose the nodes, and nothing was touched; or
            as `up`.
    """
    nodes = tuple(session.node(name) for name in dict.fromkeys(names))
    if dry_run:
        before = session.state()
        plan, _ = _planned(session, nodes, before, force=force)
        return _report(before, nodes, UpReport(plan=plan, ready=()))
    with lab_lock(session.directory, "recreate"):
        heal(session)
        before = session.state()
        _, given_up = _planned(session, nodes, before, force=force)
        session.directory.save(given_up)
        only = [node.name for node in nodes]
        return _report(before, nodes, up_locked(session, only=only))


def _planned(
    session: Session, nodes: Sequence[ResolvedNode], state: LabState, *, force: bool
) -> tuple[UpPlan, LabState]:
    """Return what is to be done, and the record of the lab without the nodes; or refuse.

    What is in the way of making the nodes is said while they are still there.
    """
    box = find_box(session.lab.box, beside=session.lab_file.parent)
    with session.tools.connect() as hypervisor:
        seen = look(hypervisor, session.lab.pool, define_pool=False)
    records = Shelf(session.directory.snapshots).records()
    lines = tuple(objections(session.lab, nodes, state, seen, records, force=force))
    if lines:
        named = ", ".join(f"'{node.name}'" for node in nodes)
        message = f"{named} cannot be made anew as things are; nothing was touched."
        raise OperationError(message, details=lines)
    if cache.cached(box, cache_root()) is None:
        message = f"The box '{box.name}' is not built, so the nodes would be gone until it is."
        raise HostError(message, hint=f"Run 'labkit box build {box.name}' first.")
    given_up = without(session.lab, nodes, state, seen)
    return plan_now(session, given_up, seen, only=[node.name for node in nodes]), given_up


def objections(
    lab: ResolvedLab,
    nodes: Sequence[ResolvedNode],
    state: LabState,
    seen: Seen,
    records: Sequence[SnapshotRecord],
    *,
    force: bool,
) -> Iterator[str]:
    """Yield what would be lost with the nodes, each with the command that goes on.

    Args:
        lab: The lab.
        nodes: The nodes to make anew.
        state: What is recorded.
        seen: What the host has.
        records: The lab's snapshots.
        force: Whether OpenStack may lose them.
    """
    names = [node.name for node in nodes]
    known = state.deployment
    for record in records:
        held = [f"'{name}'" for name in names if name in record.nodes]
        if held:
            yield (
                f"the snapshot '{record.name}' is of the whole lab and could not be restored "
                f"without {' and '.join(held)}; remove it with 'labkit snapshot --delete "
                f"{record.name}' first"
            )
    for node in nodes:
        domain = next((each for each in seen.domains if each.uuid == node.uuid), None)
        if domain is not None and domain.snapshots and not records:
            yield (
                f"node '{node.name}': it has {domain.snapshots} snapshots that labkit did not take; "
                f"'virsh snapshot-list {node.domain}' lists them, 'virsh snapshot-delete' removes them"
            )
    if not known.handled and controller(lab).name not in names and {*names} & {*known.nodes}:
        yield "a Packstack run is under way; follow it with 'labkit deploy', or end it with '--kill'"
    elif not force:
        for name in names:
            if name in {*known.nodes, *known.deployed}:
                yield (
                    f"node '{name}': Packstack has worked on it, and the other nodes would still "
                    f"know it as it was; 'labkit recreate --force {name}' makes it anew all the same"
                )


def without(
    lab: ResolvedLab, nodes: Sequence[ResolvedNode], state: LabState, seen: Seen
) -> LabState:
    """Return the record of a lab whose nodes are to be made anew, all of theirs claimed."""
    names = {node.name for node in nodes}
    volumes = {*state.volumes}
    for node in nodes:
        volumes |= node_volumes(node, state, seen)
        state = state.with_node(node.name, NodeState())
    return state.model_copy(
        update={
            "volumes": tuple(sorted(volumes)),
            "deployment": _deployment_without(lab, names, state.deployment),
        }
    )


def _deployment_without(
    lab: ResolvedLab, names: Collection[str], known: DeploymentState
) -> DeploymentState:
    if controller(lab).name in names:
        # Answer file, run and database are on the controller.
        return DeploymentState()
    kept = {
        "nodes": tuple(name for name in known.nodes if name not in names),
        "deployed": tuple(name for name in known.deployed if name not in names),
    }
    return known.model_copy(update=kept)


def _report(before: LabState, nodes: Sequence[ResolvedNode], report: UpReport) -> RecreateReport:
    known = {*before.deployment.nodes, *before.deployment.deployed}
    names = tuple(node.name for node in nodes if node.name in known)
    return RecreateReport(up=report, undeployed=names)
