"""What follows from a node's files when `network start` runs: the order, the addresses, the way out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING

from tests.support.initscripts.files import FALSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.support.initscripts.files import Ifcfg, Node

OVS_BRIDGES = frozenset({"OVSBridge", "OVSUserBridge"})
DHCP = frozenset({"dhcp", "bootp"})
# The queues of rc.d/init.d/network behind all other devices, in this order.
QUEUES = ("vlan", "bridge", "xdsl", "vpn")


@dataclass(frozen=True, slots=True)
class Route:
    """A default route.

    Attributes:
        device: The device packets leave by.
        gateway: The host they are sent to.
    """

    device: str
    gateway: IPv4Address


def sorted_names(names: Iterable[str]) -> list[str]:
    """Return names as rc.d/init.d/network sorts them.

    By what comes before the first digit, then by the number there, then byte by byte: eth2 before
    eth10, but enp0s10 before enp0s3.
    """

    def key(name: str) -> tuple[bytes, Decimal, bytes]:
        digit = re.search(r"[0-9]", name)
        if digit is None:
            return name.encode(), Decimal(0), name.encode()
        head, rest = name[: digit.start()], name[digit.start() :]
        number = re.match(r"[0-9]+(\.[0-9]+)?", rest)
        figure = Decimal(number[0]) if number else Decimal(0)
        return head.encode(), figure, f"{head} {rest}".encode()

    return sorted(names, key=key)


def bring_up_order(node: Node) -> tuple[str, ...]:
    """Return the names of the files in the order in which `network start` configures them.

    rc.d/init.d/network, start; ifup-ovs: an OVSPort's bridge comes before it where there is none yet.
    Slaves come with their master.
    """
    first: list[str] = []
    later: dict[str, list[str]] = {queue: [] for queue in QUEUES}
    for name in sorted_names(node.ifcfg):
        file = node.ifcfg[name]
        if _told(file, "SLAVE") == "yes" and (
            not node.networkmanager or FALSE.fullmatch(_told(file, "NM_CONTROLLED"))
        ):
            continue
        later.get(_queue(file), first).append(name)
    done: list[str] = []
    for name in [*first, *(name for queue in QUEUES for name in later[queue])]:
        if node.ifcfg[name].on_boot:
            _ifup(node, name, done)
    return tuple(done)


def asks_by_dhcp(file: Ifcfg) -> bool:
    """Return whether a DHCP client gives a device its address (ifup-eth; ifup-ovs)."""
    by_switch = file["TYPE"] in {*OVS_BRIDGES, "OVSIntPort"} and file["OVSBOOTPROTO"] == "dhcp"
    return file["BOOTPROTO"] in DHCP or by_switch


def addresses(node: Node, file: Ifcfg) -> list[IPv4Interface]:
    """Return the static addresses ifup-eth gives a device, the first one first.

    expand_config of network-functions: IPADDR, IPADDR0, IPADDR1, … to the first gap from 2 on; PREFIX
    before NETMASK, and the class of the address where there is neither.
    """
    enslaved = file["BRIDGE"] or (file["SLAVE"] == "yes" and file["MASTER"])
    if asks_by_dhcp(file) or enslaved or file["TEAM_MASTER"]:
        return []
    if not any(node.value(file, f"IPADDR{index}") for index in ("", 0, 1, 2)):
        return []
    found = []
    for index in address_indexes(node, file):
        address = node.value(file, f"IPADDR{index}")
        mask = node.value(file, f"PREFIX{index}") or node.value(file, f"NETMASK{index}")
        try:
            found.append(IPv4Interface(f"{address}/{mask or class_prefix(IPv4Address(address))}"))
        except ValueError:
            continue
    return found


def address_indexes(node: Node, file: Ifcfg) -> Iterator[str]:
    """Yield what follows IPADDR in the keys that expand_config comes to."""
    for index in ("", *map(str, range(256))):
        if node.value(file, f"IPADDR{index}"):
            yield index
        elif index and int(index) >= 2:
            return


def class_prefix(address: IPv4Address) -> int:
    """Return the length ipcalc takes for an address without a mask (src/ipcalc.c)."""
    first = address.packed[0]
    return 8 if first < 128 else 16 if first < 192 else 24


def way_out(node: Node, file: Ifcfg) -> IPv4Address | None:
    """Return the gateway for which ifup-eth sets a default route when it brings a device up.

    Only with a static address, without DEFROUTE=no, where GATEWAYDEV is empty or the device, and for
    a GATEWAY in the network of the first address.
    """
    given = addresses(node, file)
    gateway, device = node.value(file, "GATEWAY"), node.value(file, "GATEWAYDEV")
    if not given or not gateway or node.value(file, "DEFROUTE") == "no":
        return None
    try:
        inside = IPv4Address(gateway) in given[0].network
    except ValueError:
        return None
    return IPv4Address(gateway) if inside and device in {"", file["DEVICE"]} else None


def default_route(node: Node) -> Route | None:
    """Return the default route after `network start`, None without one.

    ifup-eth runs `ip route replace default via GATEWAY` for each device in turn, so the last one has
    its way, and names no device but GATEWAYDEV: the kernel takes the device whose network has the
    gateway, of equal networks the one that came up first. Routes of other METRIC stay beside each
    other, and the lowest one counts.

    Raises:
        ValueError: A device asks by DHCP, whose server alone knows.
    """
    connected: list[tuple[IPv4Interface, str]] = []
    routes: dict[int, Route] = {}
    for name in bring_up_order(node):
        file = node.ifcfg[name]
        if asks_by_dhcp(file):
            msg = f"ifcfg-{name} asks by DHCP"
            raise ValueError(msg)
        connected += [(address, file["DEVICE"]) for address in addresses(node, file)]
        gateway = way_out(node, file)
        if gateway is None:
            continue
        near = [(address, device) for address, device in connected if gateway in address.network]
        # max takes the first of equal ones, as the kernel does.
        _, device = max(near, key=lambda pair: pair[0].network.prefixlen)
        metric = int(node.value(file, "METRIC") or 0)
        routes[metric] = Route(node.value(file, "GATEWAYDEV") or device, gateway)
    return routes[min(routes)] if routes else None


def _told(file: Ifcfg, key: str) -> str:
    """Return what `network` takes for a key."""
    return file.evaluated[key].values.get(key, "")


def _queue(file: Ifcfg) -> str:
    device, kind = _told(file, "DEVICE") or file.name, _told(file, "TYPE")
    if device.startswith("cipcb"):
        return "vpn"
    by_type = {"xDSL": "xdsl", "Modem": "xdsl", "Bridge": "bridge"} | dict.fromkeys(
        ("IPSEC", "IPIP", "GRE"), "vpn"
    )
    vlan = "." in device or device.startswith("vlan")
    return by_type.get(kind, "vlan" if vlan else "")


def _ifup(node: Node, name: str, done: list[str], *, under: tuple[str, ...] = ()) -> None:
    """Add a device and what has to come with it; one that is up, or coming up, is left alone."""
    file = node.ifcfg.get(name)
    if file is None or name in done or name in under:
        return
    before: list[str] = file["OVSREQUIRES"].split()
    if file["TYPE"].startswith("OVS") and file["TYPE"] not in OVS_BRIDGES:
        before += [file["OVS_BRIDGE"], *file["BOND_IFACES"].split()]
    for each in before:
        _ifup(node, each, done, under=(*under, name))
    done.append(name)
    for other in sorted(node.ifcfg):
        if node.ifcfg[other]["SLAVE"] == "yes" and node.ifcfg[other]["MASTER"] == file["DEVICE"]:
            _ifup(node, other, done, under=(*under, name))
