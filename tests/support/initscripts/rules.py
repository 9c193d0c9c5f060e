"""The rules: what the network scripts want of a node's files, each with where they say so.

Sources are files of initscripts, tags initscripts-9.49.41-1 to branch rhel7-branch (9.49.54), and of
Open vSwitch, branches 2.9 to 2.11, with the function or the part in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.initscripts import device_rules, ovs_rules, route_rules, text_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.support.initscripts.files import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of the scripts.

    Attributes:
        name: Its name.
        says: The rule as a sentence.
        source: Where the scripts say so.
        broken: Return what is wrong with a node's files, as pairs of file name and words.
    """

    name: str
    says: str
    source: str
    broken: Callable[[Node], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Problem:
    """What a rule says against a file."""

    rule: str
    file: str
    words: str


def judge(node: Node, rules: Iterable[Rule] | None = None) -> list[Problem]:
    """Return all problems of a node's files."""
    chosen = RULES if rules is None else rules
    return [Problem(rule.name, *found) for rule in chosen for found in rule.broken(node)]


RULES = (
    Rule(
        name="assignments",
        says="The file is sourced: anything but an assignment is run, by root, at every ifup.",
        source="network-functions: source_config",
        broken=text_rules.assignments,
    ),
    Rule(
        name="grep-and-eval",
        says="DEVICE, TYPE, SLAVE and NM_CONTROLLED are also taken by eval from every line that has "
        "them, joined to one: a comment or a text with such a word hides or changes them.",
        source="rc.d/init.d/network: start; ifdown-eth",
        broken=text_rules.grep_and_eval,
    ),
    Rule(
        name="known-key",
        says="A key that neither the scripts nor NetworkManager read does nothing, or is a variable "
        "of the scripts themselves, such as PATH or CONFIG.",
        source="sysconfig.txt: ifcfg-<interface-name>; rhel/README.RHEL.rst",
        broken=text_rules.known_key,
    ),
    Rule(
        name="switch-value",
        says="NM_CONTROLLED, PEERDNS and IPV6INIT are shvar-style booleans; any other word is "
        "neither true nor false.",
        source="rc.d/init.d/functions: is_true, is_false",
        broken=text_rules.switch_value,
    ),
    Rule(
        name="onboot",
        says="A device stays down only for ONBOOT=no at a line's start, on any line, and for "
        "'no' or 'NO' in the end; every other word brings it up.",
        source="rc.d/init.d/network: start; ifup",
        broken=text_rules.onboot,
    ),
    Rule(
        name="device",
        says="DEVICE is what ifup acts on, and ifup finds a device's file by the file's name.",
        source="network-functions: need_config, source_config; ifup-eth",
        broken=device_rules.device,
    ),
    Rule(
        name="hwaddr",
        says="ifup ends where HWADDR is not the card's address, in capitals or not.",
        source="ifup-eth; network-functions: get_hwaddr, source_config",
        broken=device_rules.hwaddr,
    ),
    Rule(
        name="hwaddr-found-by-grep",
        says="HWADDR and DEVICE are also searched by line, from its start, without 'export': else "
        "udev does not rename the card, and ifdown does not find its file.",
        source="src/rename_device.c: get_configs; network-functions: get_config_by_hwaddr",
        broken=device_rules.hwaddr_found_by_grep,
    ),
    Rule(
        name="slave",
        says="With SLAVE=yes 'network' leaves a device to its MASTER.",
        source="rc.d/init.d/network: start; ifup-eth",
        broken=device_rules.slave,
    ),
    Rule(
        name="bootproto",
        says="'dhcp' and 'bootp' start a DHCP client; every other word, also 'DHCP', means the "
        "file's own addresses.",
        source="ifup; ifup-eth; sysconfig.txt: BOOTPROTO",
        broken=device_rules.bootproto,
    ),
    Rule(
        name="dhcp-or-address",
        says="With a DHCP client the file's addresses are not used.",
        source="ifup-eth: DYNCONFIG",
        broken=device_rules.dhcp_or_address,
    ),
    Rule(
        name="mask",
        says="PREFIX goes before NETMASK; without both the address's class decides.",
        source="network-functions: expand_config; sysconfig.txt: PREFIX",
        broken=device_rules.mask,
    ),
    Rule(
        name="address-numbers",
        says="IPADDR, IPADDR0, IPADDR1, IPADDR2 and on: reading ends at the first gap from 2 on.",
        source="network-functions: expand_config; ifup-eth",
        broken=device_rules.address_numbers,
    ),
    Rule(
        name="address-once",
        says="ifup fails where another card of the network answers for the address (arping -D).",
        source="ifup-eth: arpcheck",
        broken=device_rules.address_once,
    ),
    Rule(
        name="mtu",
        says="MTU is given to the kernel as it is; IPv6 needs 1280 bytes.",
        source="ifup-eth; sysconfig.txt: MTU, IPV6_MTU",
        broken=device_rules.mtu,
    ),
    Rule(
        name="networkmanager",
        says="Where NetworkManager runs, a file without NM_CONTROLLED=no is its own: ifup leaves the "
        "device to it, and it knows no Open vSwitch.",
        source="network-functions: source_config, _use_nm; ifup",
        broken=device_rules.networkmanager,
    ),
    Rule(
        name="network-file",
        says="Without /etc/sysconfig/network, or with NETWORKING=no there, 'network' does nothing.",
        source="rc.d/init.d/network",
        broken=route_rules.network_file,
    ),
    Rule(
        name="defroute",
        says="'no' alone keeps a device from setting the default route; 'NO' and 'false' do not.",
        source="ifup-eth: Set a default route",
        broken=route_rules.defroute,
    ),
    Rule(
        name="gateway",
        says="GATEWAY counts only in the network of the file's first address.",
        source="ifup-eth: Set a default route",
        broken=route_rules.gateway,
    ),
    Rule(
        name="gatewaydev",
        says="With GATEWAYDEV in /etc/sysconfig/network only that device sets the default route.",
        source="ifup-eth: Set a default route",
        broken=route_rules.gatewaydev,
    ),
    Rule(
        name="one-gateway",
        says="Each device replaces the default route of equal METRIC that one before it has set: of "
        "two GATEWAYs the one of the device that comes up last is left.",
        source="ifup-eth: ip route replace default",
        broken=route_rules.one_gateway,
    ),
    Rule(
        name="dns",
        says="Up to 9.49.41 PEERDNS=no does not keep DNS1 out of /etc/resolv.conf without "
        "RESOLV_MODS=no.",
        source="ifup-post",
        broken=route_rules.dns,
    ),
    Rule(
        name="ovs-type",
        says="TYPE decides before DEVICETYPE: 'OVS…' leads to ifup-ovs, which knows its own types "
        "alone, and any other type leads elsewhere, where Open vSwitch's keys mean nothing.",
        source="network-functions: source_config; ifup-ovs",
        broken=ovs_rules.ovs_type,
    ),
    Rule(
        name="ovs-port-needs-its-bridge",
        says="A port brings OVS_BRIDGE up before itself; that is the name of a bridge with a file "
        "that comes up at boot.",
        source="ifup-ovs: ifup_ovs_bridge",
        broken=ovs_rules.port_needs_its_bridge,
    ),
    Rule(
        name="ovs-port-has-no-address",
        says="ifup-eth runs for the port's own file: an address there is the card's, under the "
        "bridge that should have it.",
        source="ifup-ovs: OVSPort",
        broken=ovs_rules.port_has_no_address,
    ),
    Rule(
        name="ovs-bridge-dhcp",
        says="A bridge asks by DHCP with OVSBOOTPROTO, once a port of OVSDHCPINTERFACES is there; "
        "BOOTPROTO would ask before any port is.",
        source="ifup-ovs: OVSBridge; rhel/README.RHEL.rst: Enable DHCP on the bridge",
        broken=ovs_rules.bridge_dhcp,
    ),
    Rule(
        name="ovs-extra",
        says="OVS_EXTRA and OVS_OPTIONS are split at blanks and no more: quotes and patterns of "
        "file names in them stay or are replaced by files.",
        source="ifup-ovs",
        broken=ovs_rules.extra,
    ),
    Rule(
        name="ovs-mtu",
        says="A bridge has no more bytes than its smallest port, and a port without MTU has 1500.",
        source="ofproto/ofproto.c: update_mtu_ofproto; ifup-eth",
        broken=ovs_rules.ovs_mtu,
    ),
)
