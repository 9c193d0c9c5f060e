"""Turns libvirt's errors into labkit's: by error code, in this one place."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import libvirt  # noqa: TID251 -- the translation needs libvirt's exception and its codes

from labkit.errors import HostError, LabkitError, OperationError

if TYPE_CHECKING:
    from collections.abc import Iterator

START_HINT = (
    "Start it with 'systemctl start libvirtd', or use a private one with 'labkit sandbox'."
)
HANG_HINT = (
    "Restart it with 'systemctl restart libvirtd', which leaves running guests alone, "
    "and run the command again."
)
GROUP_HINT = (
    "Add yourself to the group with 'sudo usermod -aG libvirt $USER' and log in again, "
    "or run labkit as root."
)
POLKIT_HINT = (
    "Run labkit as root, or start D-Bus and polkit, which libvirtd asks about other users."
)
SPACE_HINT = "Free space on the pool's file system, for example with 'labkit box remove'."

_ABSENT = {
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_NO_NETWORK,
    libvirt.VIR_ERR_NO_STORAGE_POOL,
    libvirt.VIR_ERR_NO_STORAGE_VOL,
    libvirt.VIR_ERR_NO_DOMAIN_METADATA,
    libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT,
}
_CONFLICT = {
    libvirt.VIR_ERR_DOM_EXIST,
    libvirt.VIR_ERR_NETWORK_EXIST,
    libvirt.VIR_ERR_STORAGE_VOL_EXIST,
}
_REFUSED = {
    libvirt.VIR_ERR_AUTH_FAILED,
    libvirt.VIR_ERR_AUTH_CANCELLED,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    libvirt.VIR_ERR_ACCESS_DENIED,
    libvirt.VIR_ERR_OPERATION_DENIED,
}
# A daemon that is not there and one that dies under a call both show in the RPC layer.
_LOST = {libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR}


class NotFoundError(OperationError):
    """libvirt does not know the domain, network, pool or volume."""


class ConflictError(OperationError):
    """The name, bridge or volume is already taken by something else."""


@cache
def silence_libvirt() -> None:
    """Stop libvirt from printing every error to standard error by itself.

    The setting belongs to the process, not to a connection; repeating it changes nothing.
    """
    libvirt.registerErrorHandler(lambda _context, _error: None, None)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise libvirt's errors from the block as labkit's.

    Args:
        doing: Completes "libvirt could not ...": `start the domain 'lab_controller'`.

    Raises:
        HostError: libvirtd does not answer, refuses access, or the disk is full.
        NotFoundError: The object is not there.
        ConflictError: The name is taken.
        OperationError: Anything else libvirt refuses.
    """
    try:
        yield
    except libvirt.libvirtError as exc:
        raise labkit_error(exc, doing) from exc


def labkit_error(exc: libvirt.libvirtError, doing: str) -> LabkitError:
    """Return the labkit error for a libvirt error, libvirt's own words as detail."""
    code = exc.get_error_code()
    system = system_errno(exc)
    details = tuple((exc.get_error_message() or str(exc)).splitlines())
    sentence = f"libvirt could not {doing}"
    # In a container libvirtd runs without those, and then lets in root alone.
    no_polkit = exc.get_error_domain() in {libvirt.VIR_FROM_DBUS, libvirt.VIR_FROM_POLKIT}
    if no_polkit or code in _REFUSED or (_is_rpc(exc) and system in {errno.EACCES, errno.EPERM}):
        return HostError(
            f"{sentence}: this user is not allowed to use the system's libvirt.",
            details=details,
            hint=POLKIT_HINT if no_polkit and code not in _REFUSED else GROUP_HINT,
        )
    if code == libvirt.VIR_ERR_NO_CONNECT or (_is_rpc(exc) and code in _LOST):
        hangs = system == errno.ETIMEDOUT
        return HostError(
            f"{sentence}: libvirtd {'hangs' if hangs else 'does not answer'}.",
            details=details,
            hint=HANG_HINT if hangs else START_HINT,
        )
    if system in {errno.ENOSPC, errno.EDQUOT}:
        return HostError(
            f"{sentence}: no space is left on the host.", details=details, hint=SPACE_HINT
        )
    if code in _ABSENT:
        return NotFoundError(f"{sentence}: it does not exist.", details=details)
    if code in _CONFLICT or system == errno.EEXIST:
        return ConflictError(f"{sentence}: the name is taken.", details=details)
    return OperationError(f"{sentence}.", details=details)


def system_errno(exc: libvirt.libvirtError) -> int | None:
    """Return the errno behind libvirt's VIR_ERR_SYSTEM_ERROR; None for other errors.

    libvirt reports it as the error's first integer (virReportSystemErrorFull), also across its
    socket; seen with libvirt 9.0.0.
    """
    if exc.get_error_code() != libvirt.VIR_ERR_SYSTEM_ERROR:
        return None
    return exc.get_int1()


def _is_rpc(exc: libvirt.libvirtError) -> bool:
    return exc.get_error_domain() in {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE}
