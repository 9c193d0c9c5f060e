"""Reads what `ip route get` prints (iproute2 4.11, CentOS 7's, to 6.1)."""

from __future__ import annotations

import re

_ROUTE = re.compile(
    r"^(?:local )?(?P<to>[0-9.]+) (?:via [0-9.]+ )?dev \S+ (?:.* )?src (?P<source>[0-9.]+)",
    re.MULTILINE,
)


def parse(text: str) -> dict[str, str]:
    """Return, for each address that was asked for, the address it is reached from.

    Raises:
        ValueError: There is no route in it.
    """
    found = {route["to"]: route["source"] for route in _ROUTE.finditer(text)}
    if not found:
        msg = "no route is in it, so it is not what 'ip route get' prints"
        raise ValueError(msg)
    return found
