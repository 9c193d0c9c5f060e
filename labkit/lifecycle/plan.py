"""What `up` and `destroy` have to do, decided from what is wanted, recorded and seen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.host.libvirt.xml import DomainInfo, DomainState, NetworkInfo, parse_network
from labkit.lab.render import network_xml
from labkit.lab.topology import ResolvedLab, ResolvedNode, network_uuid, node_uuid
from labkit.lifecycle.fit import notes, require
from labkit.state.directory import NodeState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from labkit.host.inventory import Seen
    from labkit.state.directory import LabState


class Action(StrEnum):
    """What `up` does with a node."""

    KEEP = "keep"  # it runs; only its readiness is checked
    CREATE = "create"  # Vagrant makes it
    RECREATE = "recreate"  # half-made, or given up by `recreate`: removed, then made
    START = "start"  # it is off
    RESUME = "resume"  # it is paused


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """One node of an `up`.

    Attributes:
        node: The node.
        action: What is done with it.
        notice: Something the user should know; empty when there is nothing.
    """

    node: ResolvedNode
    action: Action
    notice: str = ""

    @property
    def boots(self) -> bool:
        """Return whether this `up` boots the node, which then takes its seed."""
        return self.action in {Action.CREATE, Action.RECREATE, Action.START}


@dataclass(frozen=True, slots=True, kw_only=True)
class UpPlan:
    """Everything an `up` does, in the order it does it.

    Attributes:
        networks: Names of lab networks to define or start.
        nodes: Every node that it is about, with its action.
        leftovers: Volumes of nodes that are made anew, and claimed ones of interrupted runs; deleted
            before anything is created.
        notes: What the user should know of the host.
    """

    networks: tuple[str, ...]
    nodes: tuple[NodePlan, ...]
    leftovers: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def of(self, *actions: Action) -> tuple[ResolvedNode, ...]:
        """Return the nodes with one of these actions."""
        return tuple(item.node for item in self.nodes if item.action in actions)

    @property
    def creating(self) -> tuple[ResolvedNode, ...]:
        """Return the nodes that Vagrant has to make."""
        return self.of(Action.CREATE, Action.RECREATE)

    @property
    def changes(self) -> bool:
        """Return whether anything at all has to be done."""
        return bool(
            self.networks
            or self.leftovers
            or any(item.action is not Action.KEEP for item in self.nodes)
        )


def spec_digest(node: ResolvedNode, box: str) -> str:
    """Return a digest of everything that is fixed when a domain is created.

    The box counts by its name: a newer build of it is no reason to touch a node that exists.
    """
    hardware = {
        "box": box,
        "cpus": node.cpus,
        "memory_mib": node.memory_mib,
        "disk_gib": node.disk_gib,
        "nics": [(nic.name, nic.slot, nic.mac, nic.network.bridge) for nic in node.nics],
    }
    return hashlib.sha256(json.dumps(hardware).encode()).hexdigest()


def plan_up(
    lab: ResolvedLab,
    state: LabState,
    seen: Seen,
    *,
    seeds: Mapping[str, str],
    only: Sequence[str] = (),
) -> UpPlan:
    """Decide what `up` does.

    Args:
        lab: What is wanted.
        state: What is recorded.
        seen: What the host has.
        seeds: Seed id per node, as rendered now; a node that is not there is not compared.
        only: The names of the nodes that it is about; all of them when empty.

    Raises:
        HostError: The host's storage pool, bridges or routes do not let the lab be made.
        OperationError: Something of the lab's names belongs to somebody else, lab.yaml no longer
            fits what runs, or a node would be made anew in which somebody's work may be;
            details list every case.
    """
    require(lab, state, seen)
    chosen = tuple(node for node in lab.nodes if not only or node.name in only)
    conflicts = tuple(_conflicts(lab, chosen, state, seen))
    if conflicts:
        message = f"The lab '{lab.name}' cannot come up as things are on this host."
        raise OperationError(message, details=conflicts)
    nodes = tuple(_node_plan(node, state, seen, seeds.get(node.name, "")) for node in chosen)
    leftovers: set[str] = set()
    for item in nodes:
        if item.action in {Action.CREATE, Action.RECREATE}:
            fresh = {item.node.disk_volume, item.node.seed_volume}
            leftovers |= fresh & set(state.volumes) & set(seen.volumes)
            leftovers |= node_volumes(item.node, state, seen)
    return UpPlan(
        networks=tuple(
            network.name
            for network in lab.networks
            if network.libvirt_name is not None
            and not any(n.uuid == network.uuid and n.active for n in seen.networks)
        ),
        nodes=nodes,
        leftovers=tuple(sorted(leftovers)),
        notes=notes(lab, seen),
    )


def _node_plan(node: ResolvedNode, state: LabState, seen: Seen, seed_id: str) -> NodePlan:
    domain = _by_uuid(seen, node.uuid)
    recorded = state.nodes.get(node.name)
    if domain is None:
        return NodePlan(node=node, action=Action.CREATE)
    if recorded is not None and not recorded.created:
        return NodePlan(node=node, action=Action.RECREATE)
    notice = ""
    if recorded is not None and seed_id and recorded.seed not in {"", seed_id}:
        notice = "its files changed in lab.yaml; they take effect after 'labkit halt' and 'up'"
    match domain.state:
        case DomainState.RUNNING:
            return NodePlan(node=node, action=Action.KEEP, notice=notice)
        case DomainState.PAUSED:
            return NodePlan(node=node, action=Action.RESUME, notice=notice)
        case _:
            return NodePlan(node=node, action=Action.START)


def claimed(lab: ResolvedLab, state: LabState, plan: UpPlan) -> LabState:
    """Return the record of what is about to be made, for writing down before it is made."""
    volumes = {*state.volumes}
    for node in plan.creating:
        volumes |= {node.disk_volume, node.seed_volume}
        state = state.with_node(node.name, NodeState())
    networks = {*state.networks, *(network.name for network in lab.networks)}
    return state.model_copy(
        update={
            "lab_id": lab.lab_id,
            "box": lab.box,
            "pool": lab.pool,
            "volumes": tuple(sorted(volumes)),
            "networks": tuple(sorted(networks)),
        }
    )


def recorded(
    lab: ResolvedLab, state: LabState, plan: UpPlan, *, seeds: Mapping[str, str]
) -> LabState:
    """Return the record of a lab whose machines are all made.

    A node takes its seed when it boots. One that ran or was paused keeps what is recorded of it;
    where nothing is, nobody can say which seed it took.
    """
    for item in plan.nodes:
        node = item.node
        if item.boots or node.name not in state.nodes:
            seed = seeds[node.name] if item.boots else ""
            whole = NodeState(created=True, spec=spec_digest(node, lab.box), seed=seed)
            state = state.with_node(node.name, whole)
    return state


def _by_uuid(seen: Seen, uuid: UUID) -> DomainInfo | None:
    return next((domain for domain in seen.domains if domain.uuid == uuid), None)


def _conflicts(
    lab: ResolvedLab, nodes: Iterable[ResolvedNode], state: LabState, seen: Seen
) -> Iterator[str]:
    if state.volumes and state.pool != lab.pool:
        yield (
            f"storage pool '{lab.pool}': the lab's disks are in the pool '{state.pool}'; put that "
            "back into lab.yaml, or run 'labkit destroy' first"
        )
    for node in nodes:
        yield from _node_conflicts(node, state, seen, lab.box)
    for name in state.nodes:
        if lab.node(name) is None and _by_uuid(seen, node_uuid(lab.lab_id, name)):
            yield (
                f"node '{name}' exists but is no longer in lab.yaml: put it back, "
                "or run 'labkit destroy' first"
            )
    for network in lab.networks:
        for found in seen.networks:
            if found.name == network.libvirt_name and found.uuid != network.uuid:
                yield (
                    f"network '{found.name}': a libvirt network of that name exists that is not "
                    f"this lab's (UUID {found.uuid}); rename the lab, or remove that network "
                    f"with 'virsh net-undefine {found.name}'"
                )
            elif found.uuid == network.uuid and network.libvirt_name is not None and found.active:
                wanted = parse_network(network_xml(lab, network), active=True)
                if wanted != found:
                    yield (
                        f"network '{network.name}': lab.yaml makes it {wanted}, and it runs "
                        f"as {found}; put it back, or run 'labkit destroy' and 'labkit up'"
                    )


def _node_conflicts(node: ResolvedNode, state: LabState, seen: Seen, box: str) -> Iterator[str]:
    mine = _by_uuid(seen, node.uuid)
    for domain in seen.domains:
        if domain.name == node.domain and domain.uuid != node.uuid:
            yield (
                f"node '{node.name}': a domain named '{node.domain}' exists that is not this "
                f"lab's (UUID {domain.uuid}); rename the lab, or remove that domain"
            )
    if mine is None:
        for name in (node.disk_volume, node.seed_volume):
            if name in seen.volumes and name not in state.volumes:
                yield (
                    f"node '{node.name}': the volume '{seen.volumes[name].path}' exists and is "
                    "not this lab's; rename the lab, or remove it with "
                    f"'virsh vol-delete {seen.volumes[name].path}'"
                )
    yield from _losses(node, state, seen, mine)
    if mine is not None and _hardware_differs(node, state.nodes.get(node.name), mine, box):
        yield (
            f"node '{node.name}': its box or hardware in lab.yaml is not what it was created "
            f"with; put it back, or make the node anew with 'labkit recreate {node.name}'"
        )


def _losses(
    node: ResolvedNode, state: LabState, seen: Seen, mine: DomainInfo | None
) -> Iterator[str]:
    """Yield what would be lost of somebody's work if the node was made anew."""
    known = state.nodes.get(node.name, NodeState())
    ran = node.name in {*state.deployment.nodes, *state.deployment.deployed}
    disk = seen.volumes.get(node.disk_volume)
    if mine is None and disk is not None and known.created and ran:
        yield (
            f"node '{node.name}': its domain is gone, and its disk '{disk.path}', on which "
            "Packstack ran, would be deleted; bring it back with 'labkit restore', or give it up "
            f"with 'labkit recreate --force {node.name}'"
        )
    half_made = mine is not None and node.name in state.nodes and not known.created
    if mine is not None and half_made and (ran or mine.snapshots):
        held = "Packstack ran in it" if ran else "it has snapshots"
        yield (
            f"node '{node.name}': no 'labkit up' recorded it as whole, so it would be made anew, "
            f'but {held}; to keep it, set its "created" to true in the lab\'s state.json, or '
            f"give it up with 'labkit recreate --force {node.name}'"
        )


