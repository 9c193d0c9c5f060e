"""The resolved lab: every name, address, MAC and slot decided, nothing left to guess."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from ipaddress import IPv4Interface, IPv4Network

    from labkit.lab.rules import Breach

# The XML namespace of the mark labkit leaves in what it defines in libvirt.
LAB_NAMESPACE = "https://labkit.invalid/xmlns/lab/1"
# Of a bridge that nobody says anything about; libvirt and the kernel agree.
ETHERNET_MTU = 1500


class NetworkMode(StrEnum):
    """How a lab network reaches the world."""

    NAT = "nat"  # a libvirt network whose bridge owns the gateway address, with NAT outwards
    BRIDGE = "bridge"  # an existing bridge of the host; labkit never creates or removes it
    ISOLATED = "isolated"  # a libvirt network without any way out


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedNetwork:
    """A network as libvirt and the host know it.

    Attributes:
        name: Its key in lab.yaml.
        mode: nat, bridge or isolated.
        bridge: The host's bridge device, at most 15 characters.
        libvirt_name: `<lab>_<network>`; None for mode bridge, which libvirt does not manage.
        uuid: The libvirt network's UUID, derived from lab id and name: the mark of ownership.
        cidr: The address range.
        gateway: The gateway inside `cidr`; None when there is none.
        mtu: Largest packet in bytes; None where the lab file does not say.
    """

    name: str
    mode: NetworkMode
    bridge: str
    libvirt_name: str | None
    uuid: UUID
    cidr: IPv4Network
    gateway: IPv4Address | None
    mtu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedNic:
    """A network card of a node.

    Attributes:
        name: What the guest calls it: `enp0s<slot>`.
        slot: Its slot on pcie.0, 1 to 31.
        mac: Lower case, colons, 52:54:00 in front unless lab.yaml gives one.
        network: The network it is plugged into.
        address: Its static address with the network's prefix length.
        ifcfg: Every key and value of its ifcfg file, in file order.
    """

    name: str
    slot: int
    mac: str
    network: ResolvedNetwork
    address: IPv4Interface
    ifcfg: tuple[tuple[str, str], ...]

    @property
    def way_out(self) -> IPv4Address | None:
        """Return the gateway its file sets the default route to, None without one.

        DEFROUTE=no, in these letters, is what keeps the network scripts from it (initscripts 9.49,
        ifup-eth).
        """
        keys = dict(self.ifcfg)
        gateway = keys.get("GATEWAY")
        return None if gateway is None or keys.get("DEFROUTE") == "no" else IPv4Address(gateway)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedNode:
    """A virtual machine of the lab.

    Attributes:
        name: Its key in lab.yaml: also Vagrant's machine name and the guest's short host name.
        fqdn: Its full host name.
        domain: libvirt's domain name, `<lab>_<node>`.
        uuid: The domain's UUID, derived from lab id and node name: the mark of ownership.
        roles: controller, network, compute; in file order.
        cpus: Number of virtual CPUs.
        memory_mib: Memory in MiB.
        disk_gib: Virtual size of the disk in GiB.
        nics: Its network cards in file order; the first is the one labkit connects to.
    """

    name: str
    fqdn: str
    domain: str
    uuid: UUID
    roles: tuple[str, ...]
    cpus: int
    memory_mib: int
    disk_gib: int
    nics: tuple[ResolvedNic, ...]

    @property
    def disk_volume(self) -> str:
        """Return the name vagrant-libvirt gives the node's disk in the storage pool."""
        return f"{self.domain}.img"

    @property
    def seed_volume(self) -> str:
        """Return the name of the pool volume that holds the node's seed."""
        return f"{self.domain}_seed.iso"


class Release(StrEnum):
    """A release of OpenStack, as lab.yaml names it."""

    QUEENS = "queens"
    ROCKY = "rocky"
    STEIN = "stein"
    TRAIN = "train"


class Form(StrEnum):
    """How Packstack is told what to install."""

    COMMAND = "command"  # options of the packstack command
    ANSWER_FILE = "answer-file"  # packstack --answer-file


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What Packstack is asked to install.

    Attributes:
        scenario: Name of a scenario in `labkit.lab.scenarios`.
        form: Command line or answer file.
        lbaas: Whether the load balancer agent is installed on the network nodes.
        external_nic: The card that becomes a port of `external_bridge` on network nodes.
        external_bridge: The bridge to the outside, br-ex.
        physical_network: Neutron's name for what `external_bridge` leads to.
        tunnel_nic: The card whose address ends the VXLAN tunnels, the same name on all nodes.
        answers: Packstack's answer-file keys set by the lab file, over everything else.
        hung_minutes: Minutes without any sign of progress after which a run counts as hung.
    """

    scenario: str
    form: Form
    lbaas: bool
    external_nic: str
    external_bridge: str
    physical_network: str
    tunnel_nic: str
    answers: tuple[tuple[str, str], ...] = field(repr=False)
    hung_minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """Where the guests get their packages.

    Attributes:
        tree: CentOS release tree, such as 7.9.2009.
        bases: URLs the release trees lie under, in the order they are tried.
        proxy: HTTP proxy for yum; None for none.
        keys: Paths of the files with the groups' keys, as the lab file has them; none where the
            release's package brings the keys.
    """

    tree: str
    bases: tuple[str, ...] = field(repr=False)
    proxy: str | None = field(repr=False)
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedLab:
    """The whole lab, frozen.

    Attributes:
        name: The lab's name, part of every name on the host.
        lab_id: Identifies this very lab on this host; all UUIDs are derived from it.
        box: Name of the box its nodes start from.
        release: The release of OpenStack that is installed.
        pool: libvirt's storage pool for the nodes' disks.
        networks: All networks in file order.
        nodes: All nodes in file order.
        dns_servers: Name servers for the guests' resolv.conf.
        dns_domain: The domain of the nodes' host names.
        deployment: What Packstack is asked to install.
        obstacles: What keeps it from being installed; none for a lab file that has the key
            `deployment`, as they are problems of that file then.
        repositories: Where the guests get their packages.
        lifetime_seconds: How long after the last `up` the lab expires; None for never.
    """

    name: str
    lab_id: UUID
    box: str
    release: Release
    pool: str
    networks: tuple[ResolvedNetwork, ...]
    nodes: tuple[ResolvedNode, ...]
    dns_servers: tuple[IPv4Address, ...]
    dns_domain: str
    deployment: Deployment
    obstacles: tuple[Breach, ...]
    repositories: Repositories
    lifetime_seconds: int | None

    def node(self, name: str) -> ResolvedNode | None:
        """Return the node of that name, or None."""
        return next((node for node in self.nodes if node.name == name), None)


def node_uuid(lab_id: UUID, name: str) -> UUID:
    """Return the domain UUID a node of this lab has, now or in an earlier lab.yaml."""
    return uuid5(lab_id, f"node/{name}")


def network_uuid(lab_id: UUID, name: str) -> UUID:
    """Return the libvirt network UUID a network of this lab has."""
    return uuid5(lab_id, f"network/{name}")


def nic_slot(name: str) -> int | None:
    """Return the PCI slot in a card's name `enp0s<slot>`, or None when it is no such name.

    systemd prints the slot in decimal (udev-builtin-net_id.c).
    """
    match = re.fullmatch(r"enp0s([0-9]{1,3})", name)
    return int(match[1]) if match else None
