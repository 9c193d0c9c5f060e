"""A box on this host: its volume in the storage pool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.boxes import cache
from labkit.boxes.definition import KEY_DIGITS
from labkit.errors import HostError, OperationError
from labkit.host import vagrant
from labkit.host.libvirt.errors import ConflictError
from labkit.host.locks import held
from labkit.waiting import Deadline, NotYet, Policy, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labkit.boxes.cache import CachedBox
    from labkit.host.libvirt.connection import Hypervisor
    from labkit.host.libvirt.storage import Storage

# What booting writes into a fresh overlay, with a margin.
OVERLAY_BYTES = 64 * 2**20
# Some hundred megabytes through libvirtd's socket, and as many through Vagrant, on a slow disk.
COPY_SECONDS = 1800.0
# A volume that has the same size after this pause is not being uploaded.
GROWING = Policy(tick=2.0)


def ensure(
    hypervisor: Hypervisor,
    box: CachedBox,
    *,
    pool: str,
    overlays: int,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
    growing: Policy = GROWING,
) -> str:
    """Put a box into the pool; say whether it had to be uploaded.

    vagrant-libvirt would upload it too, but reuses a partial upload without noticing. The
    name carries the box's content key, so a volume of another build is never taken for it.

    Args:
        hypervisor: The host's libvirt.
        box: A built box.
        pool: The lab's storage pool.
        overlays: How many nodes are to start from it.
        progress: Told for whom this waits.
        cancelled: Asked while it waits; True ends that.
        growing: The pause between two looks at a volume that may be another user's upload.

    Raises:
        HostError: libvirtd does not answer, the pool has not enough space, the box is unreadable.
        OperationError: The cached box is damaged, or a wait for another labkit came to no end.
    """
    storage = hypervisor.storage
    name = vagrant.box_volume(box.vagrant_name, box.vagrant_version)

    def copied() -> str:
        if _is_whole(storage, pool, name, box):
            return "in the pool"
        # Another user's labkit has a lock of its own: what grows is left to it.
        _wait_while_it_grows(storage, pool, name, policy=growing, cancelled=cancelled)
        if _is_whole(storage, pool, name, box):
            return "in the pool"
        _require_sound(box)
        storage.delete_volume(pool, name)
        storage.upload_volume(
            pool, name, box.box_file, offset=box.image_offset, length=box.image_length
        )
        return "uploaded"

    doing = f"copies the box '{box.name}' into the storage pool"
    # The box itself is the lock: it is there for everybody who can use it, even if only to read.
    with held(
        box.box_file,
        doing=doing,
        seconds=COPY_SECONDS,
        progress=progress,
        cancelled=cancelled,
        make=False,
    ):
        done = wait_until(
            copied,
            what=f"the volume '{name}'",
            deadline=Deadline.after(COPY_SECONDS),
            policy=growing,
            retry_on=(ConflictError,),  # another user's labkit was quicker by a moment
            cancelled=cancelled,
        )
    free = storage.pool_free_bytes(pool)
    needed = overlays * OVERLAY_BYTES
    if free < needed:
        message = (
            f"The storage pool '{pool}' has {free // 2**20} MiB free; "
            f"{overlays} nodes need {needed // 2**20} MiB to start."
        )
        raise HostError(message, hint=f"Free space there: 'virsh pool-info {pool}' says where.")
    return done


def forget(
    name: str, *, connect: Callable[[], Hypervisor], dry_run: bool = False
) -> tuple[str, ...]:
    """Remove a box's volumes from the pool; say what was done, or what would be.

    Raises:
        OperationError: A lab's disk is based on one of the volumes.
    """
    told: list[str] = []
    # Not by the name's beginning alone: 'centos7' is that of 'centos7-2009' too.
    build = re.compile(rf"labkit-{re.escape(name)}-[0-9a-f]{{{KEY_DIGITS}}}")
    try:
        with connect() as hypervisor:
            for pool in hypervisor.storage.pools():
                if pool.active and pool.present:
                    told += _removed_volumes(
                        hypervisor.storage, pool.name, name, build, dry_run=dry_run
                    )
    except HostError as exc:
        # The cache can be freed on a host where libvirtd is not running.
        told.append(f"left the storage pool alone: {exc.message}")
    return tuple(told)


def _is_whole(storage: Storage, pool: str, name: str, box: CachedBox) -> bool:
    return storage.volume_intact(
        pool, name, box.box_file, offset=box.image_offset, length=box.image_length
    )


def _wait_while_it_grows(
    storage: Storage,
    pool: str,
    name: str,
    *,
    policy: Policy,
    cancelled: Callable[[], bool] | None,
) -> None:
    """Return when the volume is not there, or has the same size at two looks."""
    size = -1

    def settled() -> None:
        nonlocal size
        storage.refresh(pool)
        found = storage.volume(pool, name)
        before, size = size, -1 if found is None else found.physical_bytes
        if size != before:
            raise NotYet

    wait_until(
        settled,
        what=f"the upload of the volume '{name}' by another user",
        deadline=Deadline.after(COPY_SECONDS),
        policy=policy,
        cancelled=cancelled,
    )


def _require_sound(box: CachedBox) -> None:
    wrong = cache.verify(box)
    if wrong:
        message = f"The cached box '{box.name}' is damaged."
        hint = f"Run 'labkit box remove {box.name}' and 'labkit box build {box.name}'."
        raise OperationError(message, details=wrong, hint=hint)


def _removed_volumes(
    storage: Storage, pool: str, box: str, build: re.Pattern[str], *, dry_run: bool
) -> Iterator[str]:
    """Yield one line for each volume, when it is removed: a later one may fail."""
    storage.refresh(pool)
    volumes = storage.volumes(pool)
    mine = [item for item in volumes if build.fullmatch(item.name.partition("_")[0])]
    paths = {item.path for item in mine}
    users = [item.name for item in volumes if item.backing_path in paths]
    if users:
        message = f"The box '{box}' is in use and stays."
        raise OperationError(
            message,
            details=tuple(f"disk {name}" for name in users),
            hint="Run 'labkit destroy' on those labs first.",
        )
    for item in mine:
        if not dry_run:
            storage.delete_volume(pool, item.name)
        yield f"{'would remove' if dry_run else 'removed'} {item.path}"
