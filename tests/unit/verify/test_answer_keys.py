"""Every answer-file key was gone through, and the checks do with it what its row says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.lab import options
from labkit.lab.deployment_rules import DECIDED_BY
from labkit.lab.topology import Release
from labkit.verify import expected, outputs
from labkit.verify.check import Verdict
from labkit.verify.checks import all_checks
from labkit.verify.run import judge
from tests.support import documentation, labs, transcripts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.verify.report import Report

USES = {row.key: row.use for row in documentation.answer_key_rows()}
READ = sorted(key for key, use in USES.items() if use != "cannot matter" and key not in DECIDED_BY)
# For the keys that are read: a value that changes what is right to see.
TRIALS = {
    "CONFIG_HORIZON_INSTALL": "n",
    "CONFIG_HORIZON_SSL": "y",
    "CONFIG_NOVA_INSTALL": "n",
    "CONFIG_NEUTRON_INSTALL": "n",
    "CONFIG_IRONIC_INSTALL": "y",
    "CONFIG_VMWARE_BACKEND": "y",
    "CONFIG_CLIENT_INSTALL": "n",
    "CONFIG_KEYSTONE_API_VERSION": "v2.0",
    "CONFIG_USE_SUBNETS": "y",
    "CONFIG_NEUTRON_L2_AGENT": "linuxbridge",
    "CONFIG_NEUTRON_L3_EXT_BRIDGE": "provider",
    "CONFIG_NEUTRON_METERING_AGENT_INSTALL": "n",
    "CONFIG_NEUTRON_ML2_TYPE_DRIVERS": "flat",
    "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": "openvswitch, l2population",
    "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": "gre",
    "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-other",
    "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-ex:enp0s8",
    "CONFIG_NEUTRON_OVS_BRIDGES_COMPUTE": "br-ex",
    "CONFIG_NEUTRON_OVS_VXLAN_UDP_PORT": "8472",
}
# What has to be set beside it before a key is read.
BESIDE = {
    "CONFIG_NEUTRON_L3_EXT_BRIDGE": {"CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-other"},
    "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": {"CONFIG_NEUTRON_OVS_VXLAN_UDP_PORT": "8472"},
}


def seen_as_right(answers: Mapping[str, str]) -> tuple[object, Report]:
    """Return what is asked and what is expected of a lab with these answers."""
    lab = labs.lab()
    given = transcripts.made(lab)
    lab = replace(lab, deployment=replace(lab.deployment, answers=tuple(answers.items())))
    return [outputs.commands(lab, node) for node in lab.nodes], judge(lab, given)


def test_every_answer_key_has_exactly_one_row() -> None:
    rows = documentation.answer_key_rows()
    keys = [option.key for release in Release for option in options.options(release)]
    assert [row.key for row in rows] == list(dict.fromkeys(keys))
    assert {row.use for row in rows} == {"checked", "adapts", "cannot matter"}
    assert all(row.why for row in rows)


def test_every_key_that_is_read_is_tried() -> None:
    assert sorted(TRIALS) == READ
    assert {rule.key for rule in expected.UNJUDGED} <= set(READ)


@pytest.mark.parametrize("key", READ)
def test_key_that_is_read_changes_what_is_right_to_see(key: str) -> None:
    beside = BESIDE.get(key, {})
    assert seen_as_right(beside) != seen_as_right({**beside, key: TRIALS[key]})


@pytest.mark.parametrize("text", ["br-ex", "br-ex:enp0s8", "extnet:br-other", "8472", ""])
def test_keys_that_cannot_matter_change_nothing(text: str) -> None:
    def another(option: options.Option) -> str:
        others = [value for value in option.allowed if value != option.default]
        return others[0] if others else text

    changed = {
        option.key: another(option)
        for option in options.options()
        if USES[option.key] == "cannot matter"
    }
    assert len(changed) > len(USES) / 2
    assert seen_as_right(changed) == seen_as_right({})


@pytest.mark.parametrize("release", Release)
def test_labs_of_every_release_are_judged_alike(release: Release) -> None:
    lab = labs.lab()
    deployment = replace(lab.deployment, lbaas=release is not Release.TRAIN)
    of_release = replace(lab, release=release, deployment=deployment)
    queens = replace(of_release, release=Release.QUEENS)
    found = judge(of_release, transcripts.made(of_release)).results
    assert [(each.check, each.verdict) for each in found] == [
        (each.check, each.verdict) for each in judge(queens, transcripts.made(queens)).results
    ]


def test_checks_that_a_rule_leaves_unjudged_exist_and_say_why() -> None:
    ids = {check.id for check in all_checks()}
    for rule in expected.UNJUDGED:
        assert rule.checks <= ids
        _, report = seen_as_right({rule.key: TRIALS[rule.key]})
        results = [each for each in report.results if each.check in rule.checks]
        judged = [each.check for each in results if each.verdict is not Verdict.NOT_JUDGED]
        assert judged == []
        assert any(rule.key in each.seen for each in results)
