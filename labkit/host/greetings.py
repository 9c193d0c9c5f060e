"""Waiting for an SSH server to greet, on connections that are kept however long it takes."""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from errno import EINPROGRESS
from os import strerror
from typing import TYPE_CHECKING

from labkit.host import ssh

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address

# When a node's next address is dialled as well. A card that is down does not take the connection.
# One that took it costs the guest a process already, and a slow guest should start no second one.
TAKEN_SECONDS = 2.0
GREETED_SECONDS = 15.0
_TICK_SECONDS = 0.2


@dataclass(slots=True)
class _Dialled:
    connection: socket.socket
    late_at: float
    taken: bool = False


class Greetings(AbstractContextManager["Greetings"]):
    """Connections to a node's addresses, at most one to each, until an SSH server greets on one.

    A connection is given up only when the other end closes it or no longer answers as a TCP end:
    a guest that is hung up on for being slow has to start another process, and is slower still.
    """

    def __init__(
        self,
        addresses: tuple[IPv4Address, ...],
        port: int = ssh.PORT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses = addresses
        self._port = port
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._dialled: dict[IPv4Address, _Dialled] = {}
        self._reasons: dict[IPv4Address, str] = {}

    def __exit__(self, *_error: object) -> None:
        """Close every connection that nobody took."""
        for address in tuple(self._dialled):
            self._taken_out(address).close()
        self._selector.close()

    def wait(self, seconds: float) -> ssh.Greeting:
        """Return the connection on which a server greeted; closing it is the caller's.

        Addresses without a connection are dialled once each, in their order, the next one when
        those before it failed or are late.

        Raises:
            NotReachableError: None greeted within these seconds, or every address failed; details
                say why, one line each. Connections that are open are kept: wait again.
        """
        until = self._clock() + seconds
        undialled = [address for address in self._addresses if address not in self._dialled]
        while undialled or self._dialled:
            now = self._clock()
            while undialled and all(each.late_at <= now for each in self._dialled.values()):
                self._dial(undialled.pop(0))
            pause = min(max(0.0, until - now), _TICK_SECONDS)
            for key, _events in self._selector.select(pause):
                greeting = self._heard(key.data)
                if greeting is not None:
                    return greeting
            if now >= until:
                break
        shown = ", ".join(map(str, self._addresses))
        message = f"No SSH server greets at {shown}, port {self._port}."
        details = tuple(f"{address}: {reason}" for address, reason in self._reasons.items())
        raise ssh.NotReachableError(message, details=details)

    def _dial(self, address: IPv4Address) -> None:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        ssh.keep_watch(connection)
        connection.settimeout(0)
        code = connection.connect_ex((str(address), self._port))
        if code not in {0, EINPROGRESS}:
            connection.close()
            self._reasons[address] = strerror(code)
            return
        self._dialled[address] = _Dialled(connection, self._clock() + TAKEN_SECONDS)
        self._reasons[address] = "nothing takes the connection yet"
        self._selector.register(connection, selectors.EVENT_WRITE, address)

    def _heard(self, address: IPv4Address) -> ssh.Greeting | None:
        dialled = self._dialled[address]
        try:
            if not dialled.taken:
                self._connected(address, dialled)
                return None
            line = dialled.connection.recv(255, socket.MSG_PEEK)
        except OSError as exc:
            self._drop(address, exc.strerror or type(exc).__name__)
            return None
        if not line.startswith(b"SSH-"):
            said = line.decode("ascii", "replace").strip()
            self._drop(
                address, f"not an SSH server yet, it says '{said}'" if said else "it hung up"
            )
            return None
        connection = self._taken_out(address)
        connection.settimeout(None)
        return ssh.Greeting(address=address, connection=connection)

    def _connected(self, address: IPv4Address, dialled: _Dialled) -> None:
        code = dialled.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, strerror(code))
        dialled.taken, dialled.late_at = True, self._clock() + GREETED_SECONDS
        self._reasons[address] = "it took the connection and has not greeted yet"
        self._selector.modify(dialled.connection, selectors.EVENT_READ, address)

    def _taken_out(self, address: IPv4Address) -> socket.socket:
        connection = self._dialled.pop(address).connection
        self._selector.unregister(connection)
        return connection

    def _drop(self, address: IPv4Address, reason: str) -> None:
        self._taken_out(address).close()
        self._reasons[address] = reason
