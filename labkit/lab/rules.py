"""The rules of lab.yaml that span several keys: clashes, addresses, references, PCI slots.

A rule is a function that yields what breaks it. It reads a `Lab` whose keys with a fault of their
own raise `UnreadError`: what rests on such a value is judged when that one is mended, and not before.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from labkit.lab.model import UnreadError
from labkit.lab.topology import ETHERNET_MTU, NetworkMode, nic_slot
from labkit.lab.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator
    from ipaddress import IPv4Address, IPv4Network

    from labkit.box_places import BoxPlaces
    from labkit.lab.model import Lab, Network, Nic, Node
    from labkit.lab.yaml import Place

Ts = TypeVarTuple("Ts")
Item = TypeVar("Item")
Value = TypeVar("Value")

HOST_NAME_LENGTH = 63
RESERVED_NODE_NAMES = frozenset({"localhost"})
# vagrant-libvirt 0.11 leaves these out of the devices a public_network may name
# (host_device_exclude_prefixes in its config.rb), so `vagrant up` would refuse the bridge.
REFUSED_BRIDGE_PREFIXES = ("docker", "macvtap", "virbr", "vnet")
# What q35 or libvirt puts on pcie.0 itself. libvirt assigns the root ports of all other devices
# from slot 1 on, before vagrant-libvirt attaches the network cards.
TAKEN_SLOTS = {
    1: "video and PCIe root ports",
    2: "PCIe root ports",
    0x1D: "USB",
    0x1F: "SATA and SMBus",
}
MAX_SLOT = 0x1F
# What the ifcfg file says is also what MAC, PCI address, host keys and /etc/hosts were made for;
# IPADDR0, NETMASK0, … would add addresses that no rule has seen; HWADDR is lost when Packstack
# turns the file into an Open vSwitch port and takes the uplink with it at the next boot.
FIXED_IFCFG_KEYS = {
    "DEVICE": "the card's own key",
    "NAME": "the card's own key",
    "TYPE": "always Ethernet",
    "DEVICETYPE": "always Ethernet",
    "BOOTPROTO": "always static",
    "ONBOOT": "always yes",
    "IPADDR": "'address'",
    "NETMASK": "the network's 'cidr'",
    "PREFIX": "the network's 'cidr'",
    "GATEWAY": "the network's 'gateway' or the card's 'gateway: false'",
    "HWADDR": "'mac'",
    "MACADDR": "'mac'",
}
# The network scripts source the file (initscripts 9.49, source_config in network-functions): what it
# sets of the shell's own (bash(1)) or of theirs changes what they do next.
SHELLS_OWN = re.compile(
    r"BASH.*|COMP_.*|LC_.*|LD_.*|PROMPT_.*|PS[0-4]|OPT(ARG|ERR|IND)|CDPATH|COPROC|DIRSTACK|ENV|EUID"
    r"|EXECIGNORE|FUNCNAME|GLOBIGNORE|GROUPS|HOME|IFS|LANG|LANGUAGE|LINENO|MAPFILE|OLDPWD|PATH"
    r"|PIPESTATUS|POSIXLY_CORRECT|PPID|PWD|RANDOM|REPLY|SECONDS|SHELL|SHELLOPTS|SHLVL|TERM|TIMEFORMAT"
    r"|TMOUT|TMPDIR|UID"
)
SCRIPTS_OWN = re.compile(
    r"CONFIG|DEVNAME|IN_HOTPLUG|ISALIAS|OTHERSCRIPT|OVSINTF|PARENTCONFIG|PARENTDEVICE|REALDEVICE"
    r"|SYSCTLDEVICE"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A rule broken at one place of the lab file.

    Attributes:
        place: Keys that lead to the offending value.
        expected: Noun phrase.
        found: Noun phrase.
        about_key: The key at `place` is to blame, not its value.
        rests_on: Places of the names that were compared; a fault of one of them is the cause.
    """

    place: Place
    expected: str
    found: str
    about_key: bool = False
    rests_on: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class _Card:
    node: str
    name: str
    nic: Nic

    @property
    def place(self) -> Place:
        return ("nodes", self.node, "nics", self.name)


