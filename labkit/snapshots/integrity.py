"""Whether a snapshot can be restored, decided before anything is touched; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.host.libvirt.xml import DomainState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labkit.host.libvirt.xml import DomainInfo
    from labkit.host.qcow2 import Image
    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.snapshots.record import NodeRecord, SnapshotRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFound:
    """What is left of a node's snapshot on this host.

    Attributes:
        domain: Its domain; None when that is gone, which a restore mends.
        impostor: UUID of a foreign domain that has its name; empty without one.
        disk_present: Whether its volume is in the pool.
        base_present: Whether the volume it is based on is; True when it needs none.
        image: What its image says about itself; None when it is damaged or not there.
        damage: What is wrong with the image; empty when nothing was found.
        missing_files: Other images its definition names that are not in the pool.
    """

    domain: DomainInfo | None
    impostor: str = ""
    disk_present: bool = True
    base_present: bool = True
    image: Image | None = None
    damage: str = ""
    missing_files: tuple[str, ...] = ()


def problems(
    record: SnapshotRecord, lab: ResolvedLab, found: Mapping[str, NodeFound]
) -> tuple[str, ...]:
    """Return every reason not to restore a snapshot, each with its node; none is good.

    Args:
        record: The snapshot.
        lab: The lab as lab.yaml has it now.
        found: By node name.
    """
    names = {node.name for node in lab.nodes}
    lines = [
        f"{name}: the snapshot has this node, lab.yaml has not; put it back there"
        for name in record.nodes
        if name not in names
    ]
    lines += [
        f"{node.name}: lab.yaml has this node, the snapshot has not; take the node out, or "
        "choose a later snapshot"
        for node in lab.nodes
        if node.name not in record.nodes
    ]
    for node in lab.nodes:
        if node.name in record.nodes:
            kept = record.nodes[node.name]
            whole = (*_image(record.key, kept, found[node.name]), *_wanted(node, kept))
            lines += [
                f"{node.name}: {line}" for line in (*whole, *_domain(kept, found[node.name]))
            ]
    return tuple(lines)


def _image(key: str, kept: NodeRecord, found: NodeFound) -> Iterator[str]:
    if not found.disk_present:
        yield f"its disk, the volume '{kept.disk}', is not in the storage pool"
        return
    if not found.base_present:
        yield f"the volume '{kept.base}' that its disk is based on is not in the storage pool"
    for name in found.missing_files:
        yield f"the image '{name}' of its definition does not exist"
    if found.image is None:
        yield f"its disk '{kept.disk}' is damaged: {found.damage}"
        return
    inside = found.image.snapshot(key)
    if inside is None:
        yield f"its disk '{kept.disk}' does not hold the snapshot any more"
    elif inside.memory_bytes != kept.memory_bytes:
        yield (
            f"its disk '{kept.disk}' holds {inside.memory_bytes} bytes of memory; "
            f"expected {kept.memory_bytes}"
        )


def _wanted(node: ResolvedNode, kept: NodeRecord) -> Iterator[str]:
    """Compare with lab.yaml, by which labkit reaches and describes the node."""
    if node.uuid != kept.uuid:
        yield f"the snapshot is of another domain, UUID {kept.uuid}; expected {node.uuid}"
    yield from _hardware(
        kept,
        vcpus=node.cpus,
        memory_mib=node.memory_mib,
        nics={nic.mac: f"0000:00:{nic.slot:02x}.0" for nic in node.nics},
        where="lab.yaml",
    )


def _domain(kept: NodeRecord, found: NodeFound) -> Iterator[str]:
    if found.impostor:
        yield f"a foreign domain has its name, UUID {found.impostor}; rename that domain"
    domain = found.domain
    if domain is None:
        return
    if domain.state in {DomainState.SHUTDOWN, DomainState.SUSPENDED}:
        yield f"its domain is {domain.state.value}; wait, or switch it off with 'labkit halt'"
    yield from _hardware(
        kept,
        vcpus=domain.vcpus,
        memory_mib=domain.memory_mib,
        nics={nic.mac: nic.pci or "" for nic in domain.nics},
        where="its domain",
    )


def _hardware(
    kept: NodeRecord, *, vcpus: int, memory_mib: int, nics: Mapping[str, str], where: str
) -> Iterator[str]:
    if vcpus != kept.vcpus:
        yield f"{where} has {vcpus} CPUs; the snapshot has {kept.vcpus}"
    if memory_mib != kept.memory_mib:
        yield f"{where} has {memory_mib} MiB of memory; the snapshot has {kept.memory_mib}"
    expected = {nic.mac: nic.pci for nic in kept.nics}
    if set(nics) != set(expected):
        yield (
            f"{where} has cards with the MACs {', '.join(sorted(nics)) or 'none'}; "
            f"the snapshot has {', '.join(sorted(expected))}"
        )
        return
    for mac, pci in expected.items():
        if pci and nics[mac] != pci:
            yield f"{where} has the card {mac} at PCI {nics[mac]}; the snapshot has it at {pci}"
