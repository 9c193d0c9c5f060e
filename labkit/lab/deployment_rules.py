"""The rules of `deployment` in lab.yaml: what Packstack would refuse, or what would break the lab."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from labkit.lab import answers, masking, options, scenario, scenarios
from labkit.lab.answer_rules import answer_breaches
from labkit.lab.deployment import SINGLE_NODE
from labkit.lab.model import UnreadError
from labkit.lab.outline import Outline
from labkit.lab.rules import Breach, judge
from labkit.lab.topology import Form, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from labkit.lab.model import Deployment, Lab
    from labkit.lab.yaml import Place

EXCLUDE = "EXCLUDE_SERVERS"
ANSWER_FILE_ONLY = "'form: answer-file'"
# Keys of the lab file that decide an answer-file key alone.
DECIDED_BY: Mapping[str, str] = {
    **dict.fromkeys(answers.HOST_KEYS, "the nodes' roles and addresses, for all eight host keys"),
    EXCLUDE: "nothing; a node left out of a run is cut off by the others' firewalls",
    scenario.LBAAS: "'lbaas'",
    scenario.TUNNEL_IF: "'tunnel_nic'",
    scenario.TUNNEL_SUBNETS: "the networks of 'tunnel_nic'",
}
# What labkit's own steps after Packstack and its checks rely on.
FIXED: Mapping[str, str] = {
    "CONFIG_NEUTRON_L2_AGENT": "openvswitch",
    # With y Packstack looks cards up in a fact that facter 3.9 of the last Queens repository hides.
    "CONFIG_USE_SUBNETS": "n",
}
# What has to be among a key's values.
NEEDED: Mapping[str, Callable[[Outline], tuple[str, ...]]] = {
    "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": lambda _outline: ("vxlan",),
    "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": lambda _outline: ("openvswitch",),
    scenario.TYPE_DRIVERS: lambda _outline: ("vxlan", "flat"),
    scenario.BRIDGE_MAPPINGS: lambda outline: (
        f"{outline.asked.physical_network}:{outline.asked.external_bridge}",
    ),
    scenario.BRIDGE_IFACES: lambda outline: (
        f"{outline.asked.external_bridge}:{outline.external_nic}",
    ),
}
# Those of them that a scenario without the external bridge does not need.
EXTERNAL = frozenset({scenario.TYPE_DRIVERS, scenario.BRIDGE_MAPPINGS, scenario.BRIDGE_IFACES})
REPOSITORIES = "CONFIG_REPO"
# What yum 3.4.3 takes in a baseurl (yum/yumRepo.py).
PLACE_OF_PACKAGES = re.compile(r"(?:https?|ftp|file)://", re.IGNORECASE)


def deployment_breaches(lab: Lab) -> Iterator[Breach]:
    """Yield every broken rule of a lab file's `deployment`; none when there is no such key."""
    asked = lab.deployment
    if asked is None:
        return
    outline = Outline(lab)
    yield from judge(_known_scenario, outline)
    yield from judge(_lbaas, outline)
    yield from judge(_form, outline)
    with suppress(UnreadError):
        for rule in (*outline.scenario.rules, _unused_tunnel_card):
            for breach in judge(rule, outline):
                yield _where_it_is_written(breach, asked)
    faults: set[Place] = set()
    for key, value in asked.answers.items():
        for breach in judge(_answer, outline, key, value):
            faults.add(breach.place)
            yield breach
    with suppress(UnreadError):
        yield from (each for each in answer_breaches(outline) if each.place not in faults)


def _known_scenario(outline: Outline) -> Iterator[Breach]:
    name = outline.asked.scenario
    if name in scenarios.deployable():
        return
    known = ", ".join(f"'{each}'" for each in scenarios.deployable())
    guess = scenarios.close_name(name)
    if guess == name:
        found = (
            f"'{name}', which 'labkit {scenarios.find(name).verb} NODE' starts in a deployed lab"
        )
    else:
        meant = f" (did you mean '{guess}'?)" if guess in scenarios.deployable() else ""
        found = f"the unknown scenario '{name}'{meant}"
    yield Breach(place=("deployment", "scenario"), expected=f"one of {known}", found=found)


