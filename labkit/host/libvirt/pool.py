"""One storage pool of libvirt: read, defined, and refreshed when its jobs are done."""

from __future__ import annotations

import logging
import shlex
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import libvirt  # noqa: TID251 -- part of the adapter

from labkit.errors import OperationError
from labkit.host.libvirt.errors import translated
from labkit.host.libvirt.xml import parse_pool, pool_xml

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

BUSY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolInfo:
    """A storage pool.

    Attributes:
        name: Its name.
        path: Its directory; None for a pool that is no directory.
        free_bytes: Space left on its file system, as of its last refresh; 0 while it is off.
        kind: libvirt's word for its type, such as `dir` or `logical`.
        active: Whether it is on.
        present: Whether its directory is there, as far as this user may know.
    """

    name: str
    path: Path | None
    free_bytes: int
    kind: str = "dir"
    active: bool = True
    present: bool = True


class _PoolBusyError(Exception):
    """A volume is being made or cloned in the pool: libvirt refuses to refresh it meanwhile."""


def describe(pool: libvirt.virStoragePool) -> PoolInfo:
    """Return what the pool is, and its free space as of its last refresh.

    Raises:
        LabkitError: libvirt refuses.
    """
    name = pool.name()
    with translated(f"read the storage pool '{name}'"):
        # libvirt-python annotates int and returns [state, capacity, allocation, available].
        figures = cast("list[int]", pool.info())
        kind, path = parse_pool(pool.XMLDesc(0))
        active = bool(pool.isActive())
    return PoolInfo(
        name=name,
        path=path,
        free_bytes=figures[3],
        kind=kind,
        active=active,
        present=path is None or _present(path),
    )


def _present(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError:
        return True


def define(connection: libvirt.virConnect, name: str, path: Path) -> libvirt.virStoragePool:
    """Make a pool of the directory `path`, which starts with libvirtd, and return it.

    Raises:
        LabkitError: libvirt refuses, and no pool is left defined.
    """
    with translated(f"define the storage pool '{name}' at '{path}'"):
        pool = connection.storagePoolDefineXML(pool_xml(name, path), 0)
    built = False
    try:
        with translated(f"create the directory '{path}' of the storage pool '{name}'"):
            pool.build(0)
        with translated(f"start the storage pool '{name}' at '{path}'"):
            pool.create(0)
            pool.setAutostart(1)
        built = True
    finally:
        if not built:
            with suppress(libvirt.libvirtError):
                pool.undefine()
    return pool


def refresh(pool: libvirt.virStoragePool, *, patience: float = BUSY_SECONDS) -> None:
    """Refresh the pool, when its jobs are done.

    Args:
        pool: A pool.
        patience: How many seconds to wait for them.

    Raises:
        LabkitError: It is off, was still busy then, or libvirt refuses for another reason.
    """
    try:
        _refresh_idle(pool)
    except _PoolBusyError:
        # `status` meets no busy pool and must not load what waiting takes.
        from labkit.waiting import Deadline, WaitTimeout, wait_until  # noqa: PLC0415

        name = pool.name()
        log.info("the storage pool '%s' is busy", name)
        try:
            wait_until(
                lambda: _refresh_idle(pool),
                what=f"the jobs in the storage pool '{name}' to end",
                deadline=Deadline.after(patience),
                retry_on=(_PoolBusyError,),
            )
        except WaitTimeout as exc:
            message = (
                f"The storage pool '{name}' was busy for {patience:.0f} s: "
                "a volume is being made or cloned in it."
            )
            hint = f"When 'virsh pool-refresh {shlex.quote(name)}' succeeds, run it again."
            raise OperationError(message, details=exc.details, hint=hint) from exc


def _refresh_idle(pool: libvirt.virStoragePool) -> None:
    with translated(f"refresh the storage pool '{pool.name()}'"):
        try:
            pool.refresh(0)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
                name = pool.name()
                message = f"The storage pool '{name}' is not active: nothing is seen in it."
                hint = (
                    f"'virsh pool-start {shlex.quote(name)}' starts it; 'labkit up' does so too."
                )
                raise OperationError(message, details=(str(exc),), hint=hint) from exc
            # libvirt has no code of its own for it (storage_driver.c, storagePoolRefresh), and
            # its words may be translated.
            internal = exc.get_error_code() == libvirt.VIR_ERR_INTERNAL_ERROR
            if internal and exc.get_error_domain() == libvirt.VIR_FROM_STORAGE:
                raise _PoolBusyError(exc.get_error_message()) from exc
            raise
