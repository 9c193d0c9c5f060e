"""The rules of lab.yaml that span several keys: clashes, addresses, references, PCI slots."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

from labkit.lab.topology import NetworkMode, nic_slot
from labkit.lab.types import Address, Cidr, Mac, ModeName, Role

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping
    from ipaddress import IPv4Address, IPv4Network

    from labkit.lab.yaml_file import Place, Plain

T = TypeVar("T")

_ADDRESS = TypeAdapter(Address)
_CIDR = TypeAdapter(Cidr)
_MAC = TypeAdapter(Mac)
_MODE = TypeAdapter(ModeName)
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
    "BOOTPROTO": "always static",
    "ONBOOT": "always yes",
    "IPADDR": "'address'",
    "NETMASK": "the network's 'cidr'",
    "PREFIX": "the network's 'cidr'",
    "GATEWAY": "the network's 'gateway' or the card's 'gateway: false'",
    "HWADDR": "'mac'",
    "MACADDR": "'mac'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A rule broken at one place of the lab file.

    Attributes:
        place: Keys that lead to the offending value.
        expected: Noun phrase.
        found: Noun phrase.
        about_key: The key at `place` is to blame, not its value.
    """

    place: Place
    expected: str
    found: str
    about_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Net:
    name: str
    mode: NetworkMode | None
    cidr: IPv4Network | None
    gateway: IPv4Address | None
    bridge: str | None

    @property
    def place(self) -> Place:
        return ("networks", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    node: str
    name: str
    network: str | None
    address: IPv4Address | None
    mac: str | None
    ifcfg: tuple[str, ...]

    @property
    def place(self) -> Place:
        return ("nodes", self.node, "nics", self.name)


def breaches(data: Plain) -> Iterator[Breach]:
    """Yield every broken rule of a lab file's plain data.

    Works on files whose single values are wrong as well: what cannot be read is left out, so a
    typing error does not hide a clash elsewhere.
    """
    networks = {name: _net(name, raw) for name, raw in _mapping(data, "networks").items()}
    nodes = _mapping(data, "nodes")
    cards = [
        _card(node, name, raw)
        for node, fields in nodes.items()
        for name, raw in _mapping(fields, "nics").items()
    ]
    for net in networks.values():
        yield from _network_alone(net)
    yield from _networks_together(list(networks.values()))
    yield from _nodes(data, nodes)
    for card in cards:
        yield from _card_alone(card, networks)
    yield from _first_cards(cards, networks)
    yield from _repeats(
        (((*card.place, "address"), card.address) for card in cards), "each address once"
    )
    yield from _repeats((((*card.place, "mac"), card.mac) for card in cards), "each MAC once")
    yield from _repeats(
        ((card.place, (card.node, slot)) for card in cards if (slot := nic_slot(card.name))),
        "each PCI slot of a node once",
        about_key=True,
    )


def _mapping(data: Plain, key: str) -> Mapping[str, Plain]:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def _parsed(kind: TypeAdapter[T], data: Plain, key: str) -> T | None:
    if not isinstance(data, dict) or key not in data:
        return None
    try:
        return kind.validate_python(data[key])
    except ValidationError:
        return None


def _string(data: Plain, key: str) -> str | None:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, str) else None


def _net(name: str, raw: Plain) -> _Net:
    return _Net(
        name=name,
        mode=_parsed(_MODE, raw, "mode"),
        cidr=_parsed(_CIDR, raw, "cidr"),
        gateway=_parsed(_ADDRESS, raw, "gateway"),
        bridge=_string(raw, "bridge"),
    )


def _card(node: str, name: str, raw: Plain) -> _Card:
    return _Card(
        node=node,
        name=name,
        network=_string(raw, "network"),
        address=_parsed(_ADDRESS, raw, "address"),
        mac=_parsed(_MAC, raw, "mac"),
        ifcfg=tuple(_mapping(raw, "ifcfg")),
    )


def _network_alone(net: _Net) -> Iterator[Breach]:
    if net.mode is NetworkMode.BRIDGE and net.bridge is None:
        yield Breach(
            place=net.place,
            expected="the key 'bridge', which mode bridge needs",
            found="no such key",
            about_key=True,
        )
    if net.bridge is not None:
        at = (*net.place, "bridge")
        if net.mode in {NetworkMode.NAT, NetworkMode.ISOLATED}:
            yield Breach(
                place=at,
                expected=f"no 'bridge' in mode {net.mode}, where labkit makes its own",
                found=f"'{net.bridge}'",
            )
        elif net.bridge == "lo" or net.bridge.startswith(REFUSED_BRIDGE_PREFIXES):
            prefixes = ", ".join(REFUSED_BRIDGE_PREFIXES)
            yield Breach(
                place=at,
                expected=f"a bridge Vagrant accepts (not lo, no name in {prefixes}…)",
                found=f"'{net.bridge}'",
            )
    if net.mode is NetworkMode.NAT and net.gateway is None:
        yield Breach(
            place=net.place,
            expected="the key 'gateway', the host's address on a nat network",
            found="no such key",
            about_key=True,
        )
    if net.gateway is not None and net.cidr is not None:
        yield from _host_address((*net.place, "gateway"), net.gateway, net.name, net.cidr)


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


