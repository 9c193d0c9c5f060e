"""The shape of lab.yaml: every key, its type, its bounds and its description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from labkit.lab.topology import Release
from labkit.lab.types import (
    DEFAULT_DISK_GIB,
    VAULTS,
    Address,
    AnswerKey,
    AnswerValue,
    BoxName,
    BridgeName,
    Cidr,
    Cpus,
    DiskGib,
    DomainName,
    Edge,
    Flag,
    FormName,
    HostName,
    IfcfgKey,
    IfcfgValue,
    KeyFile,
    Lifetime,
    Mac,
    MemoryMib,
    Minutes,
    ModeName,
    Mtu,
    Name,
    NicName,
    PhysicalNetwork,
    PoolName,
    ReleaseName,
    RoleName,
    ScenarioName,
    Tree,
    Url,
)


class UnreadError(AttributeError):
    """A rule asked for what a lab file with faults does not tell."""


class Part(Edge):
    """A part of lab.yaml; a key whose own fault has been reported can be asked for and raises."""

    if not TYPE_CHECKING:  # mypy would take any name for an attribute

        def __getattr__(self, name):  # noqa: ANN001, ANN204 -- as above
            """Refuse a key that is left out because of its fault.

            Raises:
                UnreadError: Always, for a key of this part.
            """
            if name in type(self).model_fields:
                raise UnreadError(name)
            return super().__getattr__(name)


class Dns(Part):
    """Name resolution inside the guests."""

    servers: tuple[Address, ...] = Field(
        default=(),
        max_length=3,
        description="Name servers for /etc/resolv.conf; the resolver reads at most 3.",
    )
    domain: DomainName = Field(description="Domain of the nodes' host names.")


class Network(Part):
    """A network the nodes' cards are plugged into."""

    mode: ModeName = Field(
        description=(
            "nat: labkit makes a libvirt network with a way out; bridge: an existing bridge of the "
            "host, left as it is; isolated: labkit makes a libvirt network without a way out."
        )
    )
    cidr: Cidr = Field(description="Its address range, such as 172.16.208.0/24.")
    gateway: Address | None = Field(
        default=None,
        description=(
            "nat and isolated: the address the host has on the network (needed for nat); "
            "bridge: the router the guests use, if any."
        ),
    )
    bridge: BridgeName | None = Field(
        default=None, description="The host's bridge; for mode bridge only, and needed there."
    )
    mtu: Mtu | None = Field(
        default=None,
        description=(
            "Largest packet in bytes, for the network and every card in it; not more than the "
            "bridge's own in mode bridge. Left as it is, mostly 1500, when left out."
        ),
    )


class Nic(Part):
    """A network card; its key is the name the guest gives it, `enp0s<PCI slot>`."""

    network: Name = Field(description="Key of the network it is plugged into.")
    address: Address = Field(description="Its static IPv4 address, without a prefix length.")
    mac: Mac | None = Field(
        default=None, description="Its MAC address; derived from lab, node and card when left out."
    )
    gateway: Flag = Field(
        default=True, description="false: leave the network's gateway out of this card's ifcfg."
    )
    ifcfg: Mapping[IfcfgKey, IfcfgValue] = Field(
        default={},
        description=(
            "Further ifcfg keys, or other values for keys labkit writes, such as UUID or DEFROUTE."
        ),
    )


class Node(Part):
    """A virtual machine."""

    roles: tuple[RoleName, ...] = Field(
        min_length=1, description="What it does in OpenStack; exactly one node is the controller."
    )
    cpus: Cpus = Field(description="Number of virtual CPUs.")
    memory: MemoryMib = Field(
        description="Memory with its unit, such as '8 GiB', '8G' or '512 MiB'."
    )
    disk: DiskGib = Field(
        default=DEFAULT_DISK_GIB,
        description=(
            "Virtual size of the disk in whole GiB; takes up on the host only what the guest "
            f"writes. Packstack needs 50 GiB. {DEFAULT_DISK_GIB} GiB when left out."
        ),
        # The plain number would tell an editor's user to leave the unit out.
        json_schema_extra={"default": f"{DEFAULT_DISK_GIB} GiB"},
    )
    nics: Mapping[NicName, Nic] = Field(
        min_length=1,
        max_length=8,
        description="Its network cards; labkit connects to the first one.",
    )


