"""Rules of Open vSwitch's bridges and ports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.initscripts.keys import OPENVSWITCH, OVS_TYPES
from tests.support.initscripts.order import DHCP, OVS_BRIDGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.initscripts.files import Ifcfg, Node

Found = tuple[str, str]
ETHERNET_MTU = "1500"


def ovs_type(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        kind = file["TYPE"]
        own = sorted(key for key in file.sourced.values if key in OPENVSWITCH)
        # With another TYPE than those of source_config, DEVICETYPE is left as it is.
        if (kind.startswith("OVS") or file["DEVICETYPE"] == "ovs") and kind not in OVS_TYPES:
            yield name, f"TYPE is '{kind}'"
        elif own and not kind.startswith("OVS"):
            yield name, f"TYPE is '{kind}' beside {own[0]}"


def port_needs_its_bridge(node: Node) -> Iterator[Found]:
    for name, file in _ports(node):
        bridge = node.ifcfg.get(file["OVS_BRIDGE"])
        if bridge is None:
            yield name, f"OVS_BRIDGE '{file['OVS_BRIDGE']}' has no file"
        elif bridge["TYPE"] not in OVS_BRIDGES:
            yield name, f"OVS_BRIDGE '{bridge.name}' is of TYPE '{bridge['TYPE']}'"
        elif file.on_boot and not bridge.on_boot:
            yield name, f"OVS_BRIDGE '{bridge.name}' does not come up at boot"


def port_has_no_address(node: Node) -> Iterator[Found]:
    for name, file in _ports(node):
        if file["TYPE"] != "OVSPort":
            continue
        given = [
            key for key in file.sourced.values if re.fullmatch(r"(IPADDR|GATEWAY)[0-9]*", key)
        ]
        if file["BOOTPROTO"] in DHCP:
            given.append("BOOTPROTO")
        for key in given:
            if file[key]:
                yield name, f"{key} is '{file[key]}'"


def bridge_dhcp(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        if file["TYPE"] not in OVS_BRIDGES:
            continue
        if file["BOOTPROTO"] in DHCP:
            yield name, f"BOOTPROTO is '{file['BOOTPROTO']}'"
        ports = {port for port, other in _ports(node) if other["OVS_BRIDGE"] == file["DEVICE"]}
        if file["OVSBOOTPROTO"] == "dhcp" and not ports & set(file["OVSDHCPINTERFACES"].split()):
            yield name, f"OVSDHCPINTERFACES is '{file['OVSDHCPINTERFACES']}'"


def extra(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        for key in ("OVS_EXTRA", "OVS_OPTIONS"):
            if re.search(r"[\"'*?\[\\]", file[key]):
                yield name, f"{key} is '{file[key]}'"


def ovs_mtu(node: Node) -> Iterator[Found]:
    for name, file in _ports(node):
        bridge = node.ifcfg.get(file["OVS_BRIDGE"])
        if bridge is None or file["TYPE"] != "OVSPort" or not bridge["MTU"].isdecimal():
            continue
        has = file["MTU"] or ETHERNET_MTU
        if has.isdecimal() and int(has) < int(bridge["MTU"]):
            yield name, f"{has} bytes, its bridge {bridge['MTU']}"


def _ports(node: Node) -> Iterator[tuple[str, Ifcfg]]:
    for name, file in node.ifcfg.items():
        if file["TYPE"] in OVS_TYPES - OVS_BRIDGES:
            yield name, file
