"""A lab, its directory and the fake host it comes up on, for the tests of `up` and its like."""

from __future__ import annotations

import hashlib
import socket
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from labkit.boxes.cache import Provenance, cache_directory
from labkit.errors import HostError
from labkit.host import ssh
from labkit.host.greetings import Greetings
from labkit.lab.render import lab_texts
from labkit.lifecycle import readiness
from labkit.lifecycle.seed import compose_seeds
from labkit.state.session import Session, host_key, root_key, user_key
from tests.fakes.libvirt import FakeHost
from tests.fakes.tools import tools
from tests.fakes.vagrant import FakeMachines
from tests.support import labs

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address
    from pathlib import Path

    from labkit.boxes.definition import BoxDefinition
    from labkit.host.libvirt.connection import Hypervisor
    from labkit.host.libvirt.xml import DomainState
    from labkit.lab.topology import ResolvedNode
    from labkit.state.directory import LabDirectory, LabState

BOOT_ID = "0b0c1d2e-0000-4000-8000-000000000001"
NAMES = ("controller", "compute")
REFUSED = HostError("libvirt refused.")


class FakeSession(ssh.Connection):
    """An SSH session with a guest in which all is well."""

    def __init__(self, address: IPv4Address) -> None:
        self.address = address

    def close(self) -> None:
        """Be closed."""

    def run(self, command: str, *, timeout: float) -> ssh.RemoteResult:
        del timeout
        text = f"running\n{BOOT_ID}\n" if command == readiness._SETTLE else f"{BOOT_ID}\n"
        return ssh.RemoteResult(returncode=0, stdout=text, stderr="")


class FakeGreetings(Greetings):
    """Greetings of a guest that is there at once."""

    def wait(self, seconds: float) -> ssh.Greeting:
        del seconds
        return ssh.Greeting(address=self._addresses[0], connection=socket.socket())


@dataclass
class World:
    """A lab, its directory, and the fake host it comes up on.

    Attributes:
        directory: The lab's directory.
        host: The host.
        session: The verb's.
        after_vagrant: Called when Vagrant has made all.
        unreachable: Per node, what its SSH raises.
        silent: Nodes whose guests report nothing.
        made: Set when Vagrant has made all.
        turns: As each node was made, those whose turn had come.
        asked_at_once: Where as many nodes that are unreachable meet before they say so.
    """

    directory: LabDirectory
    host: FakeHost = field(default_factory=FakeHost)
    after_vagrant: Callable[[], None] = lambda: None
    unreachable: dict[str, Exception] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    made: threading.Event = field(default_factory=threading.Event)
    turns: list[set[str]] = field(default_factory=list)
    asked_at_once: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))

    def __post_init__(self) -> None:
        self.session = Session(
            lab=labs.lab(),
            lab_file=self.directory.path.parent / "lab.yaml",
            directory=self.directory,
            progress=lambda _event: None,
            tools=tools(
                connect=self.connect, machines=self.machines, ssh=self.ssh, greet=self.greet
            ),
        )

    def machines(self, directory: LabDirectory) -> FakeMachines:
        return FakeMachines(
            root=directory.vagrant,
            log=directory.logs / "vagrant.log",
            host=self.host,
            lab=self.session.lab,
            boot=self.boot,
            done=self.all_made,
        )

    def connect(self) -> Hypervisor:
        """Connect; a node's own connection comes late, so that its first look finds the node."""
        if self.host.connections:
            self.made.wait(0.1)
        return self.host.connect()

    def all_made(self) -> None:
        self.after_vagrant()
        self.made.set()

    def greet(self, addresses: tuple[IPv4Address, ...], port: int) -> FakeGreetings:
        return FakeGreetings(addresses, port)

    def ssh(
        self,
        endpoint: ssh.Endpoint,
        *,
        greeted: ssh.Greeting | None = None,
    ) -> ssh.Connection:
        if greeted is not None:
            greeted.connection.close()
        if endpoint.node in self.unreachable:
            # The first error may end the waiting for the other nodes.
            self.asked_at_once.wait(20)
            raise self.unreachable[endpoint.node]
        return FakeSession(endpoint.addresses[0])

    def boot(self, node: ResolvedNode) -> None:
        """Let a guest report that it took the seed it has now."""
        self.turns.append({each.name for each in self.directory.turns.iterdir()})
        if node.name in self.silent:
            return
        log = self.directory.firstboot_log(node.name)
        log.write_text(
            f"labkit-firstboot: applied {self.seed_id(node.name)}\n"
            f"labkit-firstboot: system running {BOOT_ID}\n"
        )

    def seed_id(self, node: str) -> str:
        return compose_seeds(self.session, lab_texts(self.session.lab).guest)[node].seed_id

    def node(self, name: str) -> ResolvedNode:
        return self.session.node(name)

    @property
    def state(self) -> LabState:
        return self.session.state()

    def change_files(self) -> None:
        """Change lab.yaml in what every node takes from its seed."""
        self.session = replace(
            self.session, lab=replace(self.session.lab, dns_domain="other.example")
        )

    def stop(self, name: str, state: DomainState) -> None:
        """Let a node's domain be off or paused, and its guest report when it is started."""
        node = self.node(name)
        self.host.state(node.uuid, state)
        self.host.before("start", node.domain, lambda: self.boot(node))

    def asked(self, call: str) -> list[str]:
        """Return of what a call was asked."""
        return [name for found, name in self.host.calls if found == call]

    def try_again(self) -> None:
        """Forget what was done, as another labkit would not know it."""
        self.host.calls.clear()
        self.session = replace(self.session, cancelled=threading.Event())

    def block_record(self) -> None:
        """Let state.json be unwritable from now on, as on a full disk."""
        self.directory.state_file.unlink(missing_ok=True)
        self.directory.state_file.mkdir()

    def unblock_record(self, state: LabState) -> None:
        """Let it be as it was."""
        self.directory.state_file.rmdir()
        self.directory.save(state)


def executable(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def write_keys(directory: LabDirectory) -> None:
    files = [user_key(directory), root_key(directory)]
    files += [host_key(directory, name) for name in NAMES]
    for file in files:
        file.write_text(f"private {file.name}\n")
        file.with_name(f"{file.name}.pub").write_text(f"ssh-ed25519 AAAA {file.name}\n")


def put_in_cache(definition: BoxDefinition, cache: Path) -> None:
    directory = cache_directory(definition, cache)
    directory.mkdir(parents=True)
    (directory / "labkit.box").write_bytes(b"box")
    (directory / "metadata.json").write_text("{}")
    known = Provenance(
        box=definition.name,
        key=definition.key,
        builder_version=1,
        sha256=hashlib.sha256(b"box").hexdigest(),
        size=3,
        image_offset=0,
        image_length=3,
        virtual_size_gib=4,
        built_at="2026-01-01T00:00:00+00:00",
        inputs={},
    )
    (directory / "provenance.json").write_text(known.model_dump_json())


def half_made(world: World) -> bool:
    """Return whether every node is on record as begun and not as whole."""
    return [world.state.nodes[name].created for name in NAMES] == [False, False]


def files_under(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }
