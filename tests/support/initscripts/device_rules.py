"""Rules of a device's name, hardware and addresses."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from tests.support.initscripts.files import FALSE
from tests.support.initscripts.order import (
    DHCP,
    address_indexes,
    addresses,
    asks_by_dhcp,
    class_prefix,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.initscripts.files import Ifcfg, Node

Found = tuple[str, str]
STATIC = frozenset({"", "none", "static"})
LEAST_MTU, LEAST_IPV6_MTU, MOST_MTU = 68, 1280, 65535


def device(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        if file["DEVICE"] != name:
            yield name, f"DEVICE is '{file['DEVICE']}'"


def hwaddr(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        has = node.macs.get(file["DEVICE"], "").upper()
        wanted = {file[key].upper() for key in ("HWADDR", "MACADDR")}
        if file["HWADDR"] and has and has not in wanted:
            yield name, f"HWADDR is '{file['HWADDR']}', the card has '{has}'"


def hwaddr_found_by_grep(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        for key in ("HWADDR", "DEVICE") if file["HWADDR"] else ():
            at_start = re.search(rf"^{key}=", file.text, re.MULTILINE)
            if not at_start or not file.matches(key):
                yield name, f"no search finds {key}"


def slave(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        if file["SLAVE"] == "yes" and file["MASTER"] not in node.ifcfg:
            yield name, f"SLAVE is 'yes' and MASTER '{file['MASTER']}' has no file"


def bootproto(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        for key in ("BOOTPROTO", "OVSBOOTPROTO"):
            if file[key] not in DHCP | STATIC:
                yield name, f"{key} is '{file[key]}'"


def dhcp_or_address(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        if asks_by_dhcp(file) and file["IPADDR"]:
            yield name, "an address beside DHCP"


def mask(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        for index in address_indexes(node, file):
            words = _mask(node, file, index)
            if words:
                yield name, words


def _mask(node: Node, file: Ifcfg, index: str) -> str:
    prefix, netmask = (node.value(file, f"{key}{index}") for key in ("PREFIX", "NETMASK"))
    try:
        address = IPv4Address(node.value(file, f"IPADDR{index}"))
        lengths = [IPv4Network(f"0.0.0.0/{each}").prefixlen for each in (prefix, netmask) if each]
    except ValueError as exc:
        return f"IPADDR{index}: {exc}"
    if not lengths:
        return f"IPADDR{index} gets /{class_prefix(address)} by its class"
    if len(set(lengths)) > 1:
        return f"PREFIX{index} is '{prefix}', NETMASK{index} '{netmask}' is not read"
    return ""


def address_numbers(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        seen = {f"IPADDR{index}" for index in address_indexes(node, file)}
        # ifup-eth asks for these before it reads any.
        if not seen & {"IPADDR", "IPADDR0", "IPADDR1", "IPADDR2"}:
            seen = set()
        for key in file.sourced.values:
            if re.fullmatch(r"IPADDR[0-9]*", key) and file[key] and key not in seen:
                yield name, f"{key} is not read"


def address_once(node: Node) -> Iterator[Found]:
    first: dict[IPv4Address, str] = {}
    for name, file in node.ifcfg.items():
        for address in addresses(node, file):
            if first.setdefault(address.ip, name) != name:
                yield name, f"{address.ip} is that of '{first[address.ip]}' too"


def mtu(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        value = file["MTU"]
        least = LEAST_MTU if FALSE.fullmatch(file["IPV6INIT"]) else LEAST_IPV6_MTU
        if value and not (value.isdecimal() and least <= int(value) <= MOST_MTU):
            yield name, f"MTU is '{value}'"


def networkmanager(node: Node) -> Iterator[Found]:
    if not node.networkmanager:
        return
    for name, file in node.ifcfg.items():
        if not FALSE.fullmatch(file["NM_CONTROLLED"]):
            yield name, f"NM_CONTROLLED is '{file['NM_CONTROLLED']}' and NetworkManager runs"
