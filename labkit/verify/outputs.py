"""The command outputs that checks judge: which file each goes into, and on which nodes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from labkit.lab import deployment, scenarios
from labkit.lab.topology import ETHERNET_MTU, NetworkMode
from labkit.verify import expected

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from labkit.lab.topology import ResolvedLab, ResolvedNode

SCRIPTS = "/etc/sysconfig/network-scripts"
LBAAS_UNIT = "neutron-lbaasv2-agent"
KEYSTONERC = "/root/keystonerc_admin"
HTTP_SECONDS = 20
# A command is given as much, and as much more for each node it may have to tell of: an emulated
# controller takes 20 s for nine nodes' agents while it is asked for everything else as well.
COMMAND_SECONDS = 30
NODE_SECONDS = 10
# systemctl says with 3 that a unit is not active, and with 4 that there is none: an answer, too.
STATUS_ANSWERS = frozenset({0, 3, 4})
# ping says with 1 that no answer came, and with 2 that nothing could be sent: one of several pings.
PING_ANSWERS = frozenset({0, 1, 2})
PING_SECONDS = 10
# Of IPv4 and ICMP (RFC 791 and 792), which ping does not count.
PING_HEADERS = 28


class Kind(StrEnum):
    """An output; the value is its file's name where that is the same in every lab."""

    IP_ADDR = "ip-addr.txt"
    OVS = "ovs-vsctl-show.txt"
    IFCFG_BRIDGE = "ifcfg-BRIDGE"
    IFCFG_NIC = "ifcfg-NIC"
    LBAAS_UNIT = f"systemctl-{LBAAS_UNIT}.txt"
    COMPUTE_SERVICES = "openstack-compute-service-list.json"
    HYPERVISORS = "openstack-hypervisor-list.json"
    AGENTS = "openstack-network-agent-list.json"
    TOKEN = "openstack-token.json"  # noqa: S105 -- a file's name; it never holds the token
    CELL_HOSTS = "nova-cell-hosts.txt"
    KEYSTONE_HTTP = "keystone-http.txt"
    DASHBOARD_HTTP = "dashboard-http.txt"
    FULL_FRAMES = "ping-full-frames.txt"
    ROUTES = "ip-route-get.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a command printed.

    Attributes:
        text: Its standard output.
        returncode: Its exit code.
        stderr: Its standard error.
    """

    text: str
    returncode: int = 0
    stderr: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command whose output is judged.

    Attributes:
        kind: Which output it is.
        file: The file it is kept in.
        shell: The command, for root's bash.
    """

    kind: Kind
    file: str
    shell: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The largest packet that one card may send to another.

    Attributes:
        source: The card's address.
        to: The other's address.
        mtu: The packet's size in bytes, the header of IP included.
    """

    source: IPv4Address
    to: IPv4Address
    mtu: int


def file_name(kind: Kind, lab: ResolvedLab) -> str:
    """Return the name of an output's file in a lab."""
    if kind is Kind.IFCFG_BRIDGE:
        return f"ifcfg-{lab.deployment.external_bridge}"
    if kind is Kind.IFCFG_NIC:
        return f"ifcfg-{lab.deployment.external_nic}"
    if kind is Kind.DASHBOARD_HTTP and _dashboard_by_ssl(lab):
        return "dashboard-https.txt"
    return kind.value


def command_seconds(lab: ResolvedLab) -> int:
    """Return the seconds that a command is given in this lab."""
    return COMMAND_SECONDS + NODE_SECONDS * len(deployment.deployed_nodes(lab))


def answers(kind: Kind) -> frozenset[int]:
    """Return the exit codes with which the output is an answer and no failure."""
    match kind:
        case Kind.LBAAS_UNIT:
            return STATUS_ANSWERS
        case Kind.FULL_FRAMES:
            return PING_ANSWERS
        case _:
            return frozenset({0})


