"""What the answers of a lab make right to see: the one place where checks read answer-file keys.

Facts are from Packstack, branch stable/queens: packstack/plugins/neutron_350.py and the manifests of
packstack/puppet. `docs/reference/answer-keys.md` says of every key whether it is read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.lab import deployment, scenario
from labkit.lab.scenarios import effective

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.lab.topology import ResolvedLab, ResolvedNode

L2_AGENT = "CONFIG_NEUTRON_L2_AGENT"
NOVA = "CONFIG_NOVA_INSTALL"
HORIZON = "CONFIG_HORIZON_INSTALL"
HORIZON_SSL = "CONFIG_HORIZON_SSL"
BRIDGES_COMPUTE = "CONFIG_NEUTRON_OVS_BRIDGES_COMPUTE"
MECHANISM_DRIVERS = "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS"
TENANT_TYPES = "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"
UDP_PORT = "CONFIG_NEUTRON_OVS_VXLAN_UDP_PORT"
# Their checks come with the networks, the services and the client they need.
_UPLINK = frozenset({"external-port", "external-address", "external-nic-bare", "external-mac",
                     "ifcfg-port", "ifcfg-bridge"})  # fmt: skip
_EXTERNAL = _UPLINK | {"external-bridge", "external-patch"}
_VXLAN = frozenset({"vxlan-device", "vxlan-ports", "vxlan-names", "vxlan-strangers"})
_TUNNEL = _VXLAN | {"tunnel-bridge", "tunnel-patch"}
_SWITCH = _EXTERNAL | _TUNNEL | {"integration-bridge"}
_CLIENT = frozenset({"nova-services", "neutron-agents", "hypervisors", "keystone-token",
                     "lbaas-agent"})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """Checks that an answer leaves nothing to judge for.

    Attributes:
        key: The answer-file key.
        when: Whether its value does so.
        checks: The checks' ids.
        why: The reason, in words.
    """

    key: str
    when: Callable[[str], bool]
    checks: frozenset[str]
    why: str


def _no(value: str) -> bool:
    return value != "y"


def _yes(value: str) -> bool:
    return value == "y"


UNJUDGED = (
    Unjudged(key="CONFIG_HORIZON_INSTALL", when=_no, why="there is no dashboard",
             checks=frozenset({"dashboard-answers"})),
    Unjudged(key=NOVA, when=_no, why="there is no Nova",
             checks=frozenset({"nova-services", "hypervisors", "cells"})),
    Unjudged(key="CONFIG_NEUTRON_INSTALL", when=_no, why="there is no Neutron",
             checks=_SWITCH | {"neutron-agents", "lbaas-unit", "lbaas-agent"}),
    Unjudged(key="CONFIG_IRONIC_INSTALL", when=_yes, why="Ironic's machines are the hypervisors",
             checks=frozenset({"hypervisors", "cells"})),
    Unjudged(key="CONFIG_VMWARE_BACKEND", when=_yes, why="vCenter's clusters are the hypervisors",
             checks=frozenset({"hypervisors", "cells"})),
    Unjudged(key="CONFIG_CLIENT_INSTALL", when=_no, checks=_CLIENT,
             why="there is neither a client nor keystonerc_admin to ask with"),
    Unjudged(key="CONFIG_KEYSTONE_API_VERSION", when=lambda value: value != "v3", checks=_CLIENT,
             why="the client asks for an API that Keystone no longer has since Queens"),
    Unjudged(key=L2_AGENT, when=lambda value: value != "openvswitch",
             checks=_SWITCH | {"neutron-agents", "lbaas-unit", "lbaas-agent"},
             why="the checks know Neutron's Open vSwitch agent alone"),
    # force_interface of Packstack's Puppet modules then wants networks, not names of cards.
    Unjudged(key="CONFIG_USE_SUBNETS", when=_yes, checks=_EXTERNAL | {"management-address"},
             why="cards are named by their networks"),
    Unjudged(key=scenario.TYPE_DRIVERS, when=lambda value: not set(words(value)) & {"gre", "vxlan"},
             checks=_TUNNEL | {"tunnel-address"}, why="no type driver has tunnels"),
    Unjudged(key=scenario.TYPE_DRIVERS, when=lambda value: "vxlan" not in words(value),
             checks=_VXLAN, why="vxlan is no type driver"),
)  # fmt: skip


def words(value: str) -> tuple[str, ...]:
    """Return the parts of a list, without the blanks that Packstack strips."""
    return tuple(filter(None, (part.strip() for part in value.split(","))))


def unjudged(lab: ResolvedLab, check: str) -> str | None:
    """Return why an answer leaves a check nothing to judge, or None."""
    answers = effective(lab)
    return next(
        (
            f"{rule.key} is '{answers[rule.key]}': {rule.why}"
            for rule in UNJUDGED
            if check in rule.checks and rule.when(answers[rule.key])
        ),
        None,
    )


def agent_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the network and compute nodes; without Nova nothing is installed on the latter."""
    ends = deployment.tunnel_nodes(lab)
    if effective(lab)[NOVA] == "y":
        return ends
    return tuple(node for node in ends if node in deployment.network_nodes(lab))


