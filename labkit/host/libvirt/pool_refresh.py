"""Refreshes a storage pool, in which another lab's or program's volumes may just be made."""

from __future__ import annotations

import logging
import shlex

import libvirt  # noqa: TID251 -- part of labkit.storage, the storage half of labkit.hypervisor

from labkit.errors import OperationError
from labkit.host.libvirt.errors import translated

log = logging.getLogger(__name__)

BUSY_SECONDS = 60.0


class PoolInactiveError(OperationError):
    """The pool is defined and not active: what lies in it is unknown."""


class _PoolBusyError(Exception):
    """A volume is being made or cloned in the pool: libvirt refuses to refresh it meanwhile."""


def refresh(pool: libvirt.virStoragePool, *, patience: float = BUSY_SECONDS) -> None:
    """Refresh the pool, when its jobs are done.

    Args:
        pool: A pool.
        patience: How many seconds to wait for them.

    Raises:
        PoolInactiveError: The pool is not active.
        LabkitError: It was still busy then, or libvirt refuses for another reason.
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
                raise PoolInactiveError(message, details=(str(exc),), hint=hint) from exc
            # libvirt has no code of its own for it (storage_driver.c, storagePoolRefresh), and
            # its words may be translated.
            internal = exc.get_error_code() == libvirt.VIR_ERR_INTERNAL_ERROR
            if internal and exc.get_error_domain() == libvirt.VIR_FROM_STORAGE:
                raise _PoolBusyError(exc.get_error_message()) from exc
            raise
