"""A host's libvirt in memory, for the verbs: it keeps books, does as told, and fails where told.

Nothing of libvirt runs here. What libvirt really does is shown by the integration and e2e tests.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from labkit.errors import HostError
from labkit.host.libvirt.connection import Hypervisor
from labkit.host.libvirt.console import Console
from labkit.host.libvirt.errors import NotFoundError
from labkit.host.libvirt.networks import Networks
from labkit.host.libvirt.pool import PoolInfo
from labkit.host.libvirt.snapshots import DomainSnapshots
from labkit.host.libvirt.storage import Storage
from labkit.host.libvirt.xml import (
    DiskInfo,
    DomainInfo,
    DomainState,
    NetworkInfo,
    NicInfo,
    VolumeInfo,
    parse_domain,
    parse_network,
)
from labkit.lab.render import network_xml
from tests.fakes.libvirt_texts import definition, qcow2
from tests.fakes.line import FakeStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from libvirt import virStream  # noqa: TID251 -- what a stream of the fake host stands in for

    from labkit.lab.topology import ResolvedLab, ResolvedNetwork, ResolvedNode

POOL_PATH = Path("/pool")


def domain(node: ResolvedNode, state: DomainState = DomainState.RUNNING) -> DomainInfo:
    """Return a node's domain as libvirt describes it, with its disk and its seed."""
    drives = (("disk", node.disk_volume), ("cdrom", node.seed_volume))
    return DomainInfo(
        name=node.domain,
        uuid=node.uuid,
        state=state,
        vcpus=node.cpus,
        memory_mib=node.memory_mib,
        domain_type="kvm",
        description="",
        nics=tuple(
            NicInfo(mac=nic.mac, bridge=nic.network.bridge, pci=f"0000:00:{nic.slot:02x}.0")
            for nic in node.nics
        ),
        disks=tuple(DiskInfo(device=device, path=POOL_PATH / name) for device, name in drives),
        agent_connected=False,
        has_managed_save=False,
        snapshots=0,
    )


def active_network(lab: ResolvedLab, network: ResolvedNetwork) -> NetworkInfo:
    """Return a network that labkit made, as libvirt describes it."""
    return parse_network(network_xml(lab, network), active=True)


