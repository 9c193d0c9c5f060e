"""Small resolved labs for tests, made without reading a file."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from uuid import UUID, uuid5

from labkit.lab.topology import (
    Deployment,
    Form,
    NetworkMode,
    Release,
    Repositories,
    ResolvedLab,
    ResolvedNetwork,
    ResolvedNic,
    ResolvedNode,
)

LAB_ID = UUID("11111111-2222-4333-8444-555555555555")


def network(name: str = "lan", *, mode: NetworkMode = NetworkMode.NAT) -> ResolvedNetwork:
    return ResolvedNetwork(
        name=name,
        mode=mode,
        bridge="br0" if mode is NetworkMode.BRIDGE else f"lk{name}",
        libvirt_name=None if mode is NetworkMode.BRIDGE else f"demo_{name}",
        uuid=uuid5(LAB_ID, f"network/{name}"),
        cidr=IPv4Network("172.16.208.0/24"),
        gateway=IPv4Address("172.16.208.254"),
    )


def node(name: str, number: int, plugged: ResolvedNetwork, *, cpus: int = 2) -> ResolvedNode:
    nics = tuple(
        ResolvedNic(
            name=f"enp0s{slot}",
            slot=slot,
            mac=f"52:54:00:00:{number:02x}:{slot:02x}",
            network=plugged,
            address=IPv4Interface(f"172.16.208.{number + slot}/24"),
            ifcfg=(("DEVICE", f"enp0s{slot}"),),
        )
        for slot in (3, 8)
    )
    return ResolvedNode(
        name=name,
        fqdn=f"{name}.lab.example",
        domain=f"demo_{name}",
        uuid=uuid5(LAB_ID, f"node/{name}"),
        roles=("controller", "network") if name == "controller" else ("compute",),
        cpus=cpus,
        memory_mib=2048,
        disk_gib=60,
        nics=nics,
    )


def lab(*names: str, plugged: ResolvedNetwork | None = None) -> ResolvedLab:
    lan = plugged or network()
    chosen = names or ("controller", "compute")
    return ResolvedLab(
        name="demo",
        lab_id=LAB_ID,
        box="rehearsal",
        release=Release.QUEENS,
        pool="default",
        networks=(lan,),
        nodes=tuple(node(name, 10 * (i + 1), lan) for i, name in enumerate(chosen)),
        dns_servers=(),
        dns_domain="lab.example",
        deployment=deployment(),
        obstacles=(),
        repositories=Repositories(
            tree="7.9.2009", bases=("https://vault.centos.org",), proxy=None
        ),
        lifetime_seconds=None,
    )


def deployment(scenario: str = "multinode", *, lbaas: bool = True) -> Deployment:
    return Deployment(
        scenario=scenario,
        form=Form.ANSWER_FILE,
        lbaas=lbaas,
        external_nic="enp0s3",
        external_bridge="br-ex",
        physical_network="extnet",
        tunnel_nic="enp0s8",
        answers=(),
        hung_minutes=30,
    )
