"""The guests of a `FakeHost` over SSH, as far as snapshots ask them: a nonce in memory and the time."""

from __future__ import annotations

import threading
import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from labkit.host import ssh

if TYPE_CHECKING:
    from uuid import UUID

    from labkit.lab.topology import ResolvedLab
    from tests.fakes.libvirt import FakeHost


class FakeGuests:
    """What `Tools.ssh` is to a test: it reaches the nodes of a lab that runs on a fake host.

    Attributes:
        failures: Raised by the sessions with that node that are opened next, one each.
        behind: How many seconds that node's clock is behind.
        stuck: Nodes whose clock cannot be set.
        refusing: Nodes that cannot be flushed.
        sessions: The node of every session that was opened.
    """

    def __init__(self, host: FakeHost, lab: ResolvedLab) -> None:
        self.host = host
        self.failures: dict[str, list[Exception]] = {}
        self.behind: dict[str, float] = {}
        self.stuck: set[str] = set()
        self.refusing: set[str] = set()
        self.sessions: list[str] = []
        self._uuids = {node.name: node.uuid for node in lab.nodes}
        self._lock = threading.Lock()

    def __call__(
        self,
        endpoint: ssh.Endpoint,
        *,
        greeted: ssh.Greeting | None = None,
    ) -> ssh.Connection:
        with self._lock:
            self.sessions.append(endpoint.node)
            pending = self.failures.get(endpoint.node)
            error = pending.pop(0) if pending else None
        if error is not None:
            raise error
        return _Session(self, endpoint.node, self._uuids[endpoint.node])


class _Session(ssh.Connection):
    def __init__(self, guests: FakeGuests, node: str, uuid: UUID) -> None:
        self.address = IPv4Address("172.16.208.1")
        self.guests = guests
        self.node = node
        self.uuid = uuid

    def close(self) -> None:
        return

    def run(self, command: str, *, timeout: float) -> ssh.RemoteResult:
        nonces = self.guests.host.nonces
        out = ""
        if "sync" in command and self.node in self.guests.refusing:
            return ssh.RemoteResult(returncode=1, stdout="", stderr="read-only file system\n")
        if "sync" in command:
            nonces[self.uuid] = f"by SSH on {self.node}"
            out = nonces[self.uuid]
        elif "echo clock" in command:
            clock = time.time() - self.guests.behind.get(self.node, 0.0)
            out = f"nonce {nonces.get(self.uuid, '')}\nclock {clock:.6f}"
        elif "date -s" in command and self.node not in self.guests.stuck:
            self.guests.behind[self.node] = 0.0
        return ssh.RemoteResult(returncode=0, stdout=f"{out}\n", stderr="")
