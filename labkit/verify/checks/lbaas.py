"""Checks of the load balancer agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab import deployment
from labkit.verify.check import Judgement, Subject, check
from labkit.verify.outputs import LBAAS_UNIT, Kind
from labkit.verify.parsers import openstack, systemctl

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab, ResolvedNode

AGENT = "Loadbalancerv2 agent"


def balancing_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the network nodes, in a lab with `deployment.lbaas`."""
    return deployment.network_nodes(lab) if lab.deployment.lbaas else ()


def listing_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the controller, in a lab with `deployment.lbaas`."""
    return (deployment.controller(lab),) if lab.deployment.lbaas else ()


@check(
    id="lbaas-unit",
    summary="The unit neutron-lbaasv2-agent is active and running.",
    nodes=balancing_nodes,
    needs=(Kind.LBAAS_UNIT,),
)
def unit(subject: Subject) -> Judgement:
    """Packstack installs it on network nodes when `deployment.lbaas` is true."""
    found = systemctl.parse(subject.texts[Kind.LBAAS_UNIT])
    expected = systemctl.Unit(load="loaded", state="active", sub="running")
    return Judgement(
        ok=found == expected, expected=f"{LBAAS_UNIT}: {expected}", seen=f"{LBAAS_UNIT}: {found}"
    )


@check(
    id="lbaas-agent",
    summary="Neutron lists a live load balancer agent on every network node.",
    nodes=listing_nodes,
    needs=(Kind.AGENTS,),
)
def agent(subject: Subject) -> Judgement:
    """A unit that runs but cannot reach RabbitMQ is active, and dead in this list."""
    agents = openstack.agents(subject.texts[Kind.AGENTS])
    state = {item.host: item.alive for item in agents if item.kind == AGENT}
    hosts = [node.fqdn for node in deployment.network_nodes(subject.lab)]
    wrong = [
        f"{host}: {'dead' if host in state else 'none'}" for host in hosts if not state.get(host)
    ]
    return Judgement(
        ok=not wrong,
        expected=f"{AGENT} alive on {', '.join(hosts)}",
        seen="; ".join(wrong) or f"alive on {', '.join(state)}",
    )
