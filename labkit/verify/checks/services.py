"""Checks of what OpenStack says of itself, asked on the controller."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.lab import deployment, releases
from labkit.verify import expected
from labkit.verify.check import Judgement, Subject, check
from labkit.verify.outputs import Kind
from labkit.verify.parsers import openstack

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab, ResolvedNode

SWITCH_AGENT = "Open vSwitch agent"


def controller(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the controller, which is asked."""
    return (deployment.controller(lab),)


@check(
    id="nova-services",
    summary="The nova services of the lab are enabled and up, and every compute node has one.",
    nodes=controller,
    needs=(Kind.COMPUTE_SERVICES,),
)
def nova_services(subject: Subject) -> Judgement:
    """Conductor, scheduler and, before Train, consoleauth on the controller; nova-compute elsewhere.

    What else is listed, such as a console of somebody's own or a host that was taken out, may be
    in any state.
    """
    lab = subject.lab
    services = openstack.compute_services(subject.texts[Kind.COMPUTE_SERVICES])
    names = releases.facts(lab.release).nova_services
    wanted = {(name, deployment.controller(lab).fqdn) for name in names}
    wanted |= {("nova-compute", node.fqdn) for node in deployment.compute_nodes(lab)}
    missing = wanted - {(item.binary, item.host) for item in services}
    wrong = [f"no {name} on {host}" for name, host in sorted(missing)]
    wrong += [
        f"{item.binary} on {item.host} {item.status} {item.state}"
        for item in services
        if (item.binary, item.host) in wanted and (item.status, item.state) != ("enabled", "up")
    ]
    return _all(sorted(f"{name} on {host}" for name, host in wanted), "up", wrong)


@check(
    id="neutron-agents",
    summary="Every node has the neutron agents it needs, and they are alive.",
    nodes=controller,
    needs=(Kind.AGENTS,),
)
def neutron_agents(subject: Subject) -> Judgement:
    """Open vSwitch on network and compute nodes; DHCP, L3, metadata, metering on network nodes.

    Other agents may be in any state; the load balancer's has a check of its own.
    """
    lab = subject.lab
    agents = openstack.agents(subject.texts[Kind.AGENTS])
    wanted = {(SWITCH_AGENT, node.fqdn) for node in expected.agent_nodes(lab)}
    wanted |= {
        (kind, node.fqdn)
        for node in deployment.network_nodes(lab)
        for kind in expected.network_agents(lab)
    }
    missing = wanted - {(item.kind, item.host) for item in agents}
    wrong = [f"no {kind} on {host}" for kind, host in sorted(missing)]
    wrong += [
        f"{item.kind} on {item.host} dead"
        for item in agents
        if not item.alive and (item.kind, item.host) in wanted
    ]
    return _all(sorted(f"{kind} on {host}" for kind, host in wanted), "alive", wrong)


@check(
    id="hypervisors",
    summary="Every compute node is a hypervisor that is up.",
    nodes=controller,
    needs=(Kind.HYPERVISORS,),
)
def hypervisors(subject: Subject) -> Judgement:
    """A compute node becomes one when it is first found by its cell."""
    found = openstack.hypervisors(subject.texts[Kind.HYPERVISORS])
    state = {item.name: item.state for item in found}
    hosts = [node.fqdn for node in deployment.compute_nodes(subject.lab)]
    wrong = [f"{host} {state.get(host, 'missing')}" for host in hosts if state.get(host) != "up"]
    return _all(hosts, "up", wrong)


@check(
    id="cells",
    summary="Every compute node is mapped to a cell.",
    nodes=controller,
    needs=(Kind.CELL_HOSTS,),
)
def cells(subject: Subject) -> Judgement:
    """The scheduler never chooses a host without a mapping.

    `nova-manage cell_v2 discover_hosts` makes it.
    """
    rows = openstack.table(subject.texts[Kind.CELL_HOSTS])
    mapped = {row.get("Hostname", "") for row in rows}
    hosts = [node.fqdn for node in deployment.compute_nodes(subject.lab)]
    return _all(hosts, "in a cell", [f"{host} in none" for host in hosts if host not in mapped])


@check(
    id="keystone-answers",
    summary="Keystone's address answers with 200.",
    nodes=controller,
    needs=(Kind.KEYSTONE_HTTP,),
)
def keystone_answers(subject: Subject) -> Judgement:
    """Asked is `http://CONTROLLER:5000/v3/`, which needs no login."""
    return _http(subject.texts[Kind.KEYSTONE_HTTP])


@check(
    id="keystone-token",
    summary="The administrator gets a token.",
    nodes=controller,
    needs=(Kind.TOKEN,),
)
def keystone_token(subject: Subject) -> Judgement:
    """So the password in keystonerc_admin is right. The token itself is never printed."""
    user = openstack.token_user(subject.texts[Kind.TOKEN])
    return Judgement(ok=bool(user), expected="a token for a user", seen=f"user {user or 'none'}")


@check(
    id="dashboard-answers",
    summary="The dashboard answers with 200.",
    nodes=controller,
    needs=(Kind.DASHBOARD_HTTP,),
)
def dashboard_answers(subject: Subject) -> Judgement:
    """Asked is `http://CONTROLLER/dashboard/`, redirections followed to the login page.

    With CONFIG_HORIZON_SSL it is `https://`, and any certificate will do.
    """
    return _http(subject.texts[Kind.DASHBOARD_HTTP])


def _http(text: str) -> Judgement:
    code = text.strip()
    if not re.fullmatch(r"[0-9]{3}", code):
        msg = "it is no HTTP status"
        raise ValueError(msg)
    return Judgement(ok=code == "200", expected="HTTP 200", seen=f"HTTP {code}")


def _all(wanted: list[str], state: str, wrong: list[str]) -> Judgement:
    return Judgement(
        ok=not wrong,
        expected=f"{state}: {', '.join(wanted)}",
        seen="; ".join(wrong) or f"all {state}",
    )