def on_demand(lab: ResolvedLab) -> bool:
    """Return whether tunnels come on demand, not between all nodes."""
    return "l2population" in words(effective(lab)[MECHANISM_DRIVERS])


def vxlan_port(lab: ResolvedLab) -> str:
    """Return the tunnels' UDP port: a key Packstack reads for tenants' networks of type vxlan."""
    answers = effective(lab)
    return answers[UDP_PORT] if "vxlan" in answers[TENANT_TYPES] else "4789"


def mapped_bridges(lab: ResolvedLab, node: ResolvedNode) -> tuple[str, ...]:
    """Return the bridges to the outside that Neutron's agent on a node joins to br-int.

    All of the mappings on network nodes, those among CONFIG_NEUTRON_OVS_BRIDGES_COMPUTE on others.
    Without flat or vlan among the type drivers Packstack sets none up where a node is no network
    node, and none at all with local alone.
    """
    answers = effective(lab)
    types = set(words(answers[scenario.TYPE_DRIVERS]))
    only_network = set(agent_nodes(lab)) <= set(deployment.network_nodes(lab))
    if not types & {"flat", "vlan"} and not (only_network and types & {"gre", "vxlan"}):
        return ()
    mapped = [pair.rpartition(":")[2].strip() for pair in words(answers[scenario.BRIDGE_MAPPINGS])]
    if node in deployment.network_nodes(lab):
        return tuple(mapped)
    chosen = words(answers[BRIDGES_COMPUTE]) if node in agent_nodes(lab) else ()
    return tuple(bridge for bridge in chosen if bridge in mapped)


def has_external_bridge(lab: ResolvedLab, node: ResolvedNode) -> bool:
    """Return whether an answer makes `deployment.external_bridge` on a node."""
    bridge = lab.deployment.external_bridge
    alone = effective(lab)["CONFIG_NEUTRON_L3_EXT_BRIDGE"] == bridge
    return bridge in mapped_bridges(lab, node) or (alone and node in deployment.network_nodes(lab))


def uplinks(lab: ResolvedLab, node: ResolvedNode) -> dict[str, str]:
    """Return the cards of a node that become ports of a bridge, each with the bridge.

    The bridge then has the card's address.
    """
    cards = {nic.name for nic in node.nics}
    pairs = [pair.partition(":")[::2] for pair in words(effective(lab)[scenario.BRIDGE_IFACES])]
    bridges = mapped_bridges(lab, node)
    return {
        card.strip(): bridge.strip()
        for bridge, card in pairs
        if card.strip() in cards and bridge.strip() in bridges
    }


def attached(lab: ResolvedLab, node: ResolvedNode) -> bool:
    """Return whether a node's external card moves into the external bridge."""
    asked = lab.deployment
    return uplinks(lab, node).get(asked.external_nic) == asked.external_bridge


def network_agents(lab: ResolvedLab) -> tuple[str, ...]:
    """Return the agents Neutron lists for a network node, the switch's and LBaaS' left out."""
    metering = effective(lab)["CONFIG_NEUTRON_METERING_AGENT_INSTALL"] == "y"
    return (
        "DHCP agent", "L3 agent", "Metadata agent", *(("Metering agent",) if metering else ()),
    )  # fmt: skip