def _networks_together(networks: list[_Net]) -> Iterator[Breach]:
    own = [net for net in networks if net.mode is not NetworkMode.BRIDGE and net.cidr is not None]
    for index, net in enumerate(own):
        for earlier in own[:index]:
            if net.cidr and earlier.cidr and net.cidr.overlaps(earlier.cidr):
                yield Breach(
                    place=(*net.place, "cidr"),
                    expected=f"a range apart from network '{earlier.name}' ({earlier.cidr})",
                    found=f"'{net.cidr}'",
                )
    bridged = (((*net.place, "bridge"), net.bridge) for net in networks)
    yield from _repeats(bridged, "each bridge once")


def _nodes(data: Plain, nodes: Mapping[str, Plain]) -> Iterator[Breach]:
    domain = _string(data.get("dns", ""), "domain") if isinstance(data, dict) else None
    controllers = []
    for name, raw in nodes.items():
        roles = _roles(raw)
        entries = [(("nodes", name, "roles", index), role) for index, role in enumerate(roles)]
        yield from _repeats(entries, "each role once")
        if Role.CONTROLLER in roles:
            controllers.append(name)
        yield from _node_name(name, domain)
    if nodes and not controllers:
        expected = "one node with the role controller"
        yield Breach(place=("nodes",), expected=expected, found="none", about_key=True)
    for name in controllers[1:]:
        yield Breach(
            place=("nodes", name, "roles"),
            expected="one controller",
            found=f"a second one beside '{controllers[0]}'",
        )


def _roles(raw: Plain) -> list[str]:
    roles = raw.get("roles") if isinstance(raw, dict) else None
    # A role that is no text keeps its place, or the ones after it would change their index.
    return [str(role) for role in roles] if isinstance(roles, list) else []


def _node_name(name: str, domain: str | None) -> Iterator[Breach]:
    place = ("nodes", name)
    if name in RESERVED_NODE_NAMES:
        yield Breach(place=place, expected="a name of its own", found=f"'{name}'", about_key=True)
    fqdn = f"{name}.{domain}"
    if domain is not None and len(fqdn) > HOST_NAME_LENGTH:
        yield Breach(
            place=place,
            expected=f"a name and 'dns.domain' of at most {HOST_NAME_LENGTH} characters together",
            found=f"'{fqdn}' with {len(fqdn)}",
            about_key=True,
        )


def _card_alone(card: _Card, networks: Mapping[str, _Net]) -> Iterator[Breach]:
    yield from _slot(card)
    net = networks.get(card.network) if card.network is not None else None
    if card.network is not None and net is None:
        names = ", ".join(f"'{name}'" for name in networks) or "any network"
        yield Breach(
            place=(*card.place, "network"),
            expected=f"the name of a network of this lab ({names})",
            found=f"'{card.network}'",
        )
    at = (*card.place, "address")
    if net is not None and net.cidr is not None and card.address is not None:
        yield from _host_address(at, card.address, net.name, net.cidr)
        if card.address == net.gateway:
            yield Breach(
                place=at,
                expected="an address of its own",
                found=f"'{card.address}', the gateway of network '{net.name}'",
            )
    for key in card.ifcfg:
        stem = re.sub(r"^(IPADDR|NETMASK|PREFIX|GATEWAY)[0-9]+$", r"\1", key)
        source = FIXED_IFCFG_KEYS.get(stem)
        if source is not None:
            yield Breach(
                place=(*card.place, "ifcfg", key),
                expected=f"no '{key}' here (it is decided by {source})",
                found=f"'{key}'",
                about_key=True,
            )


def _slot(card: _Card) -> Iterator[Breach]:
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


def _first_cards(cards: list[_Card], networks: Mapping[str, _Net]) -> Iterator[Breach]:
    seen: set[str] = set()
    for card in cards:
        if card.node in seen:
            continue
        seen.add(card.node)
        net = networks.get(card.network or "")
        if net and net.mode is NetworkMode.ISOLATED and net.gateway is None:
            yield Breach(
                place=(*card.place, "network"),
                expected="a network the host has an address on, for the card labkit connects to",
                found=f"'{net.name}', which is isolated and has no gateway",
            )


def _repeats(
    entries: Iterable[tuple[Place, Hashable | None]], expected: str, *, about_key: bool = False
) -> Iterator[Breach]:
    first: dict[Hashable, Place] = {}
    counts: Counter[Hashable] = Counter()
    for place, value in entries:
        if value is None:
            continue
        counts[value] += 1
        if counts[value] == 1:
            first[value] = place
            continue
        shown = value[-1] if isinstance(value, tuple) else value
        other = ".".join(str(part) for part in first[value])
        yield Breach(
            place=place,
            expected=expected,
            found=f"'{shown}' again, as in '{other}'",
            about_key=about_key,
        )
