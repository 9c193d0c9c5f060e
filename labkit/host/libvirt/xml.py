"""What libvirt's XML says about domains, networks and volumes, as frozen records; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping

AGENT_PORT = "devices/channel/target[@name='org.qemu.guest_agent.0']"

# libvirt writes no other units, whatever it was given.
_UNIT_BYTES = {"bytes": 1, "KiB": 1024}


class DomainState(StrEnum):
    """libvirt's virDomainState, in virsh's terms made single words."""

    NOSTATE = "nostate"
    RUNNING = "running"
    BLOCKED = "blocked"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"  # on its way down
    SHUTOFF = "shutoff"
    CRASHED = "crashed"
    SUSPENDED = "suspended"  # by the guest's own power management


@dataclass(frozen=True, slots=True, kw_only=True)
class NicInfo:
    """A network card of a domain.

    Attributes:
        mac: Lower case with colons.
        bridge: The host bridge it is plugged into; None when libvirt does not say.
        pci: Its address in the guest, `0000:00:03.0`; None when it has none yet.
    """

    mac: str
    bridge: str | None
    pci: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskInfo:
    """A disk or CD-ROM of a domain.

    Attributes:
        path: Its image file; None for an empty drive or something that is no file.
        device: `disk` or `cdrom`.
    """

    path: Path | None
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainInfo:
    """A domain as libvirt knows it.

    Attributes:
        name: Its name.
        uuid: Its UUID, the mark labkit recognises its own domains by.
        state: What it does right now.
        vcpus: Virtual CPUs it has now.
        memory_mib: Its memory in MiB.
        domain_type: `kvm` or `qemu`.
        description: Free text of its definition; empty when there is none.
        nics: Its network cards in definition order.
        disks: Its disks and CD-ROMs in definition order.
        agent_connected: Whether the QEMU guest agent has its port open, as far as libvirt knows.
        has_managed_save: Whether a memory image waits for the next start.
        snapshots: Number of snapshots libvirt holds metadata for.
    """

    name: str
    uuid: UUID
    state: DomainState
    vcpus: int
    memory_mib: int
    domain_type: str
    description: str
    nics: tuple[NicInfo, ...]
    disks: tuple[DiskInfo, ...]
    agent_connected: bool
    has_managed_save: bool
    snapshots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInfo:
    """A network that libvirt manages.

    Attributes:
        name: Its name.
        uuid: Its UUID, the mark labkit recognises its own networks by.
        bridge: Its bridge device; None for a network without one.
        active: Whether its bridge is up.
        forward: `nat`, `route`, `bridge` and so on; None for an isolated network.
        addresses: The host's own addresses on the bridge, prefix included.
        mtu: Largest packet of bridge and taps in bytes; None where libvirt leaves it as it is.
    """

    name: str
    uuid: UUID
    bridge: str | None
    active: bool
    forward: str | None
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    mtu: int | None = None

    def __str__(self) -> str:
        """Return how it is made, in words."""
        addresses = ", ".join(str(item) for item in self.addresses) or "without an address"
        mtu = "" if self.mtu is None else f", mtu {self.mtu}"
        return f"'{self.name}' ({self.forward or 'isolated'}) on '{self.bridge}' {addresses}{mtu}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeInfo:
    """A volume of a storage pool.

    Attributes:
        name: Its name inside the pool.
        path: Its file.
        pool: The pool it is in.
        allocation_bytes: Space it takes on the host.
        physical_bytes: Length of its file.
        format: `qcow2`, `raw`, `iso` and so on, as libvirt probed it.
        backing_path: The image it is based on; None when it stands alone.
    """

    name: str
    path: Path
    pool: str
    allocation_bytes: int
    physical_bytes: int
    format: str
    backing_path: Path | None


def parse_domain(
    text: str,
    *,
    state: DomainState,
    has_managed_save: bool,
    snapshots: int,
    bridges: Mapping[str, str],
) -> DomainInfo:
    """Return the record of a domain.

    Args:
        text: Its XML.
        state: Its state, which the XML does not hold.
        has_managed_save: Whether it has a managed save image.
        snapshots: How many snapshots it has.
        bridges: Bridge by libvirt network name, for cards whose XML names only the network,
            as it does while a domain is off.
    """
    root = _parse(text)
    vcpu = root.find("vcpu")
    vcpus = "" if vcpu is None else vcpu.get("current") or vcpu.text or ""
    return DomainInfo(
        name=_text(root, "name"),
        uuid=UUID(_text(root, "uuid")),
        state=state,
        vcpus=int(vcpus or 1),
        memory_mib=_size(root.find("memory"), unit="KiB") // 2**20,
        domain_type=root.get("type", ""),
        description=_text(root, "description"),
        nics=tuple(_nic(item, bridges) for item in root.iterfind("devices/interface")),
        disks=tuple(_disk(item) for item in root.iterfind("devices/disk")),
        agent_connected=_attribute(root, AGENT_PORT, "state") == "connected",
        has_managed_save=has_managed_save,
        snapshots=snapshots,
    )


def parse_network(text: str, *, active: bool) -> NetworkInfo:
    """Return the record of a network.

    Args:
        text: Its XML.
        active: Whether it runs, which the XML does not hold.
    """
    root = _parse(text)
    forward = root.find("forward")
    return NetworkInfo(
        name=_text(root, "name"),
        # libvirt makes up the UUID of a definition without one; the zero UUID matches nothing.
        uuid=UUID(_text(root, "uuid") or "0" * 32),
        bridge=_attribute(root, "bridge", "name"),
        active=active,
        forward=None if forward is None else forward.get("mode", "nat"),
        addresses=tuple(_address(item) for item in root.iterfind("ip[@address]")),
        mtu=int(_attribute(root, "mtu", "size") or 0) or None,
    )


def parse_volume(text: str, *, pool: str) -> VolumeInfo:
    """Return the record of a volume of the pool `pool`."""
    root = _parse(text)
    path = _text(root, "target/path") or _text(root, "key")
    backing = _text(root, "backingStore/path")
    return VolumeInfo(
        name=_text(root, "name"),
        path=Path(path),
        pool=pool,
        allocation_bytes=_size(root.find("allocation")),
        physical_bytes=_size(root.find("physical")),
        format=_attribute(root, "target/format", "type") or "raw",
        backing_path=Path(backing) if backing else None,
    )


def parse_pool(text: str) -> tuple[str, Path | None]:
    """Return a pool's type and directory from its XML; None for a pool that has none."""
    root = _parse(text)
    path = _text(root, "target/path")
    return root.get("type", ""), Path(path) if path else None