def _lbaas(outline: Outline) -> Iterator[Breach]:
    release = outline.lab.release
    if outline.asked.lbaas and options.find(scenario.LBAAS, release) is None:
        yield Breach(
            place=("deployment", "lbaas"),
            expected=f"false, as OpenStack has no LBaaS in the release '{release}'",
            found="true",
            rests_on=(("release",),),
        )


def _form(outline: Outline) -> Iterator[Breach]:
    if outline.form not in outline.scenario.forms:
        allowed = " or ".join(f"'{each}'" for each in outline.scenario.forms)
        yield Breach(
            place=("deployment", "form"),
            expected=f"{allowed} for the scenario '{outline.scenario.name}'",
            found=f"'{outline.form}'",
        )


def _unused_tunnel_card(outline: Outline) -> Iterator[Breach]:
    """Judge a tunnel card that is written for a scenario without tunnels."""
    if outline.scenario.name in SINGLE_NODE and outline.asked.tunnel_nic:
        head = {outline.controller: outline.lab.nodes[outline.controller]}
        yield from scenario.missing_card("tunnel_nic", outline.tunnel_nic, head)


def _where_it_is_written(breach: Breach, asked: Deployment) -> Breach:
    """Return a breach about the scenario, where its own key is not in the file."""
    key = str(breach.place[1])
    if breach.place[0] != "deployment" or key in asked.model_fields_set:
        return breach
    expected = f"the key '{key}': {breach.expected}"
    return replace(breach, place=("deployment", "scenario"), expected=expected)


def _answer(outline: Outline, key: str, value: str) -> Iterator[Breach]:
    place = ("deployment", "answers", key)
    release = outline.lab.release
    option = options.find(key, release)
    if option is None:
        yield _unknown_key(place, key, release)
        return
    owner = DECIDED_BY.get(key)
    if owner is not None:
        expected = f"no '{key}' here (it is decided by {owner})"
        yield Breach(place=place, expected=expected, found=f"'{key}'", about_key=True)
        return
    lacks = options.problem(key, value, release) or _needed(outline, key, value)
    if lacks is not None:
        mask = masking.meant_for_url if key == REPOSITORIES else masking.anything
        shown = "a secret that does not fit" if option.secret else f"'{mask(value)}'"
        yield Breach(place=place, expected=lacks, found=shown)
    elif outline.form is Form.COMMAND:
        yield from _by_command(option, value)


def _unknown_key(place: Place, key: str, release: Release) -> Breach:
    newer = options.replacement(key, release)
    close = options.close_keys(key, release)
    others = [f"'{each}'" for each in Release if options.find(key, each)]
    if newer is not None:
        expected, found = f"'{newer.key}', which took its place", f"'{key}'"
    elif others:
        expected = f"a key that Packstack has for the release '{release}'"
        found = f"'{key}', which it has for {' and '.join(others)}"
    else:
        meant = f" (did you mean '{close[0]}'?)" if close else ""
        expected = f"one of the {len(options.options(release))} answer-file keys of Packstack"
        found = f"the unknown key '{key}'{meant}"
    return Breach(place=place, expected=expected, found=found, about_key=True)


def _needed(outline: Outline, key: str, value: str) -> str | None:
    """Return what a value lacks that the lab or its nodes depend on, or None."""
    if key == REPOSITORIES:
        places = [part.strip() for part in value.split(",")] if value else []
        fine = all(map(PLACE_OF_PACKAGES.match, places))
        return None if fine else "URLs with http://, https://, ftp:// or file:// in front"
    if key in FIXED:
        fixed = FIXED[key]
        return None if value == fixed else f"'{fixed}', as labkit's own steps rely on it"
    needs = NEEDED.get(key)
    if needs is None or (key in EXTERNAL and outline.scenario.name == "allinone"):
        return None
    parts = {part.strip() for part in value.split(",")}
    missing = [f"'{part}'" for part in needs(outline) if part not in parts]
    return (
        f"{' and '.join(missing)} among the values, as the scenario needs it" if missing else None
    )


def _by_command(option: options.Option, value: str) -> Iterator[Breach]:
    place = ("deployment", "answers", option.key)
    if not option.cli:
        why = f"the key '{option.key}', which no option of the command sets"
    elif option.secret or masking.url(value) != value:
        why = f"the secret '{option.key}', which must not stand on a command line"
    elif not value:
        why = f"an empty '{option.key}', which the command takes for not given"
    else:
        return
    yield Breach(place=place, expected=ANSWER_FILE_ONLY, found=why, about_key=True)
