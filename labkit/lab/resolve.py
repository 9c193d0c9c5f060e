"""Turns a checked lab file into the resolved lab: derives what it leaves open, decides nothing twice."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

from labkit.lab.outline import Outline
from labkit.lab.rules import judge
from labkit.lab.topology import (
    Deployment,
    NetworkMode,
    Repositories,
    ResolvedLab,
    ResolvedNetwork,
    ResolvedNic,
    ResolvedNode,
    network_uuid,
    nic_slot,
    node_uuid,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address
    from uuid import UUID

    from labkit.lab.model import Lab, Network, Nic, Node

# QEMU's and KVM's locally used prefix; libvirt generates the same.
MAC_PREFIX = "52:54:00"
# Kept short for the 15 characters of an interface name; it starts like no name of
# vagrant-libvirt's excluded devices.
BRIDGE_PREFIX = "lk"


def resolve(lab: Lab, *, lab_id: UUID) -> ResolvedLab:
    """Return the lab with every name, address, MAC and slot decided.

    The same lab file and id give the same result on every host.

    Args:
        lab: A lab that `labkit.lab.file` found no fault with.
        lab_id: Identifies this very lab; all UUIDs are derived from it.
    """
    outline = Outline(lab)
    networks = {
        name: _network(lab, name, network, lab_id=lab_id) for name, network in lab.networks.items()
    }
    macs = _macs(lab)
    nodes = tuple(
        _node(outline, name, node, lab_id=lab_id, networks=networks, macs=macs)
        for name, node in lab.nodes.items()
    )
    return ResolvedLab(
        name=lab.name,
        lab_id=lab_id,
        box=lab.box,
        release=lab.release,
        pool=lab.pool,
        networks=tuple(networks.values()),
        nodes=nodes,
        dns_servers=lab.dns.servers,
        dns_domain=lab.dns.domain,
        deployment=_deployment(outline),
        obstacles=tuple(
            breach for rule in outline.scenario.rules for breach in judge(rule, outline)
        ),
        repositories=Repositories(
            tree=lab.repos.release,
            bases=tuple(
                dict.fromkeys(url.rstrip("/") for url in (lab.repos.base, *lab.repos.fallbacks))
            ),
            proxy=lab.repos.proxy,
            keys=lab.repos.keys,
        ),
        lifetime_seconds=lab.expires,
    )


def _deployment(outline: Outline) -> Deployment:
    asked = outline.asked
    return Deployment(
        scenario=asked.scenario,
        form=outline.form,
        lbaas=asked.lbaas,
        external_nic=outline.external_nic,
        external_bridge=asked.external_bridge,
        physical_network=asked.physical_network,
        tunnel_nic=outline.tunnel_nic,
        answers=tuple(asked.answers.items()),
        hung_minutes=asked.hung_minutes,
    )


def derived_bridge(lab: str, network: str) -> str:
    """Return the name of the bridge labkit makes for a network, 12 characters."""
    digest = hashlib.sha256(f"{lab}/{network}".encode()).hexdigest()
    return f"{BRIDGE_PREFIX}{digest[:10]}"


def _network(lab: Lab, name: str, network: Network, *, lab_id: UUID) -> ResolvedNetwork:
    ours = network.mode is not NetworkMode.BRIDGE
    return ResolvedNetwork(
        name=name,
        mode=network.mode,
        bridge=network.bridge or derived_bridge(lab.name, name),
        libvirt_name=f"{lab.name}_{name}" if ours else None,
        uuid=network_uuid(lab_id, name),
        cidr=network.cidr,
        gateway=network.gateway,
        mtu=network.mtu,
    )


def _macs(lab: Lab) -> dict[tuple[str, str], str]:
    """Return each card's MAC; those of the file first, so that a derived one evades them."""
    cards = [
        ((node_name, nic_name), nic)
        for node_name, node in lab.nodes.items()
        for nic_name, nic in node.nics.items()
    ]
    macs = {key: nic.mac for key, nic in cards if nic.mac is not None}
    taken = set(macs.values())
    for (node_name, nic_name), nic in cards:
        if nic.mac is not None:
            continue
        seed = f"{lab.name}/{node_name}/{nic_name}"
        attempt = 0
        mac = _derived_mac(seed)
        while mac in taken:
            attempt += 1
            mac = _derived_mac(f"{seed}/{attempt}")
        taken.add(mac)
        macs[node_name, nic_name] = mac
    return macs


def _derived_mac(seed: str) -> str:
    digest = hashlib.sha256(seed.encode()).digest()
    return ":".join([MAC_PREFIX, *(f"{octet:02x}" for octet in digest[:3])])


def _node(
    outline: Outline,
    name: str,
    node: Node,
    *,
    lab_id: UUID,
    networks: Mapping[str, ResolvedNetwork],
    macs: Mapping[tuple[str, str], str],
) -> ResolvedNode:
    lab = outline.lab
    return ResolvedNode(
        name=name,
        fqdn=f"{name}.{lab.dns.domain}",
        domain=f"{lab.name}_{name}",
        uuid=node_uuid(lab_id, name),
        roles=tuple(str(role) for role in node.roles),
        cpus=node.cpus,
        memory_mib=node.memory,
        disk_gib=node.disk,
        nics=tuple(
            _nic(outline, nic_name, nic, network=networks[nic.network], mac=macs[name, nic_name])
            for nic_name, nic in node.nics.items()
        ),
    )


def _nic(
    outline: Outline, name: str, nic: Nic, *, network: ResolvedNetwork, mac: str
) -> ResolvedNic:
    slot = nic_slot(name)
    if slot is None:
        msg = f"'{name}' has no PCI slot in it"
        raise ValueError(msg)
    address = IPv4Interface(f"{nic.address}/{network.cidr.prefixlen}")
    return ResolvedNic(
        name=name,
        slot=slot,
        mac=mac,
        network=network,
        address=address,
        ifcfg=_ifcfg(name, nic, address=address, gateway=outline.gateway(nic), mtu=network.mtu),
    )


def _ifcfg(
    name: str,
    nic: Nic,
    *,
    address: IPv4Interface,
    gateway: IPv4Address | None,
    mtu: int | None,
) -> tuple[tuple[str, str], ...]:
    """Return the file's keys in the order of the Packstack walk-through this lab follows.

    puppet-vswitch copies them in file order when it turns the card into a port of br-ex.
    """
    keys = {
        "TYPE": "Ethernet",
        "BOOTPROTO": "static",
        "IPADDR": str(address.ip),
        "NETMASK": str(address.netmask),
        "GATEWAY": str(gateway or ""),
        "NM_CONTROLLED": "no",
        "DEFROUTE": "yes" if gateway else "no",
        "PEERDNS": "yes",
        "PEERROUTES": "yes",
        "IPV4_FAILURE_FATAL": "no",
        "IPV6INIT": "yes",
        "IPV6_AUTOCONF": "yes",
        "IPV6_DEFROUTE": "yes",
        "IPV6_PEERDNS": "yes",
        "IPV6_PEERROUTES": "yes",
        "IPV6_FAILURE_FATAL": "no",
        "NAME": name,
        "UUID": nic.ifcfg.get("UUID", ""),
        "DEVICE": name,
        "ONBOOT": "yes",
        "MTU": str(mtu or ""),
    }
    extras = {key: value for key, value in nic.ifcfg.items() if key != "UUID"}
    if not gateway:
        del keys["GATEWAY"]
    if not mtu:
        del keys["MTU"]
    if "UUID" not in nic.ifcfg:
        del keys["UUID"]
    return tuple((keys | extras).items())
