"""Reads `ip addr` (iproute2 4.11, CentOS 7's, to 6.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface

_LINK = re.compile(r"\d+: (?P<name>[^\s@:]+)(?:@\S+)?: <(?P<flags>[A-Z0-9_,-]*)>")
_MAC = re.compile(r"link/ether (?P<mac>(?:[0-9a-f]{2}:){5}[0-9a-f]{2})\b")
_INET = re.compile(r"inet (?P<address>[0-9.]+)(?: peer [0-9.]+)?(?P<prefix>/\d+)?\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network device.

    Attributes:
        name: Its name, without the `@peer` that follows some.
        flags: Such as UP and LOWER_UP.
        mac: Its Ethernet address, lower case; empty when it has none.
        addresses: Its IPv4 addresses with prefix length, in the order printed.
    """

    name: str
    flags: frozenset[str]
    mac: str = ""
    addresses: tuple[IPv4Interface, ...] = ()

    @property
    def up(self) -> bool:
        """Return whether it was set up; its carrier is another matter."""
        return "UP" in self.flags


def parse(text: str) -> dict[str, Link]:
    """Return the devices by name.

    Raises:
        ValueError: The text names no device at all, so it is no output of `ip addr`.
    """
    links: dict[str, Link] = {}
    current: Link | None = None
    for line in text.splitlines():
        if found := _LINK.match(line):
            current = Link(name=found["name"], flags=frozenset(found["flags"].split(",")))
        elif current is not None and line.startswith(" "):
            current = _with(current, line.strip() + " ")
        else:
            continue
        links[current.name] = current
    if not links:
        msg = "no network device is in it, so it is not what 'ip addr' prints"
        raise ValueError(msg)
    return links


def _with(link: Link, line: str) -> Link:
    if found := _MAC.match(line):
        return replace(link, mac=found["mac"])
    if found := _INET.match(line):
        try:
            address = IPv4Interface(f"{found['address']}{found['prefix'] or ''}")
        except ValueError:
            return link
        return replace(link, addresses=(*link.addresses, address))
    return link
