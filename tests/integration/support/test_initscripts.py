"""The rules of CentOS's network scripts that judge our ifcfg files: each refuses what it is for."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import run
from tests.support.initscripts import (
    RULES,
    NodeText,
    Route,
    bring_up_order,
    default_route,
    judge,
    read,
)
from tests.support.initscripts.order import sorted_names
from tests.support.initscripts.sourcing import source

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.initscripts import Node

pytestmark = pytest.mark.integration

CARD = """\
TYPE=Ethernet
BOOTPROTO=static
IPADDR=192.0.2.9
NETMASK=255.255.255.0
GATEWAY=192.0.2.1
NM_CONTROLLED=no
DEVICE=enp0s3
ONBOOT=yes
"""
OTHER = CARD.replace("enp0s3", "enp0s8").replace("192.0.2.", "198.51.100.")
SECOND = OTHER.replace("GATEWAY=198.51.100.1\n", "")
BRIDGE = CARD.replace("enp0s3", "br-ex").replace("TYPE=Ethernet", "DEVICETYPE=ovs\nTYPE=OVSBridge")
PORT = """\
DEVICE=enp0s3
DEVICETYPE=ovs
TYPE=OVSPort
OVS_BRIDGE=br-ex
ONBOOT=yes
BOOTPROTO=none
"""
GOOD = {
    "cards": NodeText(files={"ifcfg-enp0s3": CARD, "ifcfg-enp0s8": SECOND}),
    "bridge": NodeText(files={"ifcfg-br-ex": BRIDGE, "ifcfg-enp0s3": PORT}),
    "same-gateway": NodeText(
        files={"ifcfg-enp0s3": CARD, "ifcfg-enp0s8": CARD.replace("enp0s3", "enp0s8").replace(".9", ".8")}
    ),
    "dhcp": NodeText(files={"ifcfg-enp0s3": "DEVICE=enp0s3\nBOOTPROTO='dhcp'\n"}),
    "no-device": NodeText(files={"ifcfg-lo": "DEVICE=x\n", "ifcfg-enp0s3.bak": "echo\n", "a": "echo"}),
    "hwaddr": NodeText(
        files={"ifcfg-enp0s3": f"{CARD}  HWADDR='52:54:00:aa:00:01' # mine\nHWADDR=52:54:00:AA:00:01"},
        macs={"enp0s3": "52:54:00:aa:00:01"},
    ),
    "networkmanager": NodeText(files={"ifcfg-enp0s3": CARD}, networkmanager=True),
    "names": NodeText(files={"ifcfg-enp0s3": f'{CARD}ETHTOOL_OPTS="-K ${{DEVICE}} tso on"\n'}),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """Files that one rule refuses, and no other."""

    rule: str
    words: str
    text: NodeText


def card(more: str = "", *, less: str = "", **node: object) -> NodeText:
    """Return a node with one card whose file has further lines, or lacks a key."""
    kept = "".join(line for line in CARD.splitlines(keepends=True) if not less or less not in line)
    return replace(NodeText(files={"ifcfg-enp0s3": f"{kept}{more}"}), **node)  # type: ignore[arg-type]


def pair(*, bridge: str = "", port: str = "") -> NodeText:
    return NodeText(files={"ifcfg-br-ex": BRIDGE + bridge, "ifcfg-enp0s3": PORT + port})


def two(second: str, *, network: str = "NETWORKING=yes\n") -> NodeText:
    return NodeText(files={"ifcfg-enp0s3": CARD, "ifcfg-enp0s8": second}, network=network)


BAD = [
    Bad(rule=rule, words=words, text=text)
    for rule, words, text in [
        ("assignments", "line 9 is no plain assignment: reboot", card("reboot\n")),
        ("assignments", "NAME=$(reboot)", card("NAME=$(reboot)\n")),
        ("assignments", 'NAME="`reboot`"', card('NAME="`reboot`"\n')),
        ("assignments", "NAME=a reboot", card("NAME=a reboot\n")),
        ("assignments", "b", card("NAME=a b\n")),
        ("assignments", "$(< /etc/passwd)", card("NAME=$(</etc/passwd)\n")),
        ("assignments", "unexpected EOF", card("NAME='a\n")),
        ("assignments", "restricted", card("{ NAME=a; } >/tmp/labkit-was-here\n")),
        ("assignments", "UID=0", card("UID=0\n")),
        ("assignments", "PATH=/tmp", card("PATH=/tmp\n")),
        ("assignments", "function ip", card("ip() { reboot; }\n")),
        ("grep-and-eval", "DEVICE is 'enp0s3', for eval ''", card("# DEVICE=x\nDEVICE=enp0s3\n", less="DEVICE")),
        ("grep-and-eval", "unexpected EOF", card("ZONE='\nTYPE=Bridge'\nTYPE=Ethernet\n", less="TYPE")),
        ("grep-and-eval", "$(reboot)", card("ZONE='\nDEVICE=$(reboot)\n'\n")),
        ("known-key", "IPADR", card("IPADR=192.0.2.9\n")),
        ("known-key", "CONFIG", card("CONFIG=ifcfg-other\n")),
        ("known-key", "IPADDR0_", card("IPADDR0_=192.0.2.9\n")),
        ("switch-value", "NM_CONTROLLED is 'never'", card("NM_CONTROLLED=never\n")),
        ("onboot", "ONBOOT is 'false'", card("ONBOOT=false\n")),
        ("onboot", "an earlier line has 'no'", card("ONBOOT=no\nONBOOT=yes\n", less="ONBOOT")),
        ("onboot", "not at a line's start", card("export ONBOOT=no\n", less="ONBOOT")),
        ("device", "DEVICE is 'enp0s4'", card("DEVICE=enp0s4\n", less="DEVICE")),
        ("device", "DEVICE is ''", card(less="DEVICE")),
        ("hwaddr", "the card has '52:54:00:AA:00:01'",
         card("HWADDR=52:54:00:AA:00:02\n", macs={"enp0s3": "52:54:00:aa:00:01"})),
        ("hwaddr-found-by-grep", "HWADDR", card("export HWADDR=52:54:00:aa:00:01\n")),
        ("hwaddr-found-by-grep", "HWADDR", card("HWADDR=52:54:00:''aa:00:01\n")),
        ("hwaddr-found-by-grep", "DEVICE", card("HWADDR=52:54:00:aa:00:01\n DEVICE=enp0s3\n", less="DEVICE")),
        ("slave", "MASTER 'bond0' has no file", card("SLAVE=yes\nMASTER=bond0\n", less="GATEWAY")),
        ("bootproto", "BOOTPROTO is 'DHCP'", card("BOOTPROTO=DHCP\n")),
        ("dhcp-or-address", "beside DHCP", card("BOOTPROTO=dhcp\n", less="GATEWAY")),
        ("mask", "NETMASK '255.255.255.0' is not read", card("PREFIX=25\n")),
        ("mask", "gets /24 by its class", card(less="NETMASK")),
        ("mask", "999", card("IPADDR0=192.0.2.999\nPREFIX0=24\n")),
        ("address-numbers", "IPADDR4 is not read",
         card("IPADDR2=192.0.2.8\nPREFIX2=24\nIPADDR4=192.0.2.7\nPREFIX4=24\n")),
        ("address-numbers", "IPADDR3 is not read", card("IPADDR3=192.0.2.7\nPREFIX3=24\nIPADDR=\nGATEWAY=\n")),
        ("address-once", "192.0.2.9 is that of 'enp0s3' too", two(CARD.replace("enp0s3", "enp0s8"))),
        ("mtu", "MTU is '1.5k'", card("MTU=1.5k\n")),
        ("mtu", "MTU is '1000'", card("MTU=1000\n")),
        ("networkmanager", "NetworkManager runs", card(less="NM_CONTROLLED", networkmanager=True)),
        ("network-file", "there is none", card(network=None)),
        ("network-file", "NETWORKING is 'no'", card(network="NETWORKING=no\n")),
        ("network-file", "no plain assignment: reboot", card(network="reboot\n")),
        ("defroute", "DEFROUTE is 'NO'", card("DEFROUTE=NO\n")),
        ("defroute", "DEFROUTE is 'false'", card("DEFROUTE=false\n")),
        ("gateway", "for the address 192.0.2.9/24", card("GATEWAY=192.0.3.1\n")),
        ("gateway", "for the address 192.0.2.9/24", card("GATEWAY=192.0.2.9\n")),
        ("gateway", "for the address 192.0.2.9/24",
         card("IPADDR0=198.51.100.9\nPREFIX0=24\nGATEWAY=198.51.100.1\n")),
        ("gateway", "without an address", card("IPADDR=\n")),
        ("gatewaydev", "GATEWAYDEV 'br-ex' has no way out", card(network="GATEWAYDEV=br-ex\n")),
        ("gatewaydev", "'enp0s8'", two(SECOND, network="GATEWAYDEV=enp0s8\n")),
        ("one-gateway", "'192.0.2.1' is replaced by '198.51.100.1'", two(OTHER)),
        ("dns", "DNS1", card("PEERDNS=no\nDNS1=192.0.2.53\n")),
        ("ovs-type", "TYPE is 'OVSbridge'", card("TYPE=OVSbridge\n", less="GATEWAY")),
        ("ovs-type", "TYPE is 'Ethernet' beside OVS_BRIDGE", card("OVS_BRIDGE=br-ex\n")),
        ("ovs-type", "TYPE is ''", card("DEVICETYPE=ovs\n", less="TYPE")),
        ("ovs-port-needs-its-bridge", "'br-int' has no file", pair(port="OVS_BRIDGE=br-int\n")),
        ("ovs-port-needs-its-bridge", "has no file", pair(port="OVS_BRIDGE=\n")),
        ("ovs-port-needs-its-bridge", "of TYPE 'Ethernet'",
         NodeText(files={"ifcfg-br-ex": CARD.replace("enp0s3", "br-ex"), "ifcfg-enp0s3": PORT})),
        ("ovs-port-needs-its-bridge", "does not come up", pair(bridge="ONBOOT=no\n")),
        ("ovs-port-has-no-address", "IPADDR is '192.0.2.7'", pair(port="IPADDR=192.0.2.7\nPREFIX=24\n")),
        ("ovs-port-has-no-address", "BOOTPROTO is 'dhcp'", pair(port="BOOTPROTO=dhcp\n")),
        ("ovs-port-has-no-address", "GATEWAY is", pair(port="GATEWAY=192.0.2.1\n")),
        ("ovs-bridge-dhcp", "BOOTPROTO is 'dhcp'", pair(bridge="BOOTPROTO=dhcp\nIPADDR=\n")),
        ("ovs-bridge-dhcp", "OVSDHCPINTERFACES is ''", pair(bridge="OVSBOOTPROTO=dhcp\nIPADDR=\n")),
        ("ovs-bridge-dhcp", "is 'enp0s8'",
         pair(bridge="OVSBOOTPROTO=dhcp\nIPADDR=\nOVSDHCPINTERFACES=enp0s8\n")),
        ("ovs-extra", "OVS_EXTRA is", pair(bridge="OVS_EXTRA='set bridge br-ex other-config:x=\"a b\"'\n")),
        ("ovs-extra", "OVS_OPTIONS is", pair(port="OVS_OPTIONS='tag=*'\n")),
        ("ovs-mtu", "1500 bytes, its bridge 9000", pair(bridge="MTU=9000\n")),
        ("ovs-mtu", "1600 bytes, its bridge 9000", pair(bridge="MTU=9000\n", port="MTU=1600\n")),
    ]
]  # fmt: skip


@pytest.fixture(scope="module")
def bad() -> list[Node]:
    return read(each.text for each in BAD)


@pytest.mark.parametrize(
    "number", range(len(BAD)), ids=[f"{each.rule}-{number}" for number, each in enumerate(BAD)]
)
def test_bad_files_are_refused_by_the_rule_and_by_no_other(number: int, bad: list[Node]) -> None:
    problems = judge(bad[number])
    assert {each.rule for each in problems} == {BAD[number].rule}, problems
    assert any(BAD[number].words in each.words for each in problems), problems


def test_each_rule_has_files_it_refuses_and_says_where_it_is_from() -> None:
    assert {rule.name for rule in RULES} == {each.rule for each in BAD}
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.says.endswith(".") and rule.source for rule in RULES)


def test_good_files_have_no_problem() -> None:
    nodes = dict(zip(GOOD, read(GOOD.values()), strict=True))
    assert {name: judge(node) for name, node in nodes.items()} == {name: [] for name in GOOD}


def test_sourcing_runs_nothing_and_gives_each_value_as_bash_has_it(tmp_path: Path) -> None:
    canary = tmp_path / "was-here"
    commands = [f"touch {canary}", f"A=$(touch {canary})", f"A=1 touch {canary}", f": >{canary}"]
    commands += [f"{{ A=1; }} >{canary}", f"A=`touch {canary}`", f"f() {{ touch {canary}; }}; f"]
    plain = "A='a\nb' B=\"x $A\"\nexport C=\\$5 D=*\nE=ü#x # comment\nC=last"
    told = source([*commands, plain])
    assert not canary.exists()
    assert all(told[command].faults for command in commands)
    assert told[plain].faults == ()
    assert told[plain].values == {"A": "a\nb", "B": "x a\nb", "C": "last", "D": "*", "E": "ü#x"}


NAMES = [
    *(
        "enp0s8",
        "enp0s3",
        "enp0s10",
        "enp0s28",
        "eth10",
        "eth2",
        "br-ex",
        "br0",
        "br-",
        "enp0s3.7",
    ),
    *(
        "vlan7",
        "vlan07",
        "e",
        "em1",
        "e-1",
        "enp1s0",
        "enp10s0",
        "eth0.42",
        "eth0.5",
        "eth0",
        "EN1",
    ),
]


def test_names_are_sorted_as_the_scripts_own_commands_sort_them() -> None:
    env = {"PATH": os.defpath, "LC_ALL": "C"}
    pipe = "sed -e 's/[0-9]/ &/' | sort -k 1,1 -k 2n | sed 's/ //'"
    told = run(["bash", "-c", pipe], timeout=10, env=env, stdin="\n".join(NAMES) + "\n").stdout
    assert sorted_names(NAMES) == told.split()


OVS = {"ifcfg-enp0s10": OTHER.replace("enp0s8", "enp0s10")} | dict(GOOD["bridge"].files)
LATE = {
    "ifcfg-a1": PORT.replace("enp0s3", "a1").replace("br-ex", "z-br"),
    "ifcfg-z-br": BRIDGE.replace("br-ex", "z-br"),
}
RING = {
    "ifcfg-br-ex": f"{BRIDGE}OVSREQUIRES='enp0s3 br-ex none'\n",
    "ifcfg-enp0s3": f"{PORT}OVSREQUIRES=br-ex\n",
}
BOND = {
    "ifcfg-bond0": CARD.replace("enp0s3", "bond0"),
    "ifcfg-a1": "DEVICE=a1\nSLAVE=yes\nMASTER=bond0\n",
    "ifcfg-b1": "DEVICE=b1\nTYPE=Bridge\n",
    "ifcfg-a.5": "DEVICE=a.5\n",
    "ifcfg-off": "DEVICE=off\nONBOOT=no\n",
    "ifcfg-p1": "DEVICE=p1\nTYPE=GRE\n",
}


@pytest.mark.parametrize(
    ("files", "order", "device", "gateway"),
    [
        (GOOD["cards"].files, "enp0s3 enp0s8", "enp0s3", "192.0.2.1"),
        (GOOD["bridge"].files, "br-ex enp0s3", "br-ex", "192.0.2.1"),
        (GOOD["same-gateway"].files, "enp0s3 enp0s8", "enp0s3", "192.0.2.1"),
        (two(OTHER).files, "enp0s3 enp0s8", "enp0s8", "198.51.100.1"),
        (two(f"{OTHER}METRIC=5\n").files, "enp0s3 enp0s8", "enp0s3", "192.0.2.1"),
        (two(f"{OTHER}DEFROUTE=no\n").files, "enp0s3 enp0s8", "enp0s3", "192.0.2.1"),
        (two(f"{OTHER}DEFROUTE=NO\n").files, "enp0s3 enp0s8", "enp0s8", "198.51.100.1"),
        (two(f"{OTHER}ONBOOT=no\n").files, "enp0s3", "enp0s3", "192.0.2.1"),
        (OVS, "br-ex enp0s10 enp0s3", "enp0s10", "198.51.100.1"),
        (LATE, "z-br a1", "z-br", "192.0.2.1"),
        (RING, "enp0s3 br-ex", "br-ex", "192.0.2.1"),
        (BOND, "bond0 a1 a.5 b1 p1", "bond0", "192.0.2.1"),
    ],
)  # fmt: skip
def test_order_and_default_route_follow_from_the_files(
    files: dict[str, str], order: str, device: str, gateway: str
) -> None:
    (node,) = read([NodeText(files=files)])
    assert bring_up_order(node) == tuple(order.split())
    assert default_route(node) == Route(device, IPv4Address(gateway))


def test_default_route_is_that_of_gatewaydev_or_none() -> None:
    named, elsewhere = read(
        [
            two(OTHER, network="GATEWAYDEV=enp0s3\n"),
            two(SECOND, network="GATEWAYDEV=enp0s8\n"),
        ]
    )
    assert default_route(named) == Route("enp0s3", IPv4Address("192.0.2.1"))
    assert default_route(elsewhere) is None


def test_default_route_by_dhcp_is_unknown() -> None:
    (node,) = read([GOOD["dhcp"]])
    with pytest.raises(ValueError, match="enp0s3 asks by DHCP"):
        default_route(node)