def commands(lab: ResolvedLab, node: ResolvedNode) -> tuple[Command, ...]:
    """Return the commands of a node, none for a node that nothing is installed on."""
    if node not in deployment.deployed_nodes(lab):
        return ()
    texts = {Kind.IP_ADDR: "ip addr", Kind.OVS: "ovs-vsctl show"}
    if expected.attached(lab, node):
        for kind in (Kind.IFCFG_BRIDGE, Kind.IFCFG_NIC):
            texts[kind] = f"cat {shlex.quote(f'{SCRIPTS}/{file_name(kind, lab)}')}"
    if lab.deployment.lbaas and node in deployment.network_nodes(lab):
        texts[Kind.LBAAS_UNIT] = f"systemctl status --no-pager --lines=0 {LBAAS_UNIT}.service"
    if frames := full_frames(lab, node):
        texts[Kind.FULL_FRAMES] = "; ".join(_ping(frame) for frame in frames)
    if others := peers(lab, node):
        asked = " ".join(map(str, others))
        texts[Kind.ROUTES] = f"printf 'route get %s\\n' {asked} | ip -batch -"
    if node == deployment.controller(lab):
        texts |= _controller_commands(lab, str(deployment.management_address(node)))
    return tuple(
        Command(kind=kind, file=file_name(kind, lab), shell=text) for kind, text in texts.items()
    )


def peers(lab: ResolvedLab, node: ResolvedNode) -> tuple[IPv4Address, ...]:
    """Return the first cards' addresses of the other nodes that are in a node's own first network."""
    network = node.nics[0].network
    return tuple(
        deployment.management_address(other)
        for other in deployment.deployed_nodes(lab)
        if other != node and other.nics[0].network == network
    )


def full_frames(lab: ResolvedLab, node: ResolvedNode) -> tuple[Frame, ...]:
    """Return what a node sends to the first node of each network it has a card in.

    Nothing goes over a bridge of the host of which lab.yaml does not tell the MTU.
    """
    frames = []
    for nic in node.nics:
        mtu = nic.network.mtu or (None if nic.network.mode is NetworkMode.BRIDGE else ETHERNET_MTU)
        first, cards = next(
            (other, cards)
            for other in deployment.deployed_nodes(lab)
            if (cards := {card.name: card for card in other.nics if card.network == nic.network})
        )
        # Of several cards in that network, the one of the same name.
        card = cards.get(nic.name, next(iter(cards.values())))
        if mtu is not None and first != node:
            frames.append(Frame(source=nic.address.ip, to=card.address.ip, mtu=mtu))
    return tuple(frames)


def _ping(frame: Frame) -> str:
    # Until one answer has come: a busy guest may lose the first packet.
    size = frame.mtu - PING_HEADERS
    return f"ping -n -q -c 1 -w {PING_SECONDS} -M do -s {size} -I {frame.source} {frame.to}"


def dashboard_url(lab: ResolvedLab) -> str:
    """Return where the deployed lab's dashboard answers; empty where none is installed."""
    if scenarios.effective(lab)[expected.HORIZON] != "y":
        return ""
    return _dashboard(lab)


def _dashboard(lab: ResolvedLab) -> str:
    address = deployment.management_address(deployment.controller(lab))
    return f"http{'s' if _dashboard_by_ssl(lab) else ''}://{address}/dashboard/"


def _dashboard_by_ssl(lab: ResolvedLab) -> bool:
    # puppet-horizon redirects http to https then (manifests/wsgi/apache.pp, ssl_redirect).
    return scenarios.effective(lab)[expected.HORIZON_SSL] == "y"


def _controller_commands(lab: ResolvedLab, address: str) -> dict[Kind, str]:
    # Packstack signs the dashboard's certificate itself.
    unproven = "-k " if _dashboard_by_ssl(lab) else ""
    client = f". {KEYSTONERC} && openstack"
    curl = f"curl -sS -o /dev/null -w '%{{http_code}}' --max-time {HTTP_SECONDS}"
    return {
        Kind.COMPUTE_SERVICES: f"{client} compute service list -f json",
        Kind.HYPERVISORS: f"{client} hypervisor list -f json",
        Kind.AGENTS: f"{client} network agent list -f json",
        Kind.TOKEN: f"{client} token issue -c expires -c user_id -f json",
        Kind.CELL_HOSTS: "su -s /bin/sh nova -c 'nova-manage cell_v2 list_hosts'",
        Kind.KEYSTONE_HTTP: f"{curl} http://{address}:5000/v3/",
        Kind.DASHBOARD_HTTP: f"{curl} {unproven}-L {_dashboard(lab)}",
    }
