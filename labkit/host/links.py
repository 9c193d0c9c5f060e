"""The host's own network devices and routes, as iproute2 reports them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.host.process import run

if TYPE_CHECKING:
    from collections.abc import Mapping

MAIN_TABLE = "main"
WIRELESS = "wireless"
EVERYWHERE = "0.0.0.0/0"
# What an address of this host or of its neighbours makes; `throw` only ends the look-up in a table.
_NO_WAY = {"local", "broadcast", "multicast", "anycast", "throw"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network device.

    Attributes:
        kind: iproute2's word for it, such as `bridge` or `openvswitch`; `wireless` for a wireless
            card, `loopback` for lo, "" for any other card.
        addresses: Its IPv4 addresses.
        up: Whether it is switched on.
        carrier: Whether something is at its other end.
        master: The device it is a port of; "" for none.
        mtu: The largest packet it takes, in bytes.
    """

    kind: str = ""
    addresses: tuple[IPv4Interface, ...] = ()
    up: bool = True
    carrier: bool = True
    master: str = ""
    mtu: int = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route to part of the IPv4 world, or to all of it.

    Attributes:
        network: Where it leads.
        device: By which device; "" where it leads nowhere, such as a blackhole.
        table: The routing table it stands in.
    """

    network: IPv4Network
    device: str
    table: str = MAIN_TABLE


def links() -> Mapping[str, Link]:
    """Return every network device of the host by name.

    Raises:
        HostError: iproute2 is not installed.
    """
    return parse_links(run(["ip", "-details", "-json", "address", "show"], timeout=10).stdout)


def routes() -> tuple[Route, ...]:
    """Return the host's IPv4 routes of all tables.

    Raises:
        HostError: iproute2 is not installed.
    """
    argv = ["ip", "-4", "-json", "route", "show", "table", "all"]
    return parse_routes(run(argv, timeout=10).stdout)


def parse_links(text: str, *, devices: Path = Path("/sys/class/net")) -> Mapping[str, Link]:
    """Read the output of `ip -details -json address show`.

    Args:
        text: The output.
        devices: Where the kernel says which cards are wireless; iproute2 does not.
    """
    found: dict[str, Link] = {}
    for link in json.loads(text):
        if "ifname" not in link:
            continue
        name, flags = link["ifname"], link.get("flags", [])
        card = "loopback" if "LOOPBACK" in flags else ""
        if (devices / name / "phy80211").exists():
            card = WIRELESS
        found[name] = Link(
            kind=link.get("linkinfo", {}).get("info_kind", card),
            addresses=tuple(
                IPv4Interface(f"{address['local']}/{address['prefixlen']}")
                for address in link.get("addr_info", [])
                if address.get("family") == "inet"
            ),
            up="UP" in flags,
            carrier="NO-CARRIER" not in flags,
            master=link.get("master", ""),
            mtu=link.get("mtu", 1500),
        )
    return found


def parse_routes(text: str) -> tuple[Route, ...]:
    """Read the output of `ip -4 -json route show table all`."""
    return tuple(
        Route(
            network=IPv4Network(EVERYWHERE if route["dst"] == "default" else route["dst"]),
            device=hop.get("dev", ""),
            table=route.get("table", MAIN_TABLE),
        )
        for route in json.loads(text or "[]")
        if route.get("type") not in _NO_WAY
        for hop in route.get("nexthops", [route])
    )
