"""The host's own network devices, as iproute2 reports them."""

from __future__ import annotations

import json
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

from labkit.host.process import run

if TYPE_CHECKING:
    from collections.abc import Mapping


def links() -> Mapping[str, tuple[IPv4Interface, ...]]:
    """Return every network device of the host with its IPv4 addresses.

    Raises:
        HostError: iproute2 is not installed.
    """
    return parse_links(run(["ip", "-json", "address", "show"], timeout=10).stdout)


def parse_links(text: str) -> Mapping[str, tuple[IPv4Interface, ...]]:
    """Read the output of `ip -json address show`."""
    return {
        link["ifname"]: tuple(
            IPv4Interface(f"{address['local']}/{address['prefixlen']}")
            for address in link.get("addr_info", [])
            if address.get("family") == "inet"
        )
        for link in json.loads(text)
        if "ifname" in link
    }
