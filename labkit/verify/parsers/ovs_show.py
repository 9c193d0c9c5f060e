"""Reads `ovs-vsctl show`.

Open vSwitch 2.9 puts names with a digit into quotes, 2.11 and later only those that need it; both
are read. Values are OVSDB atoms: bare words, or strings in JSON's quotes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

_STRING = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf'(?P<key>{_STRING}|[^\s=,{{}}"]+)=(?P<value>{_STRING}|[^\s,{{}}"]*)')
_ROW = re.compile(rf"(?P<kind>Bridge|Port|Interface) (?P<name>{_STRING}|\S+)\s*")
_COLUMN = re.compile(r"(?P<key>[a-z_]+): (?P<value>.*)")


@dataclass(slots=True, kw_only=True)
class Interface:
    """An interface: what a port leads to.

    Attributes:
        name: Its name.
        bridge: The bridge its port belongs to.
        kind: `type` in OVS: internal, patch, vxlan; empty for a device of the system.
        options: Such as peer, local_ip and remote_ip.
        error: What OVS could not do with it; empty when all is well.
    """

    name: str
    bridge: str
    kind: str = ""
    options: dict[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(slots=True, kw_only=True)
class Bridge:
    """A bridge and the interfaces of its ports."""

    name: str
    interfaces: dict[str, Interface] = field(default_factory=dict)

    def of_kind(self, kind: str) -> tuple[Interface, ...]:
        """Return its interfaces of one type, in the order printed."""
        return tuple(item for item in self.interfaces.values() if item.kind == kind)


def parse(text: str) -> dict[str, Bridge]:
    """Return the bridges by name; none when Open vSwitch has none.

    Raises:
        ValueError: The text is not what the command prints.
    """
    bridges: dict[str, Bridge] = {}
    bridge: Bridge | None = None
    interface: Interface | None = None
    for line in (raw.strip() for raw in text.splitlines()):
        if row := _ROW.fullmatch(line):
            name = _atom(row["name"])
            if row["kind"] == "Bridge":
                bridge = bridges.setdefault(name, Bridge(name=name))
                interface = None
            elif row["kind"] == "Port" or bridge is None:
                interface = None
            else:
                interface = Interface(name=name, bridge=bridge.name)
                bridge.interfaces[name] = interface
        elif interface is not None and (column := _COLUMN.fullmatch(line)):
            _set(interface, column["key"], column["value"])
    # Every database prints its id first and its version last.
    if not bridges and not re.search(
        r"^\s*ovs_version: |^[0-9a-f]{8}(-[0-9a-f]{4}){3}", text, re.MULTILINE
    ):
        msg = "neither a bridge nor a version is in it, so it is not what 'ovs-vsctl show' prints"
        raise ValueError(msg)
    return bridges


def _set(interface: Interface, column: str, value: str) -> None:
    if column == "type":
        interface.kind = _atom(value)
    elif column == "options":
        interface.options = {_atom(p["key"]): _atom(p["value"]) for p in _PAIR.finditer(value)}
    elif column == "error":
        interface.error = _atom(value)


def _atom(text: str) -> str:
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            return text.strip('"')
    return text