def judge(rule: Callable[[*Ts], Iterator[Breach]], *subject: *Ts) -> Iterator[Breach]:
    """Yield what a rule finds until it comes to a value with a fault of its own."""
    with suppress(UnreadError):
        yield from rule(*subject)


def box_breaches(lab: Lab, boxes: BoxPlaces) -> Iterator[Breach]:
    """Yield what is wrong with the box's name: there is none such."""
    if lab.box in boxes.names:
        return
    known = ", ".join(f"'{name}'" for name in boxes.names)
    notes = "".join(f"; {note.rstrip('.')}" for note in boxes.obstacles_of(lab.box))
    yield Breach(
        place=("box",),
        expected=f"the name of a box labkit knows ({known}{notes})",
        found=f"'{lab.box}'",
    )


def breaches(lab: Lab) -> Iterator[Breach]:
    """Yield every broken rule of networks and nodes; the lab may be what is left of a faulty file."""
    networks = [item for _, each in _known([lab], lambda it: it.networks) for item in each.items()]
    nodes = [item for _, each in _known([lab], lambda it: it.nodes) for item in each.items()]
    cards = [
        _Card(node, name, nic)
        for (node, _), nics in _known(nodes, lambda item: item[1].nics)
        for name, nic in nics.items()
    ]
    for name, network in networks:
        for alone in (_bridge, _bridge_accepted, _nat_gateway, _gateway_inside):
            yield from judge(alone, name, network)
    for earlier, later in combinations(networks, 2):
        yield from judge(_ranges_apart, earlier, later)
    yield from _repeats(
        networks,
        lambda item: ("networks", item[0], "bridge"),
        lambda item: item[1].bridge,
        "each bridge once",
    )
    yield from _one_controller(nodes)
    for name, node in nodes:
        for of_node in (_each_role_once, _name_of_its_own, _name_length, _first_card):
            yield from judge(of_node, lab, name, node)
    for card in cards:
        for of_card in (_slot, _network_exists, _address_inside, _ifcfg, _mtu):
            yield from judge(of_card, lab, card)
    yield from _repeats(
        cards,
        lambda card: (*card.place, "address"),
        lambda card: card.nic.address,
        "each address once",
    )
    yield from _repeats(
        cards, lambda card: (*card.place, "mac"), lambda card: card.nic.mac, "each MAC once"
    )
    yield from _repeats(
        [card for card in cards if nic_slot(card.name)],
        lambda card: card.place,
        lambda card: (card.node, nic_slot(card.name)),
        "each PCI slot of a node once",
        about_key=True,
    )


def _known(items: Iterable[Item], read: Callable[[Item], Value]) -> Iterator[tuple[Item, Value]]:
    """Yield the items of which something can be read, with what was read."""
    for item in items:
        with suppress(UnreadError):
            yield item, read(item)


def _bridge(name: str, network: Network) -> Iterator[Breach]:
    if network.mode is NetworkMode.BRIDGE and network.bridge is None:
        yield Breach(
            place=("networks", name),
            expected="the key 'bridge', which mode bridge needs",
            found="no such key",
            about_key=True,
        )
    if network.mode is not NetworkMode.BRIDGE and network.bridge is not None:
        yield Breach(
            place=("networks", name, "bridge"),
            expected=f"no 'bridge' in mode {network.mode}, where labkit makes its own",
            found=f"'{network.bridge}'",
        )


