"""The engine: memory and disk of a node kept inside its own qcow2 image, by libvirt and QEMU.

`docs/explanation/snapshot-engine.md` has the reasons and figures. A second engine would be a
module with these same functions, named by `SnapshotRecord.engine`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.host.process import run
from labkit.host.qcow2 import DamagedImageError, Image, examine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.host.libvirt.xml import DomainInfo, VolumeInfo
    from labkit.snapshots.members import Member
    from labkit.snapshots.record import NodeRecord

IMAGE_SECONDS = 600.0
# qemu-img-check(1): 0 sound, 3 sound with clusters that nothing uses.
_SOUND = {0, 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What the engine knows of a node it has kept.

    Attributes:
        description: libvirt's description of the snapshot.
        memory_bytes: Length of the memory; 0 for a node that was off.
        grown_bytes: How much longer the image's file became.
    """

    description: str
    memory_bytes: int
    grown_bytes: int


def disk_of(domain: DomainInfo, volumes: Mapping[str, VolumeInfo]) -> VolumeInfo:
    """Return the volume a domain's snapshots go into: that of its one disk.

    Raises:
        OperationError: It has none, several, or one that cannot hold snapshots.
    """
    paths = [disk.path for disk in domain.disks if disk.device == "disk"]
    found = [volume for volume in volumes.values() if volume.path in paths]
    if len(paths) != 1 or len(found) != 1 or found[0].format != "qcow2":
        shown = ", ".join(f"'{path}'" for path in paths) or "none"
        message = (
            f"The domain '{domain.name}' should have one qcow2 disk in the storage pool "
            f"of the lab, but it has {shown}."
        )
        raise OperationError(message)
    return found[0]


def keep(member: Member, key: str, volume: VolumeInfo, *, live: bool) -> Saved:
    """Keep a node's disk, and its memory while it is on; it stands still meanwhile.

    Args:
        member: The node.
        key: The snapshot.
        volume: The volume of its disk, as it was before.
        live: Whether it is on, as far as the caller knows.

    Raises:
        LabkitError: libvirt, QEMU or the pool refuses; nothing of it may be counted on.
    """
    description = member.hypervisor.snapshots.take(member.node.uuid, key)
    storage = member.hypervisor.storage
    try:
        kept = image(member.hypervisor, member.pool, volume.name).snapshot(key)
    except DamagedImageError as exc:
        message = f"The image '{volume.path}' of node '{member.node.name}' is damaged: {exc}."
        raise OperationError(message) from exc
    if kept is None:
        message = f"The image '{volume.path}' does not hold the snapshot libvirt took."
        raise OperationError(message)
    if live != bool(kept.memory_bytes):
        # libvirt keeps the disk alone of a domain that ended a moment before.
        message = (
            f"The node '{member.node.name}' should be {'on' if live else 'off'} to be kept, but "
            f"it went {'off' if live else 'on'} meanwhile."
        )
        raise OperationError(message, hint="Run 'labkit up', then take the snapshot again.")
    after = storage.volume(member.pool, volume.name)
    grown = 0 if after is None else after.allocation_bytes - volume.allocation_bytes
    return Saved(
        description=description, memory_bytes=kept.memory_bytes, grown_bytes=max(0, grown)
    )


def put_back(member: Member, key: str, record: NodeRecord) -> None:
    """Put a node back; with memory it then stands still, without it is off.

    Raises:
        LabkitError: libvirt or QEMU refuses.
    """
    member.hypervisor.snapshots.revert(member.node.uuid, key, live=record.live)


def drop(member: Member, key: str, disk: str) -> None:
    """Remove a snapshot from a node's image and from libvirt, however much of it there is.

    Args:
        member: The node; its domain may be gone.
        key: The snapshot.
        disk: The volume it is in.

    Raises:
        LabkitError: The image refuses.
    """
    hypervisor, uuid = member.hypervisor, member.node.uuid
    if hypervisor.snapshots.delete(uuid, key):
        return
    if not holds(hypervisor, member.pool, disk, key):
        return
    if hypervisor.domain_state(uuid) is None:
        volume = hypervisor.storage.volume(member.pool, disk)
        if volume is not None:
            run(["qemu-img", "snapshot", "-d", key, volume.path], timeout=IMAGE_SECONDS)
        return
    hypervisor.snapshots.describe_stray(uuid, key)
    hypervisor.snapshots.delete(uuid, key)


def holds(hypervisor: Hypervisor, pool: str, disk: str, key: str) -> bool:
    """Return whether an image holds a snapshot; one that is not there, or damaged, does not."""
    try:
        return image(hypervisor, pool, disk).snapshot(key) is not None
    except DamagedImageError:
        return False


def image(hypervisor: Hypervisor, pool: str, volume: str) -> Image:
    """Return what a volume's image says about itself, also while QEMU has it open.

    Raises:
        DamagedImageError: It is no sound image.
    """
    return examine(partial(hypervisor.storage.read_volume, pool, volume))


def damage(path: Path) -> tuple[str, ...] | None:
    """Return what `qemu-img check` finds wrong with an image; None when it may not be read.

    To be asked while nothing writes to the image: QEMU may have it open, but paused.
    """
    if not os.access(path, os.R_OK):
        # libvirt makes images for root alone; members of its group see no more than the header.
        return None
    result = run(
        ["qemu-img", "check", "--force-share", "-f", "qcow2", path],
        timeout=IMAGE_SECONDS,
        check=False,
    )
    return () if result.returncode in _SOUND else result.tail()[-3:]
