"""What a verb needs from the world, handed to it: libvirt, Vagrant, SSH and a clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from labkit.host import ssh
from labkit.host.greetings import Greetings
from labkit.host.inventory import URI

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.host.vagrant import Machines
    from labkit.state.directory import LabDirectory


class Connect(Protocol):
    """Opens an SSH session; `labkit.host.ssh.connect` says what is raised."""

    def __call__(
        self,
        endpoint: ssh.Endpoint,
        *,
        greeted: ssh.Greeting | None = None,
    ) -> ssh.Connection:
        """Open a session with a node, over a connection that greeted already if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The world as a verb meets it; tests hand in fakes.

    Attributes:
        connect: Opens a connection to libvirt, a context manager. HostError: it does not answer.
        machines: Returns a lab's machines as Vagrant knows them.
        ssh: Opens an SSH session with a node.
        clock: Tells the time in seconds, monotonic.
        greet: Waits for the greeting of a node's SSH server, at one of its addresses and a port.
    """

    connect: Callable[[], Hypervisor]
    machines: Callable[[LabDirectory], Machines]
    ssh: Connect
    clock: Callable[[], float]
    greet: Callable[[tuple[IPv4Address, ...], int], Greetings]


def real_tools() -> Tools:
    """Return this host's own."""
    return Tools(
        connect=_libvirt,
        machines=_machines,
        ssh=ssh.connect,
        clock=time.monotonic,
        greet=Greetings,
    )


def _libvirt() -> Hypervisor:
    from labkit.host.libvirt.connection import connect  # noqa: PLC0415 -- many verbs never ask libvirt

    return connect(URI)


def _machines(directory: LabDirectory) -> Machines:
    from labkit.host.vagrant import Machines  # noqa: PLC0415 -- most verbs never start Vagrant

    return Machines(root=directory.vagrant, log=directory.logs / "vagrant.log")