def _bridge_accepted(name: str, network: Network) -> Iterator[Breach]:
    bridge = network.bridge or ""
    if network.mode is NetworkMode.BRIDGE and (
        bridge == "lo" or bridge.startswith(REFUSED_BRIDGE_PREFIXES)
    ):
        prefixes = ", ".join(REFUSED_BRIDGE_PREFIXES)
        yield Breach(
            place=("networks", name, "bridge"),
            expected=f"a bridge Vagrant accepts (not lo, no name in {prefixes}…)",
            found=f"'{bridge}'",
        )


def _nat_gateway(name: str, network: Network) -> Iterator[Breach]:
    if network.mode is NetworkMode.NAT and network.gateway is None:
        yield Breach(
            place=("networks", name),
            expected="the key 'gateway', the host's address on a nat network",
            found="no such key",
            about_key=True,
        )


def _gateway_inside(name: str, network: Network) -> Iterator[Breach]:
    if network.gateway is not None:
        place = ("networks", name, "gateway")
        yield from _host_address(place, network.gateway, name, network.cidr)


def _host_address(
    place: Place, address: IPv4Address, network: str, cidr: IPv4Network
) -> Iterator[Breach]:
    expected = f"an address inside network '{network}' ({cidr})"
    if address not in cidr:
        yield Breach(place=place, expected=expected, found=f"'{address}'")
    elif address == cidr.network_address:
        yield Breach(place=place, expected=expected, found=f"its network address '{address}'")
    elif address == cidr.broadcast_address:
        yield Breach(place=place, expected=expected, found=f"its broadcast address '{address}'")


def _ranges_apart(earlier: tuple[str, Network], later: tuple[str, Network]) -> Iterator[Breach]:
    other, first = earlier
    name, second = later
    if NetworkMode.BRIDGE not in {first.mode, second.mode} and second.cidr.overlaps(first.cidr):
        yield Breach(
            place=("networks", name, "cidr"),
            expected=f"a range apart from network '{other}' ({first.cidr})",
            found=f"'{second.cidr}'",
        )


def _one_controller(nodes: list[tuple[str, Node]]) -> Iterator[Breach]:
    roles = {item[0]: each for item, each in _known(nodes, lambda item: item[1].roles)}
    controllers = [name for name, each in roles.items() if Role.CONTROLLER in each]
    if roles and not controllers and len(roles) == len(nodes):
        expected = "one node with the role controller"
        yield Breach(place=("nodes",), expected=expected, found="none", about_key=True)
    for name in controllers[1:]:
        yield Breach(
            place=("nodes", name, "roles"),
            expected="one controller",
            found=f"a second one beside '{controllers[0]}'",
        )


def _each_role_once(_lab: Lab, name: str, node: Node) -> Iterator[Breach]:
    yield from _repeats(
        list(enumerate(node.roles)),
        lambda item: ("nodes", name, "roles", item[0]),
        lambda item: item[1],
        "each role once",
    )


def _name_of_its_own(_lab: Lab, name: str, _node: Node) -> Iterator[Breach]:
    if name in RESERVED_NODE_NAMES:
        place = ("nodes", name)
        yield Breach(place=place, expected="a name of its own", found=f"'{name}'", about_key=True)


def _name_length(lab: Lab, name: str, _node: Node) -> Iterator[Breach]:
    fqdn = f"{name}.{lab.dns.domain}"
    if len(fqdn) > HOST_NAME_LENGTH:
        yield Breach(
            place=("nodes", name),
            expected=f"a name and 'dns.domain' of at most {HOST_NAME_LENGTH} characters together",
            found=f"'{fqdn}' with {len(fqdn)}",
            about_key=True,
        )


def _first_card(lab: Lab, name: str, node: Node) -> Iterator[Breach]:
    for card, nic in list(node.nics.items())[:1]:
        network = lab.network_of(nic)
        if network.mode is NetworkMode.ISOLATED and network.gateway is None:
            yield Breach(
                place=("nodes", name, "nics", card, "network"),
                expected="a network the host has an address on, for the card labkit connects to",
                found=f"'{nic.network}', which is isolated and has no gateway",
            )


