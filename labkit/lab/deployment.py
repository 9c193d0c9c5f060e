"""Who does what in a deployment: which nodes take part, and with which addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from labkit.lab.topology import ResolvedLab, ResolvedNode

# Scenarios that put everything on the controller, whatever else the lab has.
SINGLE_NODE = frozenset({"allinone", "external-network"})


def controller(lab: ResolvedLab) -> ResolvedNode:
    """Return the node Packstack runs on; a checked lab has exactly one."""
    return next(node for node in lab.nodes if "controller" in node.roles)


def deployed_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the nodes Packstack installs something on, in file order."""
    if lab.deployment.scenario in SINGLE_NODE:
        return (controller(lab),)
    return lab.nodes


def network_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the nodes with br-ex and the agents; the controller when no node has the role."""
    found = tuple(node for node in deployed_nodes(lab) if "network" in node.roles)
    return found or (controller(lab),)


def compute_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the nodes that run instances; the controller when no other node does."""
    found = tuple(node for node in deployed_nodes(lab) if "compute" in node.roles)
    return found or (controller(lab),)


def tunnel_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the nodes with a VXLAN endpoint: network and compute nodes, in file order."""
    ends = {node.name for node in (*network_nodes(lab), *compute_nodes(lab))}
    return tuple(node for node in lab.nodes if node.name in ends)


def management_address(node: ResolvedNode) -> IPv4Address:
    """Return the address Packstack knows a node by: its first card's."""
    return node.nics[0].address.ip


def tunnel_address(lab: ResolvedLab, node: ResolvedNode) -> IPv4Address:
    """Return the address that ends a node's VXLAN tunnels.

    The scenario's rules make sure that every such node has the card.
    """
    return next(nic.address.ip for nic in node.nics if nic.name == lab.deployment.tunnel_nic)


def attaches_external_nic(lab: ResolvedLab) -> bool:
    """Return whether the external card moves into the external bridge on network nodes."""
    return lab.deployment.scenario != "allinone"
