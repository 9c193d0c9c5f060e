"""A domain's serial console through libvirt's own stream, for whoever libvirt lets in."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import libvirt  # noqa: TID251 -- part of the adapter

from labkit.errors import LabkitError, OperationError
from labkit.host.libvirt.errors import labkit_error, translated

if TYPE_CHECKING:
    from typing import Final

PIECE_BYTES: Final = 4096
# What libvirt itself calls the first serial device of every running domain.
FIRST: Final = "serial0"


class ConsoleInUseError(OperationError):
    """Somebody else holds the console."""


class NoConsoleError(OperationError):
    """The domain's serial console is none that anybody can type into."""


class Console:
    """The far end of a domain's serial console; `open_console` opens one.

    Its methods may be called by several threads at the same time, one for each direction.
    """

    def __init__(self, stream: libvirt.virStream, doing: str) -> None:
        self._stream = stream
        self._doing = doing

    def read(self) -> bytes:
        """Wait for the guest and return what it says; nothing once the console has ended.

        It ends with the domain, and when somebody else takes it over.

        Raises:
            HostError: libvirtd went away or hangs.
        """
        try:
            return self._stream.recv(PIECE_BYTES)
        except libvirt.libvirtError as exc:
            return self._over(exc)

    def write(self, piece: bytes) -> None:
        """Say something to the guest, which may not listen: then this waits.

        Raises:
            HostError: libvirtd went away or hangs.
        """
        while piece:
            try:
                sent = self._stream.send(piece)
            except libvirt.libvirtError as exc:
                piece = self._over(exc)
            else:
                piece = piece[sent:]

    def close(self) -> None:
        """Let the console go, so that the next one may have it; a second time is no error."""
        with suppress(libvirt.libvirtError):
            self._stream.abort()

    def _over(self, exc: libvirt.libvirtError) -> bytes:
        # A stream ends with an error of its own kind when its far end does.
        error = labkit_error(exc, self._doing)
        if isinstance(error, OperationError):
            return b""
        raise error from exc


def open_console(
    connection: libvirt.virConnect, domain: libvirt.virDomain, *, force: bool
) -> Console:
    """Open the first serial console of a domain that runs.

    Args:
        connection: The connection it was found by.
        domain: The domain.
        force: Take it over from whoever has it.

    Raises:
        ConsoleInUseError: Somebody has it.
        NoConsoleError: It is no pty.
        LabkitError: The domain is off, or libvirt refuses.
    """
    doing = f"open the console of the domain '{domain.name()}'"
    with translated(doing):
        stream = connection.newStream(0)
    flags = libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else 0
    try:
        domain.openConsole(FIRST, stream, flags)
    except libvirt.libvirtError as exc:
        raise _refused(exc, doing) from exc
    return Console(stream, f"go on with the console of the domain '{domain.name()}'")


def _refused(exc: libvirt.libvirtError, doing: str) -> LabkitError:
    error = labkit_error(exc, doing)
    if not isinstance(error, OperationError):
        return error
    # libvirt has no code of its own for either (9.0, qemuDomainOpenConsole).
    kind = {
        libvirt.VIR_ERR_OPERATION_FAILED: ConsoleInUseError,
        libvirt.VIR_ERR_INTERNAL_ERROR: NoConsoleError,
    }.get(exc.get_error_code() or 0, type(error))
    return kind(error.message, details=error.details, hint=error.hint)
