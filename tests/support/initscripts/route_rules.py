"""Rules of /etc/sysconfig/network, the default route and the name servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.initscripts.files import FALSE
from tests.support.initscripts.order import (
    addresses,
    asks_by_dhcp,
    bring_up_order,
    default_route,
    way_out,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.initscripts.files import Node

Found = tuple[str, str]
NETWORK = "network"


def network_file(node: Node) -> Iterator[Found]:
    if node.network is None:
        yield NETWORK, "there is none"
        return
    for fault in node.network.faults:
        yield NETWORK, fault
    if node.network.values.get("NETWORKING") == "no":
        yield NETWORK, "NETWORKING is 'no'"


def defroute(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        if file["DEFROUTE"] not in {"", "yes", "no"}:
            yield name, f"DEFROUTE is '{file['DEFROUTE']}'"


def gateway(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        given, wanted = addresses(node, file), file["GATEWAY"]
        if not wanted or asks_by_dhcp(file) or file["TYPE"] == "OVSPort":
            continue
        if not given:
            yield name, f"GATEWAY '{wanted}' without an address"
        elif node.value(file, "GATEWAYDEV") in {"", file["DEVICE"]}:
            unread = way_out(node, file) is None and file["DEFROUTE"] != "no"
            if unread or wanted in {str(each.ip) for each in given}:
                yield name, f"GATEWAY '{wanted}' for the address {given[0]}"


def gatewaydev(node: Node) -> Iterator[Found]:
    wanted = "" if node.network is None else node.network.values.get("GATEWAYDEV", "")
    leads = {file["DEVICE"] for file in node.ifcfg.values() if way_out(node, file)}
    if wanted and wanted not in leads:
        yield NETWORK, f"GATEWAYDEV '{wanted}' has no way out"


def one_gateway(node: Node) -> Iterator[Found]:
    if any(asks_by_dhcp(file) for file in node.ifcfg.values()):
        return
    left = default_route(node)
    lowest = min((_metric(node, name) for name in _leading(node)), default=0)
    for name in _leading(node):
        found = way_out(node, node.ifcfg[name])
        if left and found != left.gateway and _metric(node, name) == lowest:
            yield name, f"GATEWAY '{found}' is replaced by '{left.gateway}'"


def _leading(node: Node) -> list[str]:
    return [name for name in bring_up_order(node) if way_out(node, node.ifcfg[name])]


def _metric(node: Node, name: str) -> int:
    return int(node.value(node.ifcfg[name], "METRIC") or 0)


def dns(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        kept = FALSE.fullmatch(file["PEERDNS"]) and not FALSE.fullmatch(file["RESOLV_MODS"])
        if kept and any(file[key] for key in ("DNS1", "DNS2")):
            yield name, "DNS1 beside PEERDNS=no, without RESOLV_MODS=no"
