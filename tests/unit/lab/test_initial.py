from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.box_places import box_names
from labkit.errors import UsageError
from labkit.lab import scenarios
from labkit.lab.file import check
from labkit.lab.initial import Wish, lab_text, name_from, network
from labkit.lab.resolve import resolve
from labkit.lab.yaml import parse

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab

NETWORK = IPv4Network("172.16.208.0/24")
WISH = Wish(
    name="demo", scenario="multinode", computes=1, network=NETWORK, bridge=None, box="centos7"
)


def lab_of(wish: Wish) -> ResolvedLab:
    lab, problems = check(parse(lab_text(wish, boxes=box_names()), "lab.yaml"))
    assert lab is not None
    assert problems == []
    return resolve(lab, lab_id=UUID(int=0))


@pytest.mark.parametrize("scenario", scenarios.deployable())
@pytest.mark.parametrize("bridge", [None, "br0"])
@pytest.mark.parametrize("box", box_names())
def test_lab_text_is_a_valid_lab_that_can_be_deployed(
    scenario: str, bridge: str | None, box: str
) -> None:
    computes = 2 if scenario == "multinode" else 0
    lab = lab_of(replace(WISH, scenario=scenario, computes=computes, bridge=bridge, box=box))
    assert lab.obstacles == ()
    assert (lab.deployment.scenario, lab.box) == (scenario, box)
    assert len(lab.nodes) == computes + 1
    assert lab.networks[0].bridge == bridge or bridge is None


@settings(max_examples=20)
@given(prefix=st.integers(8, 29), computes=st.integers(1, 9), second=st.integers(0, 255))
def test_lab_text_is_valid_in_any_network_with_room(
    prefix: int, computes: int, second: int
) -> None:
    within = IPv4Network((f"10.{second}.0.0", prefix), strict=False)
    wish = replace(WISH, network=within, computes=computes)
    if computes + 1 > within.num_addresses - 2 - (10 if within.num_addresses >= 64 else 2):
        with pytest.raises(UsageError, match="has no room"):
            lab_text(wish, boxes=box_names())
    else:
        lab_of(wish)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenario": "add-compute"}, "does not begin with"),
        ({"scenario": "allinone"}, "has no compute nodes"),
        ({"computes": 0}, "needs a compute node"),
        ({"network": IPv4Network("10.0.0.0/30")}, "has no room"),
        ({"box": "nothing"}, "There is no box 'nothing'"),
        ({"bridge": "br0\n    cidr: 10.0.0.0/8"}, "is no bridge's name"),
    ],
)
def test_lab_text_of_an_impossible_wish_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        lab_text(replace(WISH, **changes), boxes=box_names())  # type: ignore[arg-type]  # -- as a user may write it


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("packstack", "packstack"),
        ("My Lab.2", "my-lab-2"),
        ("2nd-lab", "nd-lab"),
        ("日本", "lab"),
        ("", "lab"),
        ("a" * 29 + "-b", "a" * 29),
    ],
)
def test_name_from_a_directory_is_one_that_a_lab_may_have(directory: str, name: str) -> None:
    assert name_from(directory) == name


@pytest.mark.parametrize(
    "text", ["172.16.208.39/24", "here", "fd00::/8", "127.0.0.0/8", "0.0.0.0/0", ""]
)
def test_network_of_another_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be the nodes' network; expected a"):
        network(text)