def _slot(_lab: Lab, card: _Card) -> Iterator[Breach]:
    slot = nic_slot(card.name)
    if slot is None:
        return
    if slot < 1 or slot > MAX_SLOT:
        expected = f"a PCI slot from 3 to {MAX_SLOT - 1}"
    elif slot in TAKEN_SLOTS:
        expected = f"a free PCI slot (slot {slot} belongs to {TAKEN_SLOTS[slot]})"
    elif card.name != f"enp0s{slot}":
        expected = f"'enp0s{slot}'"
    else:
        return
    yield Breach(place=card.place, expected=expected, found=f"'{card.name}'", about_key=True)


def _network_exists(lab: Lab, card: _Card) -> Iterator[Breach]:
    if card.nic.network not in lab.networks:
        names = ", ".join(f"'{name}'" for name in lab.networks)
        yield Breach(
            place=(*card.place, "network"),
            expected=f"the name of a network of this lab ({names})",
            found=f"'{card.nic.network}'",
            rests_on=tuple(("networks", name) for name in lab.networks),
        )


def _address_inside(lab: Lab, card: _Card) -> Iterator[Breach]:
    place = (*card.place, "address")
    network, address = lab.network_of(card.nic), card.nic.address
    yield from _host_address(place, address, card.nic.network, network.cidr)
    if address == network.gateway:
        yield Breach(
            place=place,
            expected="an address of its own",
            found=f"'{address}', the gateway of network '{card.nic.network}'",
        )


def _ifcfg(_lab: Lab, card: _Card) -> Iterator[Breach]:
    for key in card.nic.ifcfg:
        why = _why_not(key)
        if why:
            yield Breach(
                place=(*card.place, "ifcfg", key),
                expected=f"no '{key}' here ({why})",
                found=f"'{key}'",
                about_key=True,
            )


def _why_not(key: str) -> str:
    """Return why a key cannot be set in an ifcfg file by itself; empty where it can."""
    stem = re.sub(r"^(IPADDR|NETMASK|PREFIX|GATEWAY)[0-9]+$", r"\1", key)
    if stem in FIXED_IFCFG_KEYS:
        return f"it is decided by {FIXED_IFCFG_KEYS[stem]}"
    for names, whose in ((SHELLS_OWN, "their shell's"), (SCRIPTS_OWN, "their")):
        if names.fullmatch(key):
            return f"the network scripts source the file, and it is a variable of {whose} own"
    return ""


def _mtu(lab: Lab, card: _Card) -> Iterator[Breach]:
    """Judge a card's MTU: one that differs from its network's loses packets, and nothing tells."""
    written = card.nic.ifcfg.get("MTU")
    if written is None:
        return
    name, network = card.nic.network, lab.network_of(card.nic)
    usual = None if network.mode is NetworkMode.BRIDGE else ETHERNET_MTU
    if written != str(network.mtu or usual):
        has = network.mtu or usual or "no 'mtu'"
        yield Breach(
            place=(*card.place, "ifcfg", "MTU"),
            expected=(
                f"the key 'mtu' of network '{name}' instead (it has {has}; where bridge and cards "
                "differ, large packets are lost without a word)"
            ),
            found=f"'{written}'",
        )


def _repeats(
    items: Iterable[Item],
    place: Callable[[Item], Place],
    read: Callable[[Item], Hashable | None],
    expected: str,
    *,
    about_key: bool = False,
) -> Iterator[Breach]:
    first: dict[Hashable, Place] = {}
    for item, value in _known(items, read):
        if value is None:
            continue
        here = place(item)
        earlier = first.setdefault(value, here)
        if earlier == here:
            continue
        shown = value[-1] if isinstance(value, tuple) else value
        yield Breach(
            place=here,
            expected=expected,
            found=f"'{shown}' again, as in '{'.'.join(map(str, earlier))}'",
            about_key=about_key,
        )