class FakeHost:
    """What all connections to one fake libvirt share.

    Attributes:
        domains: The domains by UUID.
        networks: The networks by UUID.
        volumes: The volumes of the pool by name.
        images: The snapshots in each domain's image, in the order they were taken.
        pools: The pools that are defined.
        pools_off: Those of them that are off.
        pool_path: The directory of all of them.
        free_bytes: Space left in the pool.
        calls: What was asked for that changes something, and of what: `("start", "demo_one")`.
        connections: How many connections were opened.
        open: How many of them are open.
        torn: Volumes that hold only a part of what they should.
        disks: Whose disk a volume is.
        damaged: Volumes whose content is no image.
        agents: Whether the guests' agents answer.
        nonces: What lies in each guest's memory.
        kept: What lay there when a snapshot was taken, by domain and snapshot; "" for a domain
            that was off, whose memory is not kept.
        stream: The console of every domain.
        passwords: What the guests' agents were told last, by domain and user.
    """

    def __init__(self) -> None:
        self.domains: dict[UUID, DomainInfo] = {}
        self.networks: dict[UUID, NetworkInfo] = {}
        self.volumes: dict[str, VolumeInfo] = {}
        self.images: dict[UUID, list[str]] = {}
        self.pools: set[str] = set()
        self.pools_off: set[str] = set()
        self.pool_path = POOL_PATH
        self.free_bytes = 2**40
        self.calls: list[tuple[str, str]] = []
        self.connections = 0
        self.open = 0
        self.disks: dict[str, UUID] = {}
        self.damaged: set[str] = set()
        self.agents = True
        self.nonces: dict[UUID, str] = {}
        self.kept: dict[tuple[UUID, str], str] = {}
        self.starts = 0
        self._failures: dict[tuple[str, str], list[Exception]] = {}
        self._before: dict[tuple[str, str], Callable[[], None]] = {}
        self._lock = threading.Lock()
        self.torn: set[str] = set()
        self.stream = FakeStream()
        self.passwords: dict[tuple[UUID, str], str] = {}

    def connect(self) -> Hypervisor:
        """Open a connection, as `Tools.connect` does."""
        self.told("connect", "")
        with self._lock:
            self.connections += 1
            self.open += 1
        return FakeHypervisor(self)

    def fail(self, call: str, name: str, *errors: Exception) -> None:
        """Let the next calls of that kind on that object raise these errors, one each."""
        self._failures.setdefault((call, name), []).extend(errors)

    def before(self, call: str, name: str, action: Callable[[], None]) -> None:
        """Do something each time that call is made on that object, before it is carried out."""
        self._before[call, name] = action

    def told(self, call: str, name: str) -> None:
        """Write a call down, and fail it if a test asked for that."""
        with self._lock:
            if call != "connect":
                self.calls.append((call, name))
            pending = self._failures.get((call, name))
            error = pending.pop(0) if pending else None
        action = self._before.get((call, name))
        if action is not None:
            action()
        if error is not None:
            raise error

    def add(self, node: ResolvedNode, state: DomainState = DomainState.RUNNING) -> DomainInfo:
        """Give the host a node's domain with its disk and its seed."""
        for name in (node.disk_volume, node.seed_volume):
            self.volumes[name] = _volume(name)
        self.domains[node.uuid] = domain(node, state)
        self.images.setdefault(node.uuid, [])
        self.disks[node.disk_volume] = node.uuid
        return self.domains[node.uuid]

    def add_lab(self, lab: ResolvedLab, state: DomainState = DomainState.RUNNING) -> None:
        """Give the host everything a lab has that is up."""
        self.pools.add("default")
        for network in lab.networks:
            if network.libvirt_name is not None:
                self.networks[network.uuid] = active_network(lab, network)
        for node in lab.nodes:
            self.add(node, state)

    def add_volume(self, name: str, *, backing: str | None = None) -> None:
        """Put a volume into the pool."""
        self.volumes[name] = replace(
            _volume(name), backing_path=None if backing is None else POOL_PATH / backing
        )

    def state(self, uuid: UUID, state: DomainState) -> None:
        """Let a domain be in a state."""
        self.domains[uuid] = replace(self.domains[uuid], state=state)

    def name(self, uuid: UUID) -> str:
        """Return a domain's name; that of one which is gone is its UUID."""
        domain = self.domains.get(uuid)
        return str(uuid) if domain is None else domain.name

    def require(self, uuid: UUID) -> DomainInfo:
        """Return a domain as libvirt would find it."""
        if uuid not in self.domains:
            message = f"libvirt could not find the domain with UUID '{uuid}'."
            raise NotFoundError(message)
        return self.domains[uuid]

    def looked(self, call: str, name: str) -> None:
        """Do what a test asked for before a call that changes nothing."""
        action = self._before.get((call, name))
        if action is not None:
            action()

    def grow(self, name: str, physical_bytes: int) -> None:
        """Give a volume's file another length."""
        self.volumes[name] = replace(self.volumes[name], physical_bytes=physical_bytes)

    def restart(self) -> None:
        """Let libvirtd end and start again: every connection that is open is lost."""
        self.starts += 1

    def copy(self) -> FakeHost:
        """Return the host as it is now, with nothing that was to fail or to happen."""
        other = FakeHost()
        other.domains, other.networks = dict(self.domains), dict(self.networks)
        other.volumes, other.pools = dict(self.volumes), set(self.pools)
        other.disks = dict(self.disks)
        other.images = {uuid: list(names) for uuid, names in self.images.items()}
        other.free_bytes, other.agents = self.free_bytes, self.agents
        other.nonces, other.kept = dict(self.nonces), dict(self.kept)
        other.torn = set(self.torn)
        return other


