"""Checks of the addresses: which device has which after Packstack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab import deployment
from labkit.verify import expected
from labkit.verify.check import Judgement, Subject, check
from labkit.verify.checks.bridges import attached_nodes
from labkit.verify.outputs import Kind
from labkit.verify.parsers import ip_addr

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Interface

    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.verify.parsers.ip_addr import Link


def several_tunnel_ends(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the network and compute nodes, where there is more than one."""
    ends = expected.agent_nodes(lab)
    return ends if len(ends) > 1 else ()


def unattached_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the nodes that keep their address on their first card."""
    attached = {node.name for node in attached_nodes(lab)}
    return tuple(
        node
        for node in deployment.deployed_nodes(lab)
        if node.name not in attached or node.nics[0].name != lab.deployment.external_nic
    )


def _described(links: Mapping[str, Link], name: str) -> str:
    link = links.get(name)
    if link is None:
        return f"no device {name}"
    addresses = ", ".join(str(address) for address in link.addresses) or "no IPv4 address"
    return f"{name} {'up' if link.up else 'down'} with {addresses}"


def _has(subject: Subject, device: str, address: IPv4Interface) -> Judgement:
    links = ip_addr.parse(subject.texts[Kind.IP_ADDR])
    link = links.get(device)
    return Judgement(
        ok=link is not None and link.up and address in link.addresses,
        expected=f"{device} up with {address}",
        seen=_described(links, device),
    )


def _nic_address(node: ResolvedNode, name: str) -> IPv4Interface:
    return next(nic.address for nic in node.nics if nic.name == name)


@check(
    id="external-address",
    summary="The external card's address is on the external bridge.",
    nodes=attached_nodes,
    needs=(Kind.IP_ADDR,),
)
def external_address(subject: Subject) -> Judgement:
    """br-ex is up and has the address and prefix length that lab.yaml gives the external card.

    It may have further addresses.
    """
    asked = subject.lab.deployment
    return _has(subject, asked.external_bridge, _nic_address(subject.node, asked.external_nic))


@check(
    id="external-nic-bare",
    summary="The external card itself has no IPv4 address any more.",
    nodes=attached_nodes,
    needs=(Kind.IP_ADDR,),
)
def external_nic_bare(subject: Subject) -> Judgement:
    """An address left there takes the traffic that br-ex should carry."""
    name = subject.lab.deployment.external_nic
    links = ip_addr.parse(subject.texts[Kind.IP_ADDR])
    link = links.get(name)
    return Judgement(
        ok=link is not None and link.up and not link.addresses,
        expected=f"{name} up with no IPv4 address",
        seen=_described(links, name),
    )


@check(
    id="external-mac",
    summary="The external bridge has the MAC address of the external card.",
    nodes=attached_nodes,
    needs=(Kind.IP_ADDR,),
)
def external_mac(subject: Subject) -> Judgement:
    """Open vSwitch gives a bridge the MAC of its port; another MAC means that the card is none.

    The two are compared with each other, not with lab.yaml. A locally administered MAC, such as
    52:54:00 of QEMU's cards, is never taken over (find_local_hw_addr of Open vSwitch's
    vswitchd/bridge.c): the bridge then has one that Open vSwitch made up, locally administered too.
    Of several ports it takes the lowest, so the MAC of another card is right as well.
    """
    asked = subject.lab.deployment
    links = ip_addr.parse(subject.texts[Kind.IP_ADDR])
    bridge, nic = (links.get(name) for name in (asked.external_bridge, asked.external_nic))
    macs = [link.mac if link else "" for link in (bridge, nic)]
    expected = f"one MAC on {asked.external_bridge} and {asked.external_nic}"
    others = {link.mac for link in links.values() if link is not bridge}
    ok = bool(macs[0] and macs[1]) and macs[0] in others
    if _local(macs[1]):
        expected += f", or one of Open vSwitch's own on {asked.external_bridge}"
        ok = ok or _local(macs[0])
    return Judgement(
        ok=ok,
        expected=expected,
        seen=f"{asked.external_bridge} {macs[0] or 'none'}, "
        f"{asked.external_nic} {macs[1] or 'none'}",
    )


@check(
    id="management-address",
    summary="The first card has its address, where it is not part of the external bridge.",
    nodes=unattached_nodes,
    needs=(Kind.IP_ADDR,),
)
def management_address(subject: Subject) -> Judgement:
    """It is the address Packstack and the other nodes know the node by."""
    return _on_its_device(subject, subject.node.nics[0].name)


@check(
    id="tunnel-address",
    summary="The tunnel card has its address.",
    nodes=several_tunnel_ends,
    needs=(Kind.IP_ADDR,),
)
def tunnel_address(subject: Subject) -> Judgement:
    """Both ends of a tunnel are addresses of the card `deployment.tunnel_nic` names."""
    return _on_its_device(subject, subject.lab.deployment.tunnel_nic)


def _on_its_device(subject: Subject, card: str) -> Judgement:
    """Judge a card's address, which is the bridge's when the answers make the card its port."""
    device = expected.uplinks(subject.lab, subject.node).get(card, card)
    return _has(subject, device, _nic_address(subject.node, card))


def _local(mac: str) -> bool:
    # Bit 1 of the first octet: locally administered (IEEE 802).
    return bool(mac) and bool(int(mac[:2], 16) & 2)
