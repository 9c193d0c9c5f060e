"""libvirt's error codes and the labkit errors they become; the tuples are as libvirt 9.0 sent them."""

from __future__ import annotations

import errno

import libvirt  # noqa: TID251 -- makes the errors whose translation is tested
import pytest

from labkit.errors import HostError, LabkitError, OperationError
from labkit.host.libvirt.errors import (
    GROUP_HINT,
    HANG_HINT,
    POLKIT_HINT,
    SPACE_HINT,
    START_HINT,
    ConflictError,
    NotFoundError,
    labkit_error,
)


def raised_by_libvirt(code: int, domain: int, system: int, text: str) -> libvirt.libvirtError:
    error = libvirt.libvirtError("unused")
    error.err = (code, domain, text, 2, "%s", text, None, system, -1)
    return error


SYSTEM = libvirt.VIR_ERR_SYSTEM_ERROR
RPC = libvirt.VIR_FROM_RPC
STORAGE = libvirt.VIR_FROM_STORAGE


@pytest.mark.parametrize(
    ("code", "domain", "system", "kind", "end", "hint"),
    [
        (SYSTEM, RPC, errno.ENOENT, HostError, ": libvirtd does not answer.", START_HINT),
        (SYSTEM, RPC, errno.ECONNREFUSED, HostError, ": libvirtd does not answer.", START_HINT),
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            RPC,
            -1,
            HostError,
            ": libvirtd does not answer.",
            START_HINT,
        ),
        (
            SYSTEM,
            RPC,
            errno.EACCES,
            HostError,
            ": this user is not allowed to use the system's libvirt.",
            GROUP_HINT,
        ),
        (
            libvirt.VIR_ERR_AUTH_UNAVAILABLE,
            libvirt.VIR_FROM_POLKIT,
            -1,
            HostError,
            ": this user is not allowed to use the system's libvirt.",
            GROUP_HINT,
        ),
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            libvirt.VIR_FROM_DBUS,
            -1,
            HostError,
            ": this user is not allowed to use the system's libvirt.",
            POLKIT_HINT,
        ),
        (SYSTEM, RPC, errno.ETIMEDOUT, HostError, ": libvirtd hangs.", HANG_HINT),
        (
            SYSTEM,
            STORAGE,
            errno.ENOSPC,
            HostError,
            ": no space is left on the host.",
            SPACE_HINT,
        ),
        (
            libvirt.VIR_ERR_STORAGE_VOL_EXIST,
            STORAGE,
            -1,
            ConflictError,
            ": the name is taken.",
            "",
        ),
        (
            libvirt.VIR_ERR_NO_STORAGE_VOL,
            STORAGE,
            -1,
            NotFoundError,
            ": it does not exist.",
            "",
        ),
        (SYSTEM, STORAGE, errno.EACCES, OperationError, ".", ""),
        (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_QEMU, -1, OperationError, ".", ""),
    ],
)
def test_libvirt_error_is_translated_by_its_code(
    *, code: int, domain: int, system: int, kind: type[LabkitError], end: str, hint: str
) -> None:
    error = raised_by_libvirt(code, domain, system, "first line\nsecond line")

    translated = labkit_error(error, "do it")

    assert type(translated) is kind
    assert translated == kind(
        f"libvirt could not do it{end}", details=("first line", "second line"), hint=hint
    )
