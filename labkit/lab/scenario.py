"""What a scenario is, and the answers and rules that scenarios have in common."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from labkit.lab import answers, deployment, releases
from labkit.lab.rules import Breach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from ipaddress import IPv4Address

    from labkit.lab.model import Node
    from labkit.lab.outline import Outline
    from labkit.lab.topology import Form, ResolvedLab, ResolvedNode

# In the guest, root's alone; Packstack writes it again, with all keys, at every run.
ANSWER_FILE = "/var/lib/labkit/answers.cfg"
PACKSTACK = "packstack"
BRIDGE_MAPPINGS = "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS"
BRIDGE_IFACES = "CONFIG_NEUTRON_OVS_BRIDGE_IFACES"
TYPE_DRIVERS = "CONFIG_NEUTRON_ML2_TYPE_DRIVERS"
TUNNEL_IF = "CONFIG_NEUTRON_OVS_TUNNEL_IF"
TUNNEL_SUBNETS = "CONFIG_NEUTRON_OVS_TUNNEL_SUBNETS"
LBAAS = "CONFIG_LBAAS_INSTALL"
# The bridges that Neutron's agent makes for itself.
AGENT_BRIDGES = frozenset({"br-int", "br-tun"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PackstackCall:
    """How Packstack is started on the controller, as root.

    Attributes:
        argv: The command; no secret is ever in it.
        answer_file: Text for `ANSWER_FILE`, mode 0600; None when the command says everything.
    """

    argv: tuple[str, ...]
    answer_file: str | None = field(repr=False)

    def masked(self) -> PackstackCall:
        """Return the call with every secret blacked out."""
        if self.answer_file is None:
            return self
        return replace(self, answer_file=answers.masked(self.answer_file))

    def command_line(self) -> str:
        """Return the command as it can be pasted into a shell."""
        return shlex.join(self.argv)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One way to deploy a lab; each is a module of `labkit.lab.scenarios` with a `SCENARIO`.

    Attributes:
        name: What `deployment.scenario` says.
        summary: What it does, in one line.
        asks: What the source document, a Packstack walk-through, asks for.
        forms: How Packstack can be told; the first is taken when the lab file says nothing. Empty
            for one that a verb of its own starts.
        verb: The verb that starts it.
        answers: The answer-file keys it sets for a lab, secrets and `deployment.answers` left out.
        command: The options it gives to the packstack command: answer-file keys, or options
            without such a key, and values; an empty value is an option without one.
        rules: What a lab has to have for it.
    """

    name: str
    summary: str
    asks: str
    forms: tuple[Form, ...]
    verb: str = "deploy"
    answers: Callable[[ResolvedLab], dict[str, str]]
    command: Callable[[ResolvedLab], dict[str, str]]
    rules: tuple[Callable[[Outline], Iterator[Breach]], ...]


def host_answers(lab: ResolvedLab) -> dict[str, str]:
    """Return all eight host keys: everything on the controller except computes and networks."""
    controller = str(deployment.management_address(deployment.controller(lab)))
    return {
        **dict.fromkeys(answers.HOST_KEYS, controller),
        "CONFIG_COMPUTE_HOSTS": _addresses(deployment.compute_nodes(lab)),
        "CONFIG_NETWORK_HOSTS": _addresses(deployment.network_nodes(lab)),
    }


def base_answers(lab: ResolvedLab) -> dict[str, str]:
    """Return what every scenario sets: the hosts, root's key, no time servers, services."""
    return {
        **host_answers(lab),
        # Its default is the first *.pub below $HOME/.ssh, and a detached run may have no HOME.
        "CONFIG_SSH_KEY": "/root/.ssh/id_rsa.pub",
        # An unreachable time server stops the run; chrony keeps the clocks.
        "CONFIG_NTP_SERVERS": "",
        **service_answers(lab),
    }


def external_answers(lab: ResolvedLab) -> dict[str, str]:
    """Return the walk-through's four keys that put the external card into its bridge.

    flat stays among the type drivers: without it or vlan Packstack decides by chance, with a
    separate compute node, whether it makes the bridges (plugins/neutron_350.py, CREATE_BRIDGES).
    """
    asked = lab.deployment
    return {
        "CONFIG_PROVISION_DEMO": "n",
        BRIDGE_MAPPINGS: f"{asked.physical_network}:{asked.external_bridge}",
        BRIDGE_IFACES: f"{asked.external_bridge}:{asked.external_nic}",
        TYPE_DRIVERS: "vxlan,flat",
    }


