"""The ifcfg files of an external bridge, as Puppet leaves them and as labkit mends them, judged by the
rules of CentOS 7's network scripts."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from labkit.lab.file import load
from labkit.lab.resolve import resolve
from labkit.packstack.mend import mend_script
from labkit.verify.check import Subject
from labkit.verify.checks import ifcfg as checks
from labkit.verify.expected import attached
from labkit.verify.outputs import Kind
from tests.support.examples import EXAMPLES, LAB_ID
from tests.support.initscripts import Problem, Route, bring_up_order, default_route, judge, read
from tests.support.initscripts.keys import is_known
from tests.support.initscripts.order import addresses
from tests.support.judged_files import examples, node_text, nodes, puppets_pair
from tests.support.mending import run_mend

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab
    from tests.support.initscripts import Node
    from tests.support.judged_files import Example

pytestmark = pytest.mark.integration


def large_packets() -> ResolvedLab:
    """Return the document's lab with 9000 bytes in its network."""
    written = load(EXAMPLES["packstack"])
    networks = {
        name: lan.model_copy(update={"mtu": 9000}) for name, lan in written.networks.items()
    }
    return resolve(written.model_copy(update={"networks": networks}), lab_id=LAB_ID)


# Scenarios with the same nodes have the same files.
ATTACHED = list(
    {
        mend_script(each.lab, each.node): each
        for each in (*examples(), *nodes("large-packets", large_packets()))
        if attached(each.lab, each.node)
    }.values()
)
# The device of the default route once the card is in the bridge, and its gateway.
WAYS: dict[tuple[str, str], tuple[str, str] | None] = {
    ("packstack", "controller"): ("br-ex", "172.16.208.254"),
    ("large-packets", "controller"): ("br-ex", "172.16.208.254"),
    ("one-card", "all"): ("br-outside", "192.0.2.1"),
    ("plain-allinone", "ctl"): ("enp0s4", "10.8.0.1"),
    ("several-computes", "net"): ("br-ex", "192.0.2.1"),
    ("three-networks", "ctl"): ("br-ex", "192.0.2.126"),
    ("three-networks", "net"): None,
    ("hostile", "another-name-of-30-characterss"): None,
}


def mended(root: Path, each: Example, *, card: str = "", bridge: str = "") -> dict[str, str]:
    """Return both files after a mend of what is given, or of the card as labkit writes it."""
    asked = each.lab.deployment
    names = (asked.external_nic, asked.external_bridge)
    card = card or node_text(each.lab, each.node).files[f"ifcfg-{asked.external_nic}"]
    run_mend(root, mend_script(each.lab, each.node), card=card, bridge=bridge, names=names)
    found = {path.name: path.read_text() for path in (root / "scripts").iterdir()}
    assert set(found) == {f"ifcfg-{name}" for name in names}
    return found


def of_puppet(root: Path, each: Example) -> dict[str, str]:
    nic, bridge = each.lab.deployment.external_nic, each.lab.deployment.external_bridge
    card = node_text(each.lab, each.node).files[f"ifcfg-{nic}"]
    return puppets_pair(root, card, bridge=bridge, nic=nic)


def judged(each: Example, files: dict[str, str]) -> Node:
    (found,) = read([node_text(each.lab, each.node, files=files)])
    return found


def unread(each: Example) -> dict[str, str]:
    """Return the keys of the external card's file that no script reads, with their values."""
    nic = next(nic for nic in each.node.nics if nic.name == each.lab.deployment.external_nic)
    return {key: value for key, value in nic.ifcfg if not is_known(key)}


def own_keys(each: Example) -> list[Problem]:
    bridge = each.lab.deployment.external_bridge
    return [Problem("known-key", bridge, key) for key in unread(each)]


def test_examples_have_what_moves_into_a_bridge() -> None:
    assert {(each.name, each.node.name) for each in ATTACHED} == set(WAYS)


@pytest.mark.parametrize("each", ATTACHED, ids=str)
def test_mended_files_have_no_problem_and_lead_out_by_the_bridge(
    each: Example, tmp_path: Path
) -> None:
    found = judged(each, mended(tmp_path, each))
    assert judge(found) == own_keys(each)
    way = WAYS[each.name, each.node.name]
    assert default_route(found) == (way and Route(way[0], IPv4Address(way[1])))
    nic, bridge = each.lab.deployment.external_nic, each.lab.deployment.external_bridge
    order = bring_up_order(found)
    assert order.index(bridge) < order.index(nic)
    assert set(order) == {bridge, *(nic.name for nic in each.node.nics)}
    values = found.ifcfg[bridge].sourced.values
    assert {key: values[key] for key in unread(each)} == unread(each)


@pytest.mark.parametrize("each", ATTACHED, ids=str)
def test_puppets_files_have_no_problem_but_a_lost_mtu(each: Example, tmp_path: Path) -> None:
    found = judged(each, of_puppet(tmp_path, each))
    large = "MTU" in found.ifcfg[each.lab.deployment.external_bridge].sourced.values
    lost = Problem("ovs-mtu", each.lab.deployment.external_nic, "1500 bytes, its bridge 9000")
    assert judge(found) == own_keys(each) + ([lost] if large else [])


HEAD = next(nodes("large-packets", large_packets()))


def test_puppets_lost_mtu_is_mended(tmp_path: Path) -> None:
    files = of_puppet(tmp_path / "before", HEAD)
    card, bridge = files["ifcfg-enp0s3"], files["ifcfg-br-ex"]
    after = judged(HEAD, mended(tmp_path / "after", HEAD, card=card, bridge=bridge))
    assert judge(after) == []
    assert default_route(after) == default_route(judged(HEAD, files))


