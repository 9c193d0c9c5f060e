"""Snapshot records for tests, of the labs in tests/support/labs.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from labkit.snapshots.record import Kept, NicRecord, NodeRecord, SnapshotRecord

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab, ResolvedNode

MEMORY = 100 * 2**20
EPOCH = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def node_record(node: ResolvedNode, *, state: Kept = Kept.RUNNING) -> NodeRecord:
    return NodeRecord(
        state=state,
        uuid=node.uuid,
        domain_xml="<domain/>",
        snapshot_xml="<domainsnapshot/>",
        vcpus=node.cpus,
        memory_mib=node.memory_mib,
        nics=tuple(NicRecord(mac=nic.mac, pci=f"0000:00:{nic.slot:02x}.0") for nic in node.nics),
        disk=f"{node.domain}.img",
        base="box.img",
        memory_bytes=MEMORY if state is not Kept.OFF else 0,
        grown_bytes=MEMORY,
        nonce="digest" if state is Kept.RUNNING else "",
    )


def record(
    lab: ResolvedLab, name: str = "base", *, parent: str = "", minutes: int = 0
) -> SnapshotRecord:
    return SnapshotRecord(
        key=f"labkit-{name}-0",
        name=name,
        created=EPOCH + timedelta(minutes=minutes),
        parent=parent,
        labkit="0.1.0",
        box=lab.box,
        nodes={node.name: node_record(node) for node in lab.nodes},
    )
