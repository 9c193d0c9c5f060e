"""Checks of the VXLAN tunnels between the nodes."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from labkit.lab import deployment
from labkit.verify import expected
from labkit.verify.check import Judgement, Subject, check
from labkit.verify.checks.addresses import several_tunnel_ends
from labkit.verify.checks.bridges import TUNNEL
from labkit.verify.outputs import Kind
from labkit.verify.parsers import ip_addr, ovs_show

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.verify.parsers.ovs_show import Interface


def vxlan_device(lab: ResolvedLab) -> str:
    """Return the kernel device Open vSwitch makes for all tunnels of one UDP port."""
    return f"vxlan_sys_{expected.vxlan_port(lab)}"


def port_name(remote: IPv4Address) -> str:
    """Return neutron's name for the port to a peer (ovs_neutron_agent.py of Queens)."""
    return f"vxlan-{int(remote):08x}"


def meshed_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the network and compute nodes, more than one and without l2population.

    With that mechanism driver tunnels come on demand, not between all nodes.
    """
    return () if expected.on_demand(lab) else several_tunnel_ends(lab)


def _peers(subject: Subject) -> dict[str, str]:
    """Return the tunnel address and name of every other node with tunnels."""
    return {
        str(deployment.tunnel_address(subject.lab, node)): node.name
        for node in expected.agent_nodes(subject.lab)
        if node.name != subject.node.name
    }


def _ports(subject: Subject) -> tuple[Interface, ...]:
    bridge = ovs_show.parse(subject.texts[Kind.OVS]).get(TUNNEL)
    return bridge.of_kind("vxlan") if bridge else ()


def _described(port: Interface) -> str:
    ends = f"local_ip {port.options.get('local_ip')}, remote_ip {port.options.get('remote_ip')}"
    return f"{port.name}: {ends}{f' ({port.error})' if port.error else ''}"


@check(
    id="vxlan-device",
    summary="The kernel's device of the tunnels, vxlan_sys_4789, exists and is up.",
    nodes=meshed_nodes,
    needs=(Kind.IP_ADDR,),
)
def device(subject: Subject) -> Judgement:
    """Open vSwitch makes it with the first tunnel. Its number is the UDP port."""
    name = vxlan_device(subject.lab)
    link = ip_addr.parse(subject.texts[Kind.IP_ADDR]).get(name)
    seen = f"no device {name}" if link is None else f"{name} {'up' if link.up else 'down'}"
    return Judgement(ok=seen == f"{name} up", expected=f"{name} up", seen=seen)


@check(
    id="vxlan-ports",
    summary="br-tun has one VXLAN port to every peer, with the right local_ip and remote_ip.",
    nodes=meshed_nodes,
    needs=(Kind.OVS,),
)
def ports(subject: Subject) -> Judgement:
    """The peers are the other network and compute nodes; the addresses those of the tunnel card."""
    local = str(deployment.tunnel_address(subject.lab, subject.node))
    found = _ports(subject)
    wrong: list[str] = []
    for remote, name in _peers(subject).items():
        here = [port for port in found if port.options.get("remote_ip") == remote]
        if not here:
            wrong.append(f"no port to {name} ({remote})")
        elif len(here) > 1 or here[0].options.get("local_ip") != local or here[0].error:
            wrong += [_described(port) for port in here]
    expected = ", ".join(f"{name} ({remote})" for remote, name in _peers(subject).items())
    seen = "; ".join(wrong or [_described(port) for port in found])
    return Judgement(ok=not wrong, expected=f"from {local} one port to {expected}", seen=seen)


@check(
    id="vxlan-names",
    summary="Every VXLAN port to a peer is called vxlan- and that peer's address in hex.",
    nodes=meshed_nodes,
    needs=(Kind.OVS,),
)
def names(subject: Subject) -> Judgement:
    """The address is the peer's, in eight hex digits: 172.16.208.150 makes `vxlan-ac10d096`.

    It differs from `vxlan_sys_4789` because that is the one kernel device all tunnels of a node
    share, one per UDP port, while each `vxlan-…` port in br-tun stands for one peer.
    """
    peers = _peers(subject)
    found = {
        port.options["remote_ip"]: port.name
        for port in _ports(subject)
        if port.options.get("remote_ip") in peers
    }
    wanted = {remote: port_name(IPv4Address(remote)) for remote in found}
    pairs = [f"{name} to {remote}" for remote, name in found.items()]
    return Judgement(
        ok=found == wanted,
        expected=", ".join(f"{name} to {remote}" for remote, name in wanted.items()),
        seen=", ".join(pairs) or "no port to a peer",
    )


@check(
    id="vxlan-strangers",
    summary="br-tun has no VXLAN port to an address that is no peer's.",
    nodes=expected.agent_nodes,
    needs=(Kind.OVS,),
)
def strangers(subject: Subject) -> Judgement:
    """Such a port is left from another address of a node, or leads out of the lab."""
    known = set(_peers(subject))
    found = [port for port in _ports(subject) if _remote(port) not in known]
    expected = f"ports to {', '.join(sorted(known)) or 'nobody'} alone"
    seen = "; ".join(_described(port) for port in found) or "no port to a stranger"
    return Judgement(ok=not found, expected=expected, seen=seen)


def _remote(port: Interface) -> str:
    try:
        return str(IPv4Address(port.options.get("remote_ip", "")))
    except AddressValueError:
        return ""