def tunnel_answers(lab: ResolvedLab) -> dict[str, str]:
    """Return the card of the tunnels, and the networks its addresses are in.

    With the last Queens repository the card alone fails: facter 3.9 hides the fact that Packstack
    looks up, "Couldn't detect ipaddress of interface". It does not look when it knows the networks,
    and they do no harm with the older facter of release 7.5.1804 either.
    """
    card = lab.deployment.tunnel_nic
    networks = dict.fromkeys(
        str(nic.network.cidr)
        for node in deployment.tunnel_nodes(lab)
        for nic in node.nics
        if nic.name == card
    )
    return {TUNNEL_IF: card, TUNNEL_SUBNETS: ",".join(networks)}


def service_answers(lab: ResolvedLab) -> dict[str, str]:
    """Return what the release needs set, and the load balancer agent, when the lab asks for it."""
    needed = releases.facts(lab.release).answers
    return {**needed, LBAAS: "y"} if lab.deployment.lbaas else dict(needed)


def single_node_command(lab: ResolvedLab) -> dict[str, str]:
    """Return the option that puts everything on the controller.

    `--allinone` means the address towards the default gateway. Where that is not the address the
    lab knows the controller by, the same option is spelt out with the right one.
    """
    node = deployment.controller(lab)
    address = deployment.management_address(node)
    if _local_address(node) in {None, address}:
        return {"--allinone": ""}
    return {"--install-hosts": str(address)}


def several_nodes_command(lab: ResolvedLab) -> dict[str, str]:
    """Return the options that name all hosts.

    The first of `--install-hosts` becomes the value of every host key, the others the compute
    nodes (packstack/installer/run_setup.py, single_step_install).
    """
    first = (deployment.controller(lab),)
    computes = deployment.compute_nodes(lab)
    networks = deployment.network_nodes(lab)
    hosts = first if computes == first else (*first, *computes)
    options = {"--install-hosts": _addresses(hosts)}
    return (
        options if networks == first else options | {"CONFIG_NETWORK_HOSTS": _addresses(networks)}
    )


def _addresses(nodes: tuple[ResolvedNode, ...]) -> str:
    return ",".join(str(deployment.management_address(node)) for node in nodes)


def _local_address(node: ResolvedNode) -> IPv4Address | None:
    """Return the address Packstack finds for itself, or None without a default gateway.

    The network scripts set default routes in the order of their files' names, the last one stays;
    towards the gateway the kernel uses the card that got its address first.
    """
    cards = sorted(node.nics, key=lambda nic: nic.name)
    gateways = [nic.way_out for nic in cards if nic.way_out is not None]
    if not gateways:
        return None
    gateway = gateways[-1]
    return next((nic.address.ip for nic in cards if gateway in nic.network.cidr), None)


def routed_controller(outline: Outline) -> Iterator[Breach]:
    """Yield a breach when Packstack would not start, in any scenario."""
    name = outline.controller
    cards = [nic for nic in outline.lab.nodes[name].nics.values() if outline.gateway(nic)]
    if all(nic.ifcfg.get("DEFROUTE") == "no" for nic in cards):
        yield Breach(
            place=("nodes", name),
            expected="a card in a network with a gateway, without which Packstack does not start",
            found="'DEFROUTE: no' on each such card" if cards else "none on the controller",
            about_key=True,
        )


def external_card(outline: Outline) -> Iterator[Breach]:
    """Yield a breach when a network node lacks the card that becomes a port of the bridge."""
    yield from missing_card("external_nic", outline.external_nic, outline.network_nodes)


def external_bridge(outline: Outline) -> Iterator[Breach]:
    """Yield a breach when the external bridge would take another device's name."""
    bridge = outline.asked.external_bridge
    cards = {nic for node in outline.network_nodes.values() for nic in node.nics}
    if bridge in AGENT_BRIDGES or bridge in cards:
        owner = "Neutron's own bridge" if bridge in AGENT_BRIDGES else "a card of the lab"
        yield Breach(
            place=("deployment", "external_bridge"),
            expected="a name of its own for the bridge, such as 'br-ex'",
            found=f"'{bridge}', {owner}",
        )


def missing_card(key: str, card: str, nodes: Mapping[str, Node]) -> Iterator[Breach]:
    """Yield a breach when some of the nodes do not have a card of that name."""
    lacking = [f"'{name}'" for name, node in nodes.items() if card not in node.nics]
    if lacking:
        first, *others = nodes.values()
        common = [nic for nic in first.nics if all(nic in node.nics for node in others)]
        has = ", ".join(f"'{nic}'" for nic in common) or "none is"
        named = " and ".join(f"'{name}'" for name in nodes)
        verb = "does not have" if len(lacking) == 1 else "do not have"
        yield Breach(
            place=("deployment", key),
            expected=f"a card that is on {named} ({has})",
            found=f"'{card}', which {', '.join(lacking)} {verb}",
            rests_on=tuple(
                ("nodes", name, *more)
                for name, node in nodes.items()
                for more in ((), ("nics",), *(("nics", nic) for nic in node.nics))
            ),
        )