class Deployment(Part):
    """What Packstack installs in the nodes."""

    scenario: ScenarioName = Field(
        description="What to install: one of those that 'labkit scenarios' lists."
    )
    form: FormName | None = Field(
        default=None,
        description=(
            "How Packstack is told: options of its command, or an answer file; when left out, "
            "command for allinone, answer-file for the others."
        ),
    )
    lbaas: Flag = Field(
        default=False, description="true: also install the load balancer agent (LBaaS v2)."
    )
    external_nic: NicName | None = Field(
        default=None,
        description="The network nodes' card that moves into br-ex; their first when left out.",
    )
    external_bridge: BridgeName = Field(
        default="br-ex", description="Open vSwitch bridge to the outside."
    )
    physical_network: PhysicalNetwork = Field(
        default="extnet", description="Neutron's name for the network behind that bridge."
    )
    tunnel_nic: NicName | None = Field(
        default=None,
        description="The card that carries the VXLAN tunnels, on every node; the second when left out.",
    )
    answers: Mapping[AnswerKey, AnswerValue] = Field(
        default={},
        repr=False,
        description="Further answer-file keys, or other values for keys that labkit sets.",
    )
    hung_minutes: Minutes = Field(
        default=30,
        description="Minutes without any sign of progress after which 'deploy' reports a hung run.",
    )


class Repos(Part):
    """Where the nodes get their packages, now that CentOS 7's mirrors are gone."""

    release: Tree = Field(
        default="7.9.2009", description="CentOS 7 release tree; one tree for all packages."
    )
    base: Url = Field(
        default=VAULTS[0],
        repr=False,
        description="Where the release trees are: a vault or your own mirror.",
    )
    fallbacks: tuple[Url, ...] = Field(
        default=VAULTS[1:],
        max_length=5,
        repr=False,
        description="Used in order when the base does not answer.",
    )
    proxy: Url | None = Field(
        default=None, repr=False, description="HTTP proxy for the nodes' yum."
    )
    keys: tuple[KeyFile, ...] = Field(
        default=(),
        min_length=1,
        description=(
            "Files of this host, relative to the lab file and named as CentOS names them, with the "
            "keys of the special interest groups. Nodes then do without the release package, which "
            "brings these keys otherwise."
        ),
    )


class Lab(Part):
    """A lab: networks and the nodes on them."""

    name: Name = Field(description="Name of the lab, part of every name on the host.")
    box: BoxName = Field(description="The box the nodes start from, such as centos7 or rehearsal.")
    release: ReleaseName = Field(
        default=Release.QUEENS,
        description="The release of OpenStack: queens, rocky, stein or train.",
    )
    pool: PoolName = Field(
        default="default",
        description="libvirt's storage pool for the nodes' disks.",
    )
    dns: Dns = Field(description="Name servers and domain of the guests.")
    networks: Mapping[Name, Network] = Field(
        min_length=1, description="The lab's networks by name."
    )
    nodes: Mapping[HostName, Node] = Field(
        min_length=1, description="The lab's nodes by name; the name is the short host name too."
    )
    deployment: Deployment | None = Field(
        default=None,
        description=(
            "What Packstack installs; when left out, multinode for several nodes, allinone for one."
        ),
    )
    repos: Repos = Field(default=Repos(), description="Where the nodes get their packages.")
    expires: Lifetime | None = Field(
        default=None,
        description=(
            "How long after its last 'labkit up' the lab may be removed by 'labkit sweep', such as "
            "'12h' or '3d'; never when left out."
        ),
    )

    def network_of(self, nic: Nic) -> Network:
        """Return the network a card is plugged into.

        Raises:
            UnreadError: The lab file has no network of that name, which a rule reports.
        """
        if nic.network not in self.networks:
            raise UnreadError(nic.network)
        return self.networks[nic.network]
