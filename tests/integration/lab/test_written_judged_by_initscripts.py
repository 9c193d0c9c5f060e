"""The ifcfg files labkit writes, judged by the rules of CentOS 7's network scripts."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from labkit.lab.scenario import _local_address
from tests.support.initscripts import Problem, Route, bring_up_order, default_route, judge, read
from tests.support.judged_files import examples, node_text

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from tests.support.initscripts import Node
    from tests.support.judged_files import Example

pytestmark = pytest.mark.integration

# Where the default route of each node of the example labs leads.
WAYS: dict[str, dict[str, tuple[str, str] | None]] = {
    "packstack": {
        "controller": ("enp0s3", "172.16.208.254"),
        "compute": ("enp0s3", "172.16.208.254"),
    },
    "hostile": {"another-name-of-30-characterss": None},
    "one-card": {"all": ("enp0s3", "192.0.2.1")},
    "plain-allinone": {"ctl": ("enp0s4", "10.8.0.1"), "spare": ("enp0s3", "10.9.0.1")},
    "several-computes": {
        "c1": ("enp0s3", "192.0.2.1"),
        "ctl": ("enp0s3", "192.0.2.1"),
        # Textually enp0s10 comes first, and its network is that of the gateway.
        "net": ("enp0s10", "192.0.2.1"),
        "c2": ("enp0s3", "192.0.2.1"),
    },
    "three-networks": {"ctl": ("enp0s3", "192.0.2.126"), "net": None, "cmp": None},
}
NODES = list(examples())
# Of the hostile lab: keys that nothing reads, for their values.
OWN_KEYS = {"QUOTES", "COMMAND", "RUBY", "SPACES", "EMPTY", "GLOB", "UNICODE", "JINJA", "ASSIGN",
            "COMMENT", "NUMBER"}  # fmt: skip


@pytest.fixture(scope="module")
def judged() -> dict[str, Node]:
    # Where NetworkManager runs, the scripts ask for more.
    texts = [node_text(each.lab, each.node, networkmanager=True) for each in NODES]
    return dict(zip(map(str, NODES), read(texts), strict=True))


def own_keys(each: Example) -> list[Problem]:
    if each.name != "hostile":
        return []
    (nic,) = each.node.nics
    keys = [key for key, _ in nic.ifcfg if key in OWN_KEYS]
    assert len(keys) == len(OWN_KEYS)
    return [Problem("known-key", nic.name, key) for key in keys]


@pytest.mark.parametrize("each", NODES, ids=str)
def test_written_files_have_no_problem_and_lead_where_they_should(
    each: Example, judged: dict[str, Node]
) -> None:
    read_back = judged[str(each)]
    assert judge(read_back) == own_keys(each)
    way = WAYS[each.name][each.node.name]
    assert default_route(read_back) == (way and Route(way[0], IPv4Address(way[1])))
    assert set(bring_up_order(read_back)) == {nic.name for nic in each.node.nics}


@pytest.mark.parametrize("each", NODES, ids=str)
def test_written_values_are_those_of_the_lab_file_after_sourcing(
    each: Example, judged: dict[str, Node]
) -> None:
    read_back = judged[str(each)].ifcfg
    found = {file: ifcfg.sourced.values for file, ifcfg in read_back.items()}
    assert found == {nic.name: dict(nic.ifcfg) for nic in each.node.nics}


def without_default_routes() -> list[tuple[ResolvedLab, ResolvedNode]]:
    """Return the nodes, and each with DEFROUTE=no on one of its cards."""
    found = []
    for each in NODES:
        found.append((each.lab, each.node))
        for nic in each.node.nics:
            off = replace(nic, ifcfg=tuple({**dict(nic.ifcfg), "DEFROUTE": "no"}.items()))
            cards = tuple(off if other is nic else other for other in each.node.nics)
            found.append((each.lab, replace(each.node, nics=cards)))
    return found


def test_packstacks_own_address_is_foretold_as_the_scripts_route() -> None:
    """Packstack takes the address towards its default gateway for that of the host."""
    nodes = without_default_routes()
    texts = [node_text(lab, node) for lab, node in nodes]
    for (_, node), read_back in zip(nodes, read(texts), strict=True):
        route = default_route(read_back)
        address = {nic.name: nic.address.ip for nic in node.nics}
        assert _local_address(node) == (route and address[route.device]), node