def parse_offers_kvm(text: str) -> bool:
    """Return whether a domain capabilities document, which is of the fastest kind, is of KVM."""
    return _text(_parse(text), "domain") == "kvm"


def volume_xml(name: str, *, mode: int) -> str:
    """Return the definition of an empty volume that grows as it is written.

    Capacity 0 is the point: the file's length is then exactly what has arrived, so a partial
    upload can be told by its length. libvirt reads format and virtual size from the image's own
    header once it is complete.
    """
    root = ET.Element("volume")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "capacity").text = "0"
    ET.SubElement(root, "allocation").text = "0"
    target = ET.SubElement(root, "target")
    ET.SubElement(target, "format", type="raw")
    ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = f"{mode:04o}"
    return ET.tostring(root, encoding="unicode")


def pool_xml(name: str, path: Path) -> str:
    """Return the definition of a directory pool."""
    root = ET.Element("pool", type="dir")
    ET.SubElement(root, "name").text = name
    ET.SubElement(ET.SubElement(root, "target"), "path").text = str(path)
    return ET.tostring(root, encoding="unicode")


def _parse(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 -- written by libvirtd or by labkit itself


def _text(node: ET.Element, path: str) -> str:
    return (node.findtext(path) or "").strip()


def _attribute(node: ET.Element, path: str, name: str) -> str | None:
    found = node.find(path)
    return None if found is None else found.get(name)


def _size(node: ET.Element | None, *, unit: str = "bytes") -> int:
    """Return a size in bytes; libvirt's default unit differs from element to element."""
    if node is None or not node.text:
        return 0
    return int(node.text) * _UNIT_BYTES[node.get("unit", unit)]


def _nic(node: ET.Element, bridges: Mapping[str, str]) -> NicInfo:
    network = _attribute(node, "source", "network")
    bridge = _attribute(node, "source", "bridge")
    if bridge is None and network is not None:
        bridge = bridges.get(network)
    return NicInfo(
        mac=(_attribute(node, "mac", "address") or "").lower(),
        bridge=bridge,
        pci=_pci(node.find("address[@type='pci']")),
    )


def _pci(node: ET.Element | None) -> str | None:
    if node is None:
        return None
    part = {key: int(node.get(key, "0"), 16) for key in ("domain", "bus", "slot", "function")}
    return "{domain:04x}:{bus:02x}:{slot:02x}.{function:x}".format(**part)


def _disk(node: ET.Element) -> DiskInfo:
    path = _attribute(node, "source", "file")
    return DiskInfo(path=Path(path) if path else None, device=node.get("device", "disk"))


def _address(node: ET.Element) -> IPv4Interface | IPv6Interface:
    suffix = node.get("prefix") or node.get("netmask")
    address = node.get("address", "")
    return ip_interface(f"{address}/{suffix}" if suffix else address)
