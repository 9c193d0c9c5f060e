"""Looks at what is left of a snapshot on this host, touching nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from labkit.errors import LabkitError
from labkit.host.libvirt.errors import NotFoundError
from labkit.host.libvirt.xml import parse_domain
from labkit.host.qcow2 import DamagedImageError
from labkit.snapshots import engine
from labkit.snapshots.integrity import NodeFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.host.libvirt.xml import DomainInfo, VolumeInfo
    from labkit.snapshots.members import Member, Members
    from labkit.snapshots.record import NodeRecord, SnapshotRecord


def examined(members: Members, record: SnapshotRecord) -> dict[str, NodeFound]:
    """Return what is left of a snapshot, by node of the lab that it has.

    Raises:
        LabkitError: libvirt does not answer.
    """
    hypervisor = members.hypervisor()
    domains = hypervisor.domains()
    try:
        hypervisor.storage.refresh(members.session.lab.pool)
        volumes = hypervisor.storage.volumes(members.session.lab.pool)
    except NotFoundError:
        # A pool that is not there is a reason to refuse, not something to make.
        volumes = ()
    nodes = tuple(node for node in members.session.lab.nodes if node.name in record.nodes)
    present = {volume.name for volume in volumes}

    def examine(member: Member) -> NodeFound:
        node, kept = member.node, record.nodes[member.node.name]
        domain = next((item for item in domains if item.uuid == node.uuid), None)
        same_name = [item for item in domains if item.name == node.domain]
        found = NodeFound(
            domain=None if domain is None else _as_defined(member.hypervisor, domain),
            impostor=next((str(item.uuid) for item in same_name if item.uuid != node.uuid), ""),
            disk_present=kept.disk in present,
            base_present=not kept.base or kept.base in present,
            missing_files=_missing(kept, volumes),
        )
        try:
            return replace(found, image=engine.image(member.hypervisor, member.pool, kept.disk))
        except DamagedImageError as exc:
            return replace(found, damage=str(exc))
        except LabkitError as exc:
            return replace(found, damage=" ".join((exc.message, *exc.details)))

    return members.side_by_side(nodes, examine, doing="examine every node")


def _as_defined(hypervisor: Hypervisor, domain: DomainInfo) -> DomainInfo:
    """Return the domain with the hardware of its definition, which may differ while it runs."""
    return parse_domain(
        hypervisor.snapshots.definition(domain.uuid),
        state=domain.state,
        has_managed_save=domain.has_managed_save,
        snapshots=domain.snapshots,
        bridges={},
    )


def _missing(kept: NodeRecord, volumes: Sequence[VolumeInfo]) -> tuple[str, ...]:
    root = ET.fromstring(kept.domain_xml)  # noqa: S314 -- libvirtd's own, kept by labkit
    files = [Path(item.get("file", "")) for item in root.iterfind("devices/disk/source[@file]")]
    present = {volume.path for volume in volumes}
    return tuple(str(file) for file in files if file.name != kept.disk and file not in present)
