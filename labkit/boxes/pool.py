"""A box on this host: its volume in the storage pool and its place in Vagrant's list."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from labkit.boxes import definition as boxes
from labkit.errors import HostError, OperationError
from labkit.host import vagrant
from labkit.host.files import cache_root
from labkit.host.inventory import POOL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.host.libvirt.connection import Hypervisor

log = logging.getLogger(__name__)

# What booting writes into a fresh overlay, with a margin.
OVERLAY_BYTES = 64 * 2**20


def ensure(hypervisor: Hypervisor, box: boxes.CachedBox, *, overlays: int, log_file: Path) -> str:
    """Put a box into the pool and into Vagrant's list; say whether it had to be uploaded.

    vagrant-libvirt would upload it too, but reuses a partial upload without noticing. The
    name carries the box's content key, so a volume of another build is never taken for it.

    Raises:
        HostError: The pool has not enough space.
        CommandError: Vagrant refuses the box.
    """
    storage = hypervisor.storage
    name = vagrant.box_volume(box.vagrant_name, box.vagrant_version)
    # Two labs at once must not upload the same volume at the same time.
    with boxes.box_lock(f"pool-{box.name}", cache_root()):
        intact = storage.volume_intact(
            POOL, name, box.box_file, offset=box.image_offset, length=box.image_length
        )
        if not intact:
            storage.delete_volume(POOL, name)
            storage.upload_volume(
                POOL, name, box.box_file, offset=box.image_offset, length=box.image_length
            )
        vagrant.add_box(box.catalog, box.vagrant_name, box.vagrant_version, log_file)
    free = storage.pool_free_bytes(POOL)
    needed = overlays * OVERLAY_BYTES
    if free < needed:
        message = (
            f"The storage pool '{POOL}' has {free // 2**20} MiB free; "
            f"{overlays} nodes need {needed // 2**20} MiB to start."
        )
        raise HostError(message, hint=f"Free space there: 'virsh pool-info {POOL}' says where.")
    return "in the pool" if intact else "uploaded"


def forget(
    definition: boxes.BoxDefinition, *, connect: Callable[[], Hypervisor]
) -> tuple[str, ...]:
    """Remove a box's volumes from the pool and from Vagrant's list; say what was removed.

    Raises:
        OperationError: A lab's disk is based on one of the volumes.
    """
    removed: list[str] = []
    prefix = f"labkit-{definition.name}-"
    try:
        with connect() as hypervisor:
            hypervisor.storage.ensure_pool(POOL)
            hypervisor.storage.refresh(POOL)
            volumes = hypervisor.storage.volumes(POOL)
            mine = [item for item in volumes if item.name.startswith(prefix)]
            paths = {item.path for item in mine}
            users = [item.name for item in volumes if item.backing_path in paths]
            if users:
                message = f"The box '{definition.name}' is in use and stays."
                raise OperationError(
                    message,
                    details=tuple(f"disk {name}" for name in users),
                    hint="Run 'labkit destroy' on those labs first.",
                )
            for item in mine:
                hypervisor.storage.delete_volume(POOL, item.name)
                removed.append(f"removed {item.path}")
    except HostError as exc:
        # The cache can be freed on a host where libvirtd is not running.
        log.warning("the pool was not looked at: %s", exc.message)
    name = boxes.vagrant_name(definition)
    if vagrant.remove_box(name, boxes.BOX_VERSION, cache_root() / "vagrant.log"):
        removed.append(f"removed {name} from Vagrant's boxes")
    return tuple(removed)