class _Link:
    """A way to the host that a restart of libvirtd cuts."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host
        self._since = host.starts

    @property
    def host(self) -> FakeHost:
        if self._since != self._host.starts:
            message = "libvirtd does not answer."
            raise HostError(message)
        return self._host


class FakeHypervisor(_Link, Hypervisor):
    """One connection to a `FakeHost`."""

    def __init__(self, host: FakeHost) -> None:
        _Link.__init__(self, host)
        self.networks = _Networks(host)
        self.storage = _Storage(host)
        self.snapshots = _Snapshots(host)

    def close(self) -> None:
        self._host.open -= 1

    def offers_kvm(self, *, arch: str = "x86_64", machine: str = "q35") -> bool:
        return False

    def domains(self) -> tuple[DomainInfo, ...]:
        return tuple(sorted(self.host.domains.values(), key=lambda found: found.name))

    def domain_by_uuid(self, uuid: UUID) -> DomainInfo | None:
        return self.host.domains.get(uuid)

    def domain_state(self, uuid: UUID) -> DomainState | None:
        found = self.host.domains.get(uuid)
        return None if found is None else found.state

    def start(self, uuid: UUID) -> None:
        self.host.require(uuid)
        self.host.told("start", self.host.name(uuid))
        self.host.state(uuid, DomainState.RUNNING)

    def resume(self, uuid: UUID) -> None:
        self.host.require(uuid)
        self.host.told("resume", self.host.name(uuid))
        self.host.state(uuid, DomainState.RUNNING)

    def shutdown(self, uuid: UUID) -> None:
        self.host.require(uuid)
        self.host.told("shutdown", self.host.name(uuid))
        self.host.state(uuid, DomainState.SHUTOFF)

    def power_off(self, uuid: UUID) -> None:
        self.host.told("power off", self.host.name(uuid))
        if uuid in self.host.domains:
            self.host.state(uuid, DomainState.SHUTOFF)

    def undefine(self, uuid: UUID) -> None:
        self.host.told("undefine", self.host.name(uuid))
        self.host.domains.pop(uuid, None)

    def console(self, uuid: UUID, *, force: bool = False) -> Console:
        self.host.require(uuid)
        self.host.told("force console" if force else "console", self.host.name(uuid))
        return Console(cast("virStream", self.host.stream), "go on")

    def set_password(
        self, uuid: UUID, user: str, password: str, *, encrypted: bool = False
    ) -> None:
        self.host.told("set password", self.host.name(uuid))
        self.host.passwords[uuid, user] = f"{'encrypted ' if encrypted else ''}{password}"

    def agent_interfaces(
        self, uuid: UUID, *, timeout: int = 2
    ) -> dict[str, tuple[str, tuple[str, ...]]] | None:
        return None


class _Networks(_Link, Networks):
    def listed(self) -> tuple[NetworkInfo, ...]:
        return tuple(sorted(self.host.networks.values(), key=lambda found: found.name))

    def ensure(self, xml: str) -> NetworkInfo:
        wanted = parse_network(xml, active=True)
        self.host.told("ensure network", wanted.name)
        self.host.networks[wanted.uuid] = wanted
        return wanted

    def remove(self, uuid: UUID) -> bool:
        found = self.host.networks.get(uuid)
        if found is None:
            return False
        self.host.told("remove network", found.name)
        del self.host.networks[uuid]
        return True


class _Storage(_Link, Storage):
    def ensure_pool(self, name: str = "default", path: Path = POOL_PATH) -> PoolInfo:
        if name not in self.host.pools:
            self.host.told("define pool", name)
            self.host.pools.add(name)
        if name in self.host.pools_off:
            self.host.told("start pool", name)
            self.host.pools_off.discard(name)
        return self.pool(name)

    def pool(self, name: str) -> PoolInfo:
        if name not in self.host.pools:
            message = f"libvirt could not find the storage pool '{name}'."
            raise NotFoundError(message)
        return PoolInfo(
            name=name,
            path=self.host.pool_path,
            free_bytes=self.host.free_bytes,
            active=name not in self.host.pools_off,
        )

    def pools(self) -> tuple[PoolInfo, ...]:
        return tuple(self.pool(name) for name in sorted(self.host.pools))

    def pool_free_bytes(self, name: str) -> int:
        return self.pool(name).free_bytes

    def refresh(self, pool: str) -> None:
        self.host.looked("refresh", pool)
        self.pool(pool)

    def volumes(self, pool: str) -> tuple[VolumeInfo, ...]:
        self.pool(pool)
        return tuple(sorted(self.host.volumes.values(), key=lambda found: found.name))

    def volume(self, pool: str, name: str) -> VolumeInfo | None:
        self.pool(pool)
        return self.host.volumes.get(name)

    def upload_volume(
        self,
        pool: str,
        name: str,
        source: Path,
        *,
        offset: int = 0,
        length: int | None = None,
        mode: int = 0o644,
        progress: Callable[[int], None] | None = None,
    ) -> VolumeInfo:
        self.pool(pool)
        self.host.told("upload", name)
        self.host.torn.discard(name)
        self.host.volumes[name] = _volume(name)
        return self.host.volumes[name]

    def volume_intact(
        self, pool: str, name: str, source: Path, *, offset: int = 0, length: int | None = None
    ) -> bool:
        return name in self.host.volumes and name not in self.host.torn

    def read_volume(self, pool: str, name: str, offset: int, length: int) -> bytes:
        if name not in self.host.volumes or name in self.host.damaged:
            return b""
        uuid = self.host.disks.get(name)
        snapshots = [] if uuid is None else self.host.images[uuid]
        sizes = [(each, len(self.host.kept[uuid, each])) for each in snapshots if uuid]
        return qcow2(sizes)[offset : offset + length]

    def delete_volume(self, pool: str, name: str) -> bool:
        self.pool(pool)
        if name not in self.host.volumes:
            return False
        self.host.told("delete volume", name)
        del self.host.volumes[name]
        return True


class _Snapshots(_Link, DomainSnapshots):
    def suspend(self, uuid: UUID) -> None:
        self.host.require(uuid)
        self.host.told("suspend", self.host.name(uuid))
        self.host.state(uuid, DomainState.PAUSED)

    def take(self, uuid: UUID, name: str) -> str:
        self.host.require(uuid)
        self.host.told("take", self.host.name(uuid))
        self.host.images.setdefault(uuid, []).append(name)
        off = self.host.domains[uuid].state is DomainState.SHUTOFF
        self.host.kept[uuid, name] = "" if off else self.host.nonces.get(uuid, "nothing")
        return f"<domainsnapshot><name>{name}</name></domainsnapshot>"

    def names(self, uuid: UUID) -> tuple[str, ...]:
        return tuple(self.host.images.get(uuid, ()))

    def describe_again(self, uuid: UUID, xml: str) -> None:
        self.host.require(uuid)
        self.host.told("describe", self.host.name(uuid))

    def describe_stray(self, uuid: UUID, name: str) -> None:
        self.host.require(uuid)
        self.host.told("describe", self.host.name(uuid))

    def revert(self, uuid: UUID, name: str, *, live: bool) -> None:
        self.host.require(uuid)
        self.host.told("revert", self.host.name(uuid))
        self.host.state(uuid, DomainState.PAUSED if live else DomainState.SHUTOFF)
        self.host.nonces[uuid] = self.host.kept[uuid, name]

    def delete(self, uuid: UUID, name: str) -> bool:
        if name not in self.host.images.get(uuid, ()):
            return False
        self.host.told("delete snapshot", self.host.name(uuid))
        self.host.images[uuid].remove(name)
        return True

    def forget(self, uuid: UUID, name: str) -> bool:
        self.host.told("forget", self.host.name(uuid))
        return name in self.host.images.get(uuid, ())

    def definition(self, uuid: UUID) -> str:
        return definition(self.host.require(uuid))

    def define(self, xml: str) -> None:
        found = parse_domain(
            xml, state=DomainState.SHUTOFF, has_managed_save=False, snapshots=0, bridges={}
        )
        self.host.told("define", found.name)
        self.host.domains[found.uuid] = found

    def resident_bytes(self, uuid: UUID) -> int:
        self.host.require(uuid)
        return 2**28

    def set_time(self, uuid: UUID, *, timeout: int) -> bool:
        return self.host.agents

    def agent_write(self, uuid: UUID, path: str, text: str, *, timeout: int) -> bool:
        if self.host.agents:
            self.host.nonces[uuid] = text.strip()
        return self.host.agents

    def agent_flush(self, uuid: UUID, *, timeout: int) -> bool:
        if self.host.agents:
            self.host.told("flush", self.host.name(uuid))
        return self.host.agents

    def thaw(self, uuid: UUID, *, timeout: int) -> None:
        self.host.told("thaw", self.host.name(uuid))


def _volume(name: str) -> VolumeInfo:
    return VolumeInfo(
        name=name,
        path=POOL_PATH / name,
        pool="default",
        allocation_bytes=2**20,
        physical_bytes=2**20,
        format="qcow2",
        backing_path=None,
    )
