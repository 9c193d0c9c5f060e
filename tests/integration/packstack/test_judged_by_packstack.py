"""What labkit tells Packstack, judged by Packstack itself, of Queens and Train; no guest, no host."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.errors import UsageError
from labkit.lab import deployment, options, scenarios
from labkit.lab.scenario import ANSWER_FILE
from labkit.lab.topology import Form, Release
from labkit.packstack import passwords
from labkit.packstack.output.steps import expected_steps
from tests.support.examples import EXAMPLES, example
from tests.support.real_packstack import NEEDS_LIB2TO3, Outcome, judged, packstack

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.lab.scenario import PackstackCall
    from labkit.lab.topology import ResolvedLab

pytestmark = pytest.mark.integration

DONE = re.compile(r"^(.+?)\s*\[ DONE \]$", re.MULTILINE)
MANIFEST = re.compile(r"^\S+\.pp:")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m|\r")
# What two runs never have in common: made up anew, or a place.
RANDOM = {option.key for option in options.options() if option.random}


# Packstack of Rocky and Stein is not on the package index.
JUDGES = [
    pytest.param(Release.QUEENS, marks=NEEDS_LIB2TO3),
    Release.TRAIN,
]


def asking(name: str, scenario: str, form: Form, release: Release = Release.QUEENS) -> ResolvedLab:
    lab = example(name)
    lbaas = lab.deployment.lbaas and release is not Release.TRAIN
    deployment = replace(lab.deployment, scenario=scenario, form=form, lbaas=lbaas)
    return replace(lab, release=release, deployment=deployment)


def told(lab: ResolvedLab) -> PackstackCall:
    secrets = {} if lab.deployment.form is Form.COMMAND else passwords.complete({}, {})
    return scenarios.call(lab, secrets)


def possible(name: str, scenario: str, form: Form) -> bool:
    """Return whether a lab file may ask for this."""
    lab = asking(name, scenario, form)
    try:
        return not lab.obstacles and bool(told(lab))
    except UsageError:
        return False


CALLS = [
    (name, scenario.name, form)
    for name in EXAMPLES
    for scenario in scenarios.all_scenarios()
    for form in scenario.forms
    if possible(name, scenario.name, form)
]
FILES = [call for call in CALLS if call[2] is Form.ANSWER_FILE]
BOTH = [
    call[:2]
    for call in CALLS
    if call[2] is Form.COMMAND and (*call[:2], Form.ANSWER_FILE) in CALLS
]


def run(call: PackstackCall, home: Path, release: Release) -> Outcome:
    """Let Packstack carry a call out, as far as a dry run goes."""
    words = list(call.argv[1:])
    if call.answer_file is not None:
        file = home / "answers.cfg"
        file.write_text(call.answer_file, encoding="utf-8")
        words = [word.replace(ANSWER_FILE, str(file)) for word in words]
    return packstack(home, *words, "--dry-run", release=release)


def titles(outcome: Outcome) -> list[str]:
    found = DONE.findall(ESCAPES.sub("", outcome.output))
    return [title for title in found if not MANIFEST.match(title)]


def comparable(outcome: Outcome, home: Path, lab: ResolvedLab) -> dict[str, str]:
    """Return the effective configuration without what two runs never have in common."""
    # The pretended controller finds itself at 127.0.0.1.
    here = str(deployment.controller(lab).nics[0].address.ip)
    return {
        key: str(value).replace("127.0.0.1", here).replace(str(home), "/root")
        for key, value in outcome.conf.items()
        if key.startswith("CONFIG_")
        and key.removesuffix("_UNQUOTED") not in RANDOM
        and not key.endswith("_SQL_CONN_PW")
    }


@pytest.mark.parametrize("release", JUDGES)
@pytest.mark.parametrize(("name", "scenario", "form"), CALLS)
def test_call_is_accepted_and_runs_the_steps_that_labkit_expects(
    name: str, scenario: str, form: Form, release: Release, tmp_path: Path
) -> None:
    lab = asking(name, scenario, form, release)
    outcome = run(told(lab), tmp_path, release)
    assert outcome.returncode == 0, outcome.output
    assert titles(outcome) == list(expected_steps(scenarios.effective(lab), release))
    # What the checks of every release rely on, whatever its defaults are.
    assert outcome.conf["CONFIG_NEUTRON_L2_AGENT"] == "openvswitch"
    assert "vxlan" in outcome.conf["CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"]


@pytest.mark.parametrize("release", JUDGES)
@pytest.mark.parametrize(("name", "scenario", "form"), FILES)
def test_answer_file_has_no_key_that_packstack_does_not_know(
    name: str, scenario: str, form: Form, release: Release, tmp_path: Path
) -> None:
    call = told(asking(name, scenario, form, release))
    assert call.answer_file is not None
    file = tmp_path / "answers.cfg"
    file.write_text(call.answer_file, encoding="utf-8")
    outcome = packstack(tmp_path, f"--validate-answer-file={file}", release=release)
    assert (outcome.returncode, "unexpected options." in outcome.output) == (0, True), outcome


@pytest.mark.parametrize("release", JUDGES)
@pytest.mark.parametrize(("name", "scenario"), BOTH)
def test_command_and_answer_file_mean_the_same(
    name: str, scenario: str, release: Release, tmp_path: Path
) -> None:
    found = {}
    for form in (Form.COMMAND, Form.ANSWER_FILE):
        home = tmp_path / form.value
        home.mkdir()
        lab = asking(name, scenario, form, release)
        outcome = run(told(lab), home, release)
        assert outcome.returncode == 0, outcome.output
        found[form] = comparable(outcome, home, lab)
    assert found[Form.COMMAND] == found[Form.ANSWER_FILE]


# A value or two of every kind that Packstack's validators tell apart, and hostile ones.
VALUES = [
    *(("CONFIG_CINDER_INSTALL", value) for value in ("y", "n", "yes", "", "Y", "true")),
    *(("CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO", value) for value in ("1.5", "x", "1,5")),
    *(("CONFIG_SWIFT_STORAGE_ZONES", value) for value in ("2", "-1", "two", "1.0", "0x1")),
    *(("CONFIG_REDIS_PORT", value) for value in ("0", "6379", "65534", "65535", "-1", "six")),
    *(("CONFIG_NEUTRON_ML2_TYPE_DRIVERS", value) for value in ("vxlan, flat", "vxlan,x", "gre")),
    *(("CONFIG_NEUTRON_ML2_VXLAN_GROUP", value) for value in ("239.1.1.1", "x y", "::1")),
    *(("CONFIG_SWIFT_STORAGE_SIZE", value) for value in ("2G", "2000M", "2", "G", "2 G", "2g")),
    *(("CONFIG_CINDER_BACKEND", value) for value in ("lvm", "lvm,nfs", "lvm, nfs", "tape")),
    *(("CONFIG_KEYSTONE_TOKEN_FORMAT", value) for value in ("FERNET", "UUID", "fernet", "PKI")),
    *(("CONFIG_GLANCE_BACKEND", value) for value in ("file", "%(x)s", "disk")),
    *(("CONFIG_NEUTRON_L2_AGENT", value) for value in ("openvswitch", "ovn", "linux")),
    ("CONFIG_KEYSTONE_FERNET_TOKEN_ROTATE_ENABLE", ""),
]
# labkit says these by itself: what passes Packstack's validators and fails in its steps.
STRICTER = {
    ("CONFIG_CINDER_INSTALL", ""),
    ("CONFIG_SWIFT_STORAGE_ZONES", "-1"),
    ("CONFIG_SWIFT_STORAGE_SIZE", "2g"),
    ("CONFIG_NEUTRON_ML2_VXLAN_GROUP", "x y"),
    ("CONFIG_NEUTRON_ML2_VXLAN_GROUP", "::1"),
}


@pytest.mark.parametrize("release", JUDGES)
def test_values_are_judged_as_packstack_judges_them(release: Release, tmp_path: Path) -> None:
    values = [pair for pair in VALUES if options.find(pair[0], release)]
    verdicts = judged(tmp_path, values, release=release)
    accepted = {pair for pair, why in zip(values, verdicts, strict=True) if why is None}
    ours = {pair for pair in values if options.problem(*pair, release) is None}
    assert ours - accepted == set(), "labkit accepts what Packstack refuses"
    assert accepted - ours <= STRICTER, "labkit refuses what Packstack accepts"