def _hardware_differs(
    node: ResolvedNode, known: NodeState | None, mine: DomainInfo, box: str
) -> bool:
    if known is None:
        # Its record was lost; libvirt can say this much of what it was created with.
        return (mine.vcpus, mine.memory_mib) != (node.cpus, node.memory_mib)
    return known.created and known.spec not in {"", spec_digest(node, box)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Possessions:
    """Everything on the host that is this lab's.

    Attributes:
        domains: Its domains.
        networks: Its libvirt networks.
        volumes: Its volumes in the pool.
    """

    domains: tuple[DomainInfo, ...]
    networks: tuple[NetworkInfo, ...]
    volumes: tuple[str, ...]

    def describe(self) -> tuple[str, ...]:
        """Return one line per thing."""
        return (
            *(f"domain {domain.name}" for domain in self.domains),
            *(f"network {network.name}" for network in self.networks),
            *(f"volume {volume}" for volume in self.volumes),
        )


def possessions(lab: ResolvedLab | None, state: LabState, seen: Seen) -> Possessions:
    """Find what is the lab's: by UUID, by claim, and by being a disk of its domains.

    Names alone prove nothing: somebody else may use them. Claims are written before a volume
    is made, and `up` never claims a name that already existed. A volume that a domain of somebody
    else uses, or that such a disk is based on, is not the lab's whatever is claimed.
    """
    node_names = set(state.nodes) | {node.name for node in (lab.nodes if lab else ())}
    network_names = set(state.networks) | {net.name for net in (lab.networks if lab else ())}
    domain_uuids = {node_uuid(state.lab_id, name) for name in node_names}
    network_uuids = {network_uuid(state.lab_id, name) for name in network_names}
    domains = tuple(domain for domain in seen.domains if domain.uuid in domain_uuids)
    others = [domain for domain in seen.domains if domain.uuid not in domain_uuids]
    return Possessions(
        domains=domains,
        networks=tuple(network for network in seen.networks if network.uuid in network_uuids),
        volumes=tuple(sorted(_own_volumes(state, seen, domains) - _used(others, seen))),
    )


def node_volumes(node: ResolvedNode, state: LabState, seen: Seen) -> set[str]:
    """Return the volumes that one node's domain uses and that are the lab's; none without a domain."""
    mine = _by_uuid(seen, node.uuid)
    if mine is None:
        return set()
    own = {"volumes": tuple({node.disk_volume, node.seed_volume} & {*state.volumes})}
    others = [domain for domain in seen.domains if domain.uuid != node.uuid]
    found = _own_volumes(state.model_copy(update=own), seen, [mine]) - _used(others, seen)
    return found & set(seen.volumes)


def _own_volumes(state: LabState, seen: Seen, domains: Sequence[DomainInfo]) -> set[str]:
    names = {f"{domain.name}{end}" for domain in domains for end in (".img", "_seed.iso")}
    chains = [_chain(disk.path, seen) for domain in domains for disk in domain.disks]
    # A snapshot taken beside labkit puts an overlay between domain and disk; whatever is based on
    # the lab's own disk is the lab's.
    based = {
        name
        for chain in chains
        for depth, name in enumerate(chain)
        if any(own in state.volumes or own in names for own in chain[depth:])
    }
    # What nobody sees, in a pool that is off, may be there.
    there = state.volumes if seen.unseen(state.pool) else seen.volumes
    return based | (set(state.volumes) & set(there))


def _used(domains: Iterable[DomainInfo], seen: Seen) -> set[str]:
    """Return the volumes that domains use, with all they are based on."""
    return {
        name for domain in domains for disk in domain.disks for name in _chain(disk.path, seen)
    }


def _chain(path: Path | None, seen: Seen) -> tuple[str, ...]:
    """Return the pool's volumes from an image down to what it is based on, by name."""
    by_path = {volume.path: volume for volume in seen.volumes.values()}
    found: list[str] = []
    while path in by_path and by_path[path].name not in found:
        found.append(by_path[path].name)
        path = by_path[path].backing_path
    return tuple(found)
