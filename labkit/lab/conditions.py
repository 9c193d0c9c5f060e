"""When Packstack reads a group of answers at all: the conditions of the table of options, judged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# How the table shortens the conditions of the NetApp groups.
SHORT = {
    "cinder netapp": "CONFIG_CINDER_INSTALL=y AND 'netapp' in CONFIG_CINDER_BACKEND",
    "manila netapp": "CONFIG_MANILA_INSTALL=y AND 'netapp' in CONFIG_MANILA_BACKEND",
    "family": "CONFIG_CINDER_NETAPP_STORAGE_FAMILY",
    "protocol": "CONFIG_CINDER_NETAPP_STORAGE_PROTOCOL",
}
KEY = r"[A-Z][A-Z0-9_]+"


def keys(condition: str) -> tuple[str, ...]:
    """Return the keys a condition rests on, in its order."""
    return tuple(dict.fromkeys(re.findall(KEY + r"_[A-Z0-9_]+", _long(condition))))


def holds(condition: str, value: Callable[[str], str]) -> bool:
    """Return whether Packstack reads the keys that have a condition.

    Args:
        condition: As the table has it.
        value: What an answer-file key has.

    Raises:
        ValueError: The table has a condition of another form.
    """
    return all(_holds(part, value) for part in _long(condition).split(" AND "))


def _long(condition: str) -> str:
    for short, long in SHORT.items():
        condition = re.sub(rf"\b{short}\b", long, condition)
    return condition


def _holds(part: str, value: Callable[[str], str]) -> bool:
    if part == "always":
        return True
    if found := re.fullmatch(rf"({KEY})=(\S+)", part):
        return value(found[1]) == found[2]
    if found := re.fullmatch(rf"'(\S+)' in ({KEY})", part):
        return found[1] in value(found[2])
    if found := re.fullmatch(rf"({KEY}) in \{{(\S+)\}}", part):
        return value(found[1]) in found[2].split(",")
    if found := re.fullmatch(rf"({KEY})(?: or ({KEY}))? non-empty", part):
        return any(value(key) for key in found.groups() if key)
    msg = f"'{part}' is no condition"
    raise ValueError(msg)
