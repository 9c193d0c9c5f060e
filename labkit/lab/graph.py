"""What a picture of the lab shows, and the picture as Mermaid text; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab.deployment import attaches_external_nic, network_nodes, tunnel_nodes
from labkit.lab.topology import NetworkMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.lab.topology import ResolvedLab, ResolvedNetwork, ResolvedNic, ResolvedNode

# A node's name and a card's: names of cards are the same on all nodes.
CardKey = tuple[str, str]


def way_out(network: ResolvedNetwork) -> str:
    """Return what a network hangs on: its mode, the host's bridge if it has one, the gateway."""
    how = network.mode.value
    if network.mode is NetworkMode.BRIDGE:
        how = f"bridge {network.bridge}"
    return how if network.gateway is None else f"{how}, gateway {network.gateway}"


def hardware(node: ResolvedNode) -> str:
    """Return a node's CPUs and memory."""
    return f"{node.cpus} CPU{'' if node.cpus == 1 else 's'}, {node.memory_mib} MiB"


def tunnel_cards(lab: ResolvedLab) -> frozenset[CardKey]:
    """Return the cards that will end VXLAN tunnels; none for a lab without a tunnel."""
    if lab.obstacles:
        return frozenset()
    ends = tunnel_nodes(lab)
    return frozenset((node.name, lab.deployment.tunnel_nic) for node in ends if len(ends) > 1)


def external_cards(lab: ResolvedLab) -> frozenset[CardKey]:
    """Return the cards that will be ports of the external bridge."""
    if lab.obstacles or not attaches_external_nic(lab):
        return frozenset()
    return frozenset((node.name, lab.deployment.external_nic) for node in network_nodes(lab))


def mermaid(lab: ResolvedLab) -> str:
    """Return the lab as a Mermaid flowchart: networks, nodes with their cards, and the tunnels.

    Nothing is called by its name in the lab file: `end` is a word of Mermaid's own.
    """
    networks = {network.name: f"net{index}" for index, network in enumerate(lab.networks)}
    lines = ["flowchart TB"]
    for network in lab.networks:
        mark = networks[network.name]
        outside = _quoted(way_out(network))
        inside = _quoted(f"{network.name} {network.cidr}")
        lines.append(f"  {mark}out[{outside}] --- {mark}[{inside}]")
    for number, node in enumerate(lab.nodes):
        title = _quoted(f"{node.name} ({', '.join(node.roles)}): {hardware(node)}")
        lines.append(f"  subgraph node{number}[{title}]")
        lines += [f"    {mark}[{_quoted(text)}]" for mark, text in _cards(lab, number, node)]
        lines.append("  end")
    for number, node in enumerate(lab.nodes):
        lines += [f"  {networks[nic.network.name]} --- {_mark(number, nic)}" for nic in node.nics]
    ends = tunnel_cards(lab)
    for number, node in enumerate(lab.nodes):
        marks = [_mark(number, nic) for nic in node.nics if (node.name, nic.name) in ends]
        lines += [f"  {mark} -.- vxlan([{_quoted('VXLAN tunnels')}])" for mark in marks]
    return "\n".join([*lines, ""])


def _cards(lab: ResolvedLab, number: int, node: ResolvedNode) -> Iterator[tuple[str, str]]:
    outer = external_cards(lab)
    for nic in node.nics:
        port = f", {lab.deployment.external_bridge}" if (node.name, nic.name) in outer else ""
        yield _mark(number, nic), f"{nic.name} {nic.address.ip}{port}"


def _mark(number: int, nic: ResolvedNic) -> str:
    return f"node{number}{nic.name}"


def _quoted(text: str) -> str:
    """Return a text in Mermaid's quotes, with its entity codes for what would end them."""
    codes = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;"}
    return '"' + "".join(codes.get(each, each) for each in text) + '"'
