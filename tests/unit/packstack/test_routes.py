"""Routes of a network node after its card has moved into the bridge, with the real `ip`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError
from labkit.host import ssh
from labkit.host.process import run
from labkit.packstack.routes import put_in_order, routes_script
from tests.fakes.guest import FakeGuest
from tests.support.examples import example

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab

LAB = example("packstack")
HEAD, COMPUTE = LAB.nodes
# A namespace in which the card has just moved: its route is younger than that of the other one.
MOVED = """\
set -e
for nic in br-ex enp0s8; do ip link add $nic type bridge; done
ip address add 172.16.208.138/24 dev enp0s8; ip link set enp0s8 up
ip address add 172.16.208.39/24 dev br-ex; ip link set br-ex up
ip route add default via 172.16.208.254 dev enp0s8
"""
ASK = "printf 'route get %s\\n' 172.16.208.141 198.51.100.1 | ip -batch -\n"


def in_namespace(script: str) -> str:
    if shutil.which("unshare") is None:
        pytest.skip("util-linux has no unshare here")
    tried = run(["unshare", "-rn", "bash", "-ec", MOVED], timeout=20, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no namespace of one's own here: {tried.stderr.strip()}")
    return run(["unshare", "-rn", "bash", "-c", MOVED + script], timeout=20).stdout


def asking(**ifcfg: str) -> ResolvedLab:
    """Return the lab with other keys for the card that moves."""
    first, *rest = HEAD.nics
    keys = tuple({**dict(first.ifcfg), **ifcfg}.items())
    head = replace(HEAD, nics=(replace(first, ifcfg=keys), *rest))
    return replace(LAB, nodes=(head, COMPUTE))


def test_card_that_moved_is_talked_from_again_and_leads_out() -> None:
    assert "src 172.16.208.138" in in_namespace(ASK)
    told = in_namespace(routes_script(LAB, HEAD) + ASK)
    assert "172.16.208.141 dev br-ex src 172.16.208.39" in told
    assert "via 172.16.208.254 dev br-ex src 172.16.208.39" in told


def test_second_time_changes_nothing() -> None:
    script = routes_script(LAB, HEAD)
    once = in_namespace(f"({script})\nip route\n")
    assert in_namespace(f"({script})\n({script})\nip route\n") == once
    assert "172.16.208.0/24 dev enp0s8 proto kernel scope link src 172.16.208.138" in once


@pytest.mark.parametrize("word", ["NO", "false", "yes"])
def test_only_the_word_no_keeps_the_bridge_from_leading_out(word: str) -> None:
    lab = asking(DEFROUTE=word)
    told = in_namespace(routes_script(lab, lab.nodes[0]) + ASK)
    assert "via 172.16.208.254 dev br-ex" in told


def test_default_route_of_another_card_is_left_alone() -> None:
    lab = asking(DEFROUTE="no")
    told = in_namespace(routes_script(lab, lab.nodes[0]) + ASK)
    assert "172.16.208.141 dev br-ex src 172.16.208.39" in told
    assert "via 172.16.208.254 dev enp0s8" in told


def test_node_without_the_bridge_is_left_alone() -> None:
    script = f"ip link del br-ex\n({routes_script(LAB, HEAD)}) && ip route\n"
    assert "default via 172.16.208.254 dev enp0s8" in in_namespace(script)


def test_only_a_node_with_another_card_in_the_bridges_network_is_asked() -> None:
    assert routes_script(LAB, COMPUTE) == ""
    first, second = HEAD.nics
    elsewhere = replace(second, address=IPv4Interface("10.0.0.9/24"))
    assert routes_script(LAB, HEAD) != ""
    assert routes_script(LAB, replace(HEAD, nics=(first, elsewhere))) == ""


def test_routes_that_cannot_be_changed_are_told_with_the_guests_words() -> None:
    refused = ssh.ScriptResult(returncode=2, stdout=b"", stderr="RTNETLINK answers: no\n")
    guest = FakeGuest({"put the routes in order": refused})
    with pytest.raises(OperationError) as caught:
        put_in_order(LAB, guest.connection(), HEAD)
    assert caught.value.details == ("RTNETLINK answers: no",)
