"""Checks of the Open vSwitch bridges and of what joins them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab import deployment
from labkit.verify import expected
from labkit.verify.check import Judgement, Subject, check
from labkit.verify.outputs import Kind
from labkit.verify.parsers import ovs_show

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab, ResolvedNode

INTEGRATION = "br-int"
TUNNEL = "br-tun"


def attached_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the nodes whose external card moves into the external bridge."""
    return tuple(node for node in deployment.deployed_nodes(lab) if expected.attached(lab, node))


def outside_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the nodes on which the answers make the external bridge."""
    nodes = deployment.deployed_nodes(lab)
    return tuple(node for node in nodes if expected.has_external_bridge(lab, node))


def mapped_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the nodes where a physical network of Neutron leads to the external bridge."""
    return tuple(
        node
        for node in deployment.deployed_nodes(lab)
        if lab.deployment.external_bridge in expected.mapped_bridges(lab, node)
    )


def _exists(subject: Subject, name: str) -> Judgement:
    bridges = ovs_show.parse(subject.texts[Kind.OVS])
    names = ", ".join(sorted(bridges)) or "none"
    return Judgement(ok=name in bridges, expected=f"bridge {name}", seen=f"bridges: {names}")


@check(
    id="external-bridge",
    summary="The bridge to the outside, br-ex, exists.",
    nodes=outside_nodes,
    needs=(Kind.OVS,),
)
def external_bridge(subject: Subject) -> Judgement:
    """Open vSwitch has the bridge `deployment.external_bridge` names, among others."""
    return _exists(subject, subject.lab.deployment.external_bridge)


@check(
    id="integration-bridge",
    summary="The bridge all instances are plugged into, br-int, exists.",
    nodes=expected.agent_nodes,
    needs=(Kind.OVS,),
)
def integration_bridge(subject: Subject) -> Judgement:
    """Neutron's Open vSwitch agent makes it when it starts."""
    return _exists(subject, INTEGRATION)


@check(
    id="tunnel-bridge",
    summary="The bridge of the tunnels, br-tun, exists.",
    nodes=expected.agent_nodes,
    needs=(Kind.OVS,),
)
def tunnel_bridge(subject: Subject) -> Judgement:
    """Neutron's Open vSwitch agent makes it because vxlan or gre is a type driver."""
    return _exists(subject, TUNNEL)


@check(
    id="external-port",
    summary="The external card is a port of the external bridge.",
    nodes=attached_nodes,
    needs=(Kind.OVS,),
)
def external_port(subject: Subject) -> Judgement:
    """The port has to work, too: Open vSwitch keeps one whose device is gone, with an error."""
    asked = subject.lab.deployment
    bridges = ovs_show.parse(subject.texts[Kind.OVS])
    expected = f"port {asked.external_nic} in {asked.external_bridge}"
    places = [
        bridge.interfaces[asked.external_nic]
        for bridge in bridges.values()
        if asked.external_nic in bridge.interfaces
    ]
    if not places:
        return Judgement(ok=False, expected=expected, seen="it is in no bridge")
    error = next((place.error for place in places if place.error), "")
    seen = f"port {asked.external_nic} in {', '.join(place.bridge for place in places)}"
    right = [place.bridge for place in places] == [asked.external_bridge]
    return Judgement(
        ok=right and not error, expected=expected, seen=f"{seen}: {error}" if error else seen
    )


def _joined(subject: Subject, ends: tuple[tuple[str, str], tuple[str, str]]) -> Judgement:
    """Judge two patch ports, each given as bridge and port, that have to name each other."""
    bridges = ovs_show.parse(subject.texts[Kind.OVS])
    expected: list[str] = []
    seen: list[str] = []
    for (bridge, port), (_, peer) in (ends, ends[::-1]):
        expected.append(f"{bridge}: {port} to {peer}")
        ports = bridges[bridge].interfaces if bridge in bridges else {}
        found = ports.get(port)
        if found is None:
            seen.append(f"{bridge}: no port {port}")
        elif found.kind != "patch" or found.error:
            problem = found.error or f"type '{found.kind}'"
            seen.append(f"{bridge}: {port} is no working patch port: {problem}")
        else:
            seen.append(f"{bridge}: {port} to {found.options.get('peer', 'nothing')}")
    return Judgement(ok=expected == seen, expected="; ".join(expected), seen="; ".join(seen))


@check(
    id="tunnel-patch",
    summary="br-int and br-tun are joined by patch ports.",
    nodes=expected.agent_nodes,
    needs=(Kind.OVS,),
)
def tunnel_patch(subject: Subject) -> Judgement:
    """The ports are `patch-tun` in br-int and `patch-int` in br-tun, each the other's peer.

    Further ports and bridges are nobody's fault.
    """
    return _joined(subject, ((INTEGRATION, "patch-tun"), (TUNNEL, "patch-int")))


@check(
    id="external-patch",
    summary="br-int and the external bridge are joined by patch ports.",
    nodes=mapped_nodes,
    needs=(Kind.OVS,),
)
def external_patch(subject: Subject) -> Judgement:
    """The ports are `int-br-ex` in br-int and `phy-br-ex` in br-ex, each the other's peer."""
    name = subject.lab.deployment.external_bridge
    return _joined(subject, ((INTEGRATION, f"int-{name}"), (name, f"phy-{name}")))
