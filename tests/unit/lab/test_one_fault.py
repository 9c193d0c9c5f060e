"""One fault in a lab file is one problem: nothing is said of what rests on a value with a fault."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from labkit.lab import yaml
from labkit.lab.file import check, json_schema
from tests.support.examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.lab.yaml import Place

# With every key there is, once at least.
EVERY_KEY = """\
name: full
box: rehearsal
pool: ssd
expires: 3d
dns: {servers: [192.0.2.53], domain: full.test}
repos:
  release: 7.9.2009
  base: https://vault.centos.org
  fallbacks: [https://archive.kernel.org/centos-vault]
  proxy: http://192.0.2.2:3128
  keys:
    - keys/RPM-GPG-KEY-CentOS-SIG-Cloud
    - keys/RPM-GPG-KEY-CentOS-SIG-Storage
    - keys/RPM-GPG-KEY-CentOS-SIG-Virtualization
networks:
  lan: {mode: nat, cidr: 10.0.0.0/24, gateway: 10.0.0.1, mtu: 1400}
  wan: {mode: bridge, bridge: br0, cidr: 10.0.1.0/24}
nodes:
  one:
    roles: [controller, network]
    cpus: 1
    memory: 512 MiB
    disk: 60 GiB
    nics:
      enp0s3: {network: lan, address: 10.0.0.3, mac: 52:54:00:00:00:01, gateway: true, ifcfg: {MTU: 1400}}
      enp0s8: {network: wan, address: 10.0.1.3}
  two:
    roles: [compute]
    cpus: 1
    memory: 512 MiB
    nics:
      enp0s3: {network: lan, address: 10.0.0.4}
      enp0s8: {network: wan, address: 10.0.1.4}
deployment:
  scenario: multinode
  form: command
  lbaas: true
  external_nic: enp0s3
  external_bridge: br-out
  physical_network: outside
  tunnel_nic: enp0s8
  hung_minutes: 20
  answers:
    CONFIG_SERVICE_WORKERS: 2
    CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS: outside:br-out
"""
LABS = {
    "every key": EVERY_KEY,
    "defaults": EXAMPLES["plain-allinone"].read_text(encoding="utf-8"),
    "isolated": EXAMPLES["three-networks"].read_text(encoding="utf-8"),
}
WRONG = {"a list": [["é"]], "a mapping": {"é": "é"}, "a text": "É É"}
NAMES_OF_THE_USER = {"networks", "nodes", "nics", "ifcfg", "answers"}
TAKES_ANY_TEXT = {"ifcfg", "answers"}


def data(text: str) -> Any:  # noqa: ANN401 -- YAML has no narrower type
    return YAML(typ="safe", pure=True).load(text)


def places(part: object, at: Place = ()) -> Iterator[Place]:
    items: Any = ()
    if isinstance(part, dict):
        items = part.items()
    elif isinstance(part, list):
        items = enumerate(part)
    for key, value in items:
        yield (*at, key)
        yield from places(value, (*at, key))


def inside(place: Place, names: set[str]) -> bool:
    return place[-2:-1] != () and place[-2] in names


def changed(lab: Any, place: Place) -> tuple[Any, Any]:  # noqa: ANN401 -- as above
    """Return a copy of a lab, and of that the mapping or list a place is in."""
    copied = holder = copy.deepcopy(lab)
    for part in place[:-1]:
        holder = holder[part]
    return copied, holder


def renamed(within: dict[str, object], old: str | int, new: str) -> None:
    """Rename a key where it stands."""
    entries = list(within.items())
    within.clear()
    within.update({new if key == old else key: value for key, value in entries})


def problems(text: str) -> list[str]:
    _lab, found = check(yaml.parse(text, "lab.yaml"))
    return [problem.line("lab.yaml").split(": ", 1)[1] for problem in found]


def test_labs_have_no_problem_and_every_key_between_them() -> None:
    schemas = json_schema()
    keys = {
        key for part in (schemas, *schemas["$defs"].values()) for key in part.get("properties", ())
    }
    assert [problems(text) for text in LABS.values()] == [[]] * len(LABS)
    assert keys <= {place[-1] for place in places(data(EVERY_KEY))}


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, "nothing") for name in LABS), *(("every key", kind) for kind in WRONG)],
)
def test_wrong_value_anywhere_is_the_one_problem_of_the_file(name: str, kind: str) -> None:
    whole = data(LABS[name])
    for place in places(whole):
        if kind == "a text" and inside(place, TAKES_ANY_TEXT):
            continue
        lab, within = changed(whole, place)
        within[place[-1]] = WRONG.get(kind)
        path = ".".join(map(str, place))
        found = problems(json.dumps(lab))
        # A mapping for a mapping has faults of its own: its keys.
        assert found != []
        assert [line for line in found if not line.startswith(path)] == []
        assert len(found) == 1 or kind == "a mapping", found


@pytest.mark.parametrize("name", LABS)
def test_misspelt_key_anywhere_is_the_one_problem_of_the_file(name: str) -> None:
    whole = data(LABS[name])
    for place in places(whole):
        if isinstance(place[-1], str) and not inside(place, NAMES_OF_THE_USER):
            lab, within = changed(whole, place)
            renamed(within, place[-1], f"{place[-1]}x")
            [line] = problems(json.dumps(lab))
            assert f"the unknown key '{place[-1]}x' (did you mean '{place[-1]}'?)" in line


@pytest.mark.parametrize("name", LABS)
def test_impossible_name_is_the_one_problem_whatever_refers_to_it(name: str) -> None:
    whole = data(LABS[name])
    for place in places(whole):
        if inside(place, NAMES_OF_THE_USER):
            lab, within = changed(whole, place)
            renamed(within, place[-1], f"é{place[-1]}")
            [line] = problems(json.dumps(lab, ensure_ascii=False))
            assert line.endswith(f"found 'é{place[-1]}'") or "the text" in line


def test_key_that_stands_twice_is_the_one_problem_of_the_file() -> None:
    whole = data(EVERY_KEY)
    for place in places(whole):
        if isinstance(place[-1], str):
            lab, within = changed(whole, place)
            within["again"] = within[place[-1]]
            [line] = problems(json.dumps(lab).replace('"again"', json.dumps(place[-1])))
            assert f"'{place[-1]}' again (first on line 1)" in line