def test_half_done_pair_is_refused_and_mended(tmp_path: Path) -> None:
    files = of_puppet(tmp_path / "before", HEAD)
    half = judged(HEAD, {"ifcfg-br-ex": files["ifcfg-br-ex"]})
    assert [each.rule for each in judge(half)] == ["address-once"]
    after = mended(tmp_path / "after", HEAD, bridge=files["ifcfg-br-ex"])
    assert judge(judged(HEAD, after)) == []


PORT = 'TYPE="OVSPort"\nDEVICE=enp0s3\nOVS_BRIDGE=br-ex\n'
# What somebody added by hand; each has to have its meaning afterwards, and no other.
KEPT = {
    "card": "# DEVICES\nZONE='a public # zone'\nexport ETHTOOL_OPTS='wol d'\nDNS1=192.0.2.53\n"
    'LINKDELAY=5 # seconds\nDEVTIMEOUT="5"\n',
    "bridge": "# TYPES\nIPADDR1=172.16.208.40\nPREFIX1=24\nZONE='$5'\n\tARPCHECK=no\n",
}


def after_hand(root: Path, place: str, lines: str) -> Node:
    """Return the document's pair, mended, with lines that somebody added to one file before."""
    card = node_text(HEAD.lab, HEAD.node).files["ifcfg-enp0s3"] if place == "card" else PORT
    given = {"card": card, "bridge": "DEVICE=br-ex\n"}
    given[place] += f"{lines}\n"
    return judged(HEAD, mended(root, HEAD, card=given["card"], bridge=given["bridge"]))


@pytest.mark.parametrize(("place", "lines"), KEPT.items(), ids=KEPT)
def test_mend_keeps_what_somebody_added_with_its_meaning(
    place: str, lines: str, tmp_path: Path
) -> None:
    found = after_hand(tmp_path, place, lines)
    assert judge(found) == []
    file = found.ifcfg["enp0s3" if place == "card" else "br-ex"]
    alone = read([node_text(HEAD.lab, HEAD.node, files={"ifcfg-x": lines})])[0].ifcfg["x"]
    assert file.sourced.values == {**file.sourced.values, **alone.sourced.values}
    assert default_route(found) == Route("br-ex", IPv4Address("172.16.208.254"))


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ('OVS_EXTRA="set bridge br-ex stp_enable=true"', "set bridge br-ex stp_enable=true"),
        ("OVS_EXTRA='set bridge br-ex other-config:x=$5'", "set bridge br-ex other-config:x=$5"),
        ('OVS_EXTRA="set bridge $DEVICE x=1"', "set bridge br-ex x=1"),
        ('OVS_EXTRA="set bridge br-ex x=1" # mine', "set bridge br-ex x=1"),
        ('export OVS_EXTRA="set bridge br-ex x=1"', "set bridge br-ex x=1"),
        ("OVS_EXTRA=del-controller\\ br-ex", "del-controller br-ex"),
        ("OVS_EXTRA='set bridge br-ex x=`reboot`'", "set bridge br-ex x=`reboot`"),
    ],
)  # fmt: skip
def test_mend_adds_to_open_vswitchs_own_words_and_changes_none(
    line: str, extra: str, tmp_path: Path
) -> None:
    found = after_hand(tmp_path, "bridge", line)
    assert judge(found) == []
    standalone = "set bridge br-ex fail_mode=standalone"
    assert found.ifcfg["br-ex"]["OVS_EXTRA"] == f"{extra} -- {standalone}"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return mended(tmp_path_factory.mktemp("pair") / "mended", HEAD)


@pytest.mark.parametrize(
    ("written", "instead", "right"),
    [
        ("GATEWAY=172.16.208.254", "GATEWAY='172.16.208.254' # out", True),
        ("GATEWAY=172.16.208.254", "GATEWAY0=172.16.208.254", False),
        ("NETMASK=255.255.255.0", "PREFIX=24", True),
        ("NETMASK=255.255.255.0", "PREFIX=32", False),
        ("IPADDR=172.16.208.39", "IPADDR0=172.16.208.39", False),
        ("IPADDR=172.16.208.39\nNETMASK=", "IPADDR0=172.16.208.39\nNETMASK0=", True),
        ("IPADDR=172.16.208.39\nNETMASK=255.255.255.0", "IPADDR0=172.16.208.39\nPREFIX0=24", True),
        ("NETMASK=255.255.255.0", "PREFIX0=24", False),
        ("ONBOOT=yes", "ONBOOT=No", False),
        ("ONBOOT=yes\n", "", True),
        ("TYPE=OVSBridge", "TYPE=Ethernet", False),
        ("OVSBOOTPROTO=static", "OVSBOOTPROTO=none", True),
        ("OVSBOOTPROTO=static", "BOOTPROTO=dhcp", False),
    ],
)
def test_check_of_the_bridges_file_passes_what_the_scripts_take_for_right(
    written: str, instead: str, *, right: bool, pair: dict[str, str]
) -> None:
    assert written in pair["ifcfg-br-ex"]
    files = {**pair, "ifcfg-br-ex": pair["ifcfg-br-ex"].replace(written, instead)}
    texts = {Kind.IFCFG_BRIDGE: files["ifcfg-br-ex"], Kind.IFCFG_NIC: files["ifcfg-enp0s3"]}
    seen = checks.bridge.judge(Subject(lab=HEAD.lab, node=HEAD.node, texts=texts))
    found = judged(HEAD, files)
    scripts_agree = (
        not judge(found)
        and addresses(found, found.ifcfg["br-ex"]) == [HEAD.node.nics[0].address]
        and default_route(found) == Route("br-ex", IPv4Address("172.16.208.254"))
    )
    assert (seen.ok, scripts_agree) == (right, right), seen
