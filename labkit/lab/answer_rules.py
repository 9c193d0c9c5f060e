"""The rules across answers of `deployment.answers`: what contradicts another answer or the lab.

Read in the plugins of Packstack 12.0.2: what its steps fail on after its validators passed it, and
what they change without a word. Values by themselves are judged in `labkit.lab.options`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from labkit.lab import answers, conditions, options, releases, scenario
from labkit.lab.model import UnreadError
from labkit.lab.rules import Breach, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from labkit.lab.model import Node
    from labkit.lab.outline import Outline

COMPUTE_BRIDGES = "CONFIG_NEUTRON_OVS_BRIDGES_COMPUTE"
TENANT_TYPES = "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"
MECHANISMS = "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS"
VLAN_RANGES = "CONFIG_NEUTRON_ML2_VLAN_RANGES"
# What a tenant network of a type gets its number from.
RANGES: Mapping[str, str] = {
    "vlan": VLAN_RANGES,
    "gre": "CONFIG_NEUTRON_ML2_TUNNEL_ID_RANGES",
    "vxlan": "CONFIG_NEUTRON_ML2_VNI_RANGES",
}
# Files that Packstack looks for as soon as the first is named.
TOGETHER: Mapping[str, tuple[str, ...]] = {
    "CONFIG_HORIZON_SSL_CERT": ("CONFIG_HORIZON_SSL_KEY", "CONFIG_HORIZON_SSL_CACERT"),
    "CONFIG_VNC_SSL_CERT": ("CONFIG_VNC_SSL_KEY",),
}
# A value that does not go with one of another key, and what that has to be; none is n.
EXCLUDED: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "CONFIG_GLANCE_INSTALL",
        "n",
        "CONFIG_NOVA_INSTALL",
        "y",
        "'y', as Packstack installs no Nova without Glance",
    ),
    (
        "CONFIG_GLANCE_BACKEND",
        "swift",
        "CONFIG_SWIFT_INSTALL",
        "n",
        "'file' while Swift is not installed, as Packstack would take it without a word",
    ),
    (
        "CONFIG_HEAT_INSTALL",
        "n",
        "CONFIG_SAHARA_INSTALL",
        "y",
        "'y' while Sahara is installed, as Packstack would take it without a word",
    ),
    (
        "CONFIG_MARIADB_INSTALL",
        "n",
        "CONFIG_NEUTRON_INSTALL",
        "y",
        "'y', as the database is on the controller like all else that has a host key",
    ),
)


@dataclass(frozen=True)
class Answers:
    """What Packstack would have for each key: asked for, set by the scenario, or its default."""

    outline: Outline

    @cached_property
    def asked(self) -> Mapping[str, str]:
        """Return what the file asks for."""
        return self.outline.asked.answers

    @cached_property
    def scenarios(self) -> Mapping[str, str]:
        """Return what the scenario sets of what the rules look at."""
        asked, external = self.outline.asked, self.outline.scenario.name != "allinone"
        bridge = asked.external_bridge
        return {
            **releases.facts(self.outline.lab.release).answers,
            scenario.LBAAS: "y" if asked.lbaas else "n",
            **(
                {
                    "CONFIG_PROVISION_DEMO": "n",
                    scenario.BRIDGE_MAPPINGS: f"{asked.physical_network}:{bridge}",
                    scenario.BRIDGE_IFACES: f"{bridge}:{self.outline.external_nic}",
                }
                if external
                else {}
            ),
        }

    def __getitem__(self, key: str) -> str:
        """Return the value of a key; raise `UnreadError` for one with a fault of its own."""
        release = self.outline.lab.release
        option = options.find(key, release)
        if option is None or (
            key in self.asked and options.problem(key, self.asked[key], release)
        ):
            raise UnreadError(key)
        default = "" if "<" in option.default else option.default
        return self.asked.get(key, self.scenarios.get(key, default))

    def words(self, key: str) -> tuple[str, ...]:
        """Return the values of a key with commas in it."""
        return tuple(filter(None, (word.strip() for word in self[key].split(","))))

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """Return the pairs of a key such as the bridge mappings."""
        return tuple(
            (left, right) for left, _, right in (w.partition(":") for w in self.words(key))
        )


def answer_breaches(outline: Outline) -> Iterator[Breach]:
    """Yield what is wrong with answers beside each other, and beside the lab's nodes and cards."""
    if not outline.asked.answers:
        return
    found = Answers(outline)
    for rule in RULES:
        yield from judge(rule, found)
    for option in options.options(outline.lab.release):
        yield from judge(_read_at_all, found, option)
        yield from judge(_needed_beside, found, option)


def _at(key: str) -> tuple[str, ...]:
    return ("deployment", "answers", key)


def _first_asked(found: Answers, *keys: str) -> tuple[str, ...] | None:
    return next((_at(key) for key in keys if key in found.asked), None)


def _read_at_all(found: Answers, option: options.Option) -> Iterator[Breach]:
    """Judge an answer that Packstack passes over because its service is not installed."""
    value = found.asked.get(option.key)
    if value in {None, "", option.default} or option.random:
        return
    if not conditions.holds(option.condition, found.__getitem__):
        why = ", ".join(f"'{key}' is '{found[key]}'" for key in conditions.keys(option.condition))
        yield Breach(
            place=_at(option.key),
            expected=f"no '{option.key}' here, which Packstack passes over ({why})",
            found=f"'{option.key}'",
            about_key=True,
        )


def _needed_beside(found: Answers, option: options.Option) -> Iterator[Breach]:
    """Judge an answer that turns on what needs another one, whose default Packstack refuses."""
    if option.key in found.asked or "<" in option.default or option.key in answers.HOST_KEYS:
        return
    lacks = options.problem(option.key, option.default, found.outline.lab.release)
    place = _first_asked(found, *reversed(conditions.keys(option.condition)))
    if lacks and place and conditions.holds(option.condition, found.__getitem__):
        yield Breach(
            place=place,
            expected=f"'{option.key}' beside it with {lacks}",
            found=f"'{found[place[-1]]}' without it",
        )


def _excluded(found: Answers) -> Iterator[Breach]:
    for key, value, other, beside, expected in EXCLUDED:
        place = _first_asked(found, key, other)
        if place and (found[key] or "n") == value and (found[other] or "n") == beside:
            shown = (
                f"'{found[key]}'" if place == _at(key) else f"'{beside}' with '{key}' at '{value}'"
            )
            wanted = expected if place == _at(key) else f"'{key}' beside it with {expected}"
            yield Breach(place=place, expected=wanted, found=shown)


def _files(found: Answers) -> Iterator[Breach]:
    for first, others in TOGETHER.items():
        lacking = [f"'{key}'" for key in others if found.asked.get(first) and not found[key]]
        if lacking:
            yield Breach(
                place=_at(first),
                expected=f"{' and '.join(lacking)} beside it",
                found=f"'{found[first]}' alone",
            )


def _clusters(found: Answers) -> Iterator[Breach]:
    key, computes = "CONFIG_VCENTER_CLUSTER_NAMES", len(found.outline.compute_nodes)
    place = _first_asked(found, key, "CONFIG_VMWARE_BACKEND")
    names = found.words(key)
    if place and found["CONFIG_VMWARE_BACKEND"] == "y" and len(names) not in {1, computes}:
        yield Breach(
            place=place,
            expected=f"one vCenter cluster in '{key}', or {computes}, as many as compute nodes",
            found=f"{len(names)}",
        )


def _types(found: Answers) -> Iterator[Breach]:
    types, tenants = found.words(scenario.TYPE_DRIVERS), found.words(TENANT_TYPES)
    place = _first_asked(found, TENANT_TYPES, scenario.TYPE_DRIVERS)
    missing = [f"'{each}'" for each in tenants if each not in types]
    if place and missing:
        yield Breach(
            place=place,
            expected=f"types of tenant networks that are in '{scenario.TYPE_DRIVERS}'",
            found=f"{', '.join(missing)}, without whose driver Neutron does not start",
        )
    if TENANT_TYPES in found.asked and "geneve" in tenants:
        yield Breach(
            place=_at(TENANT_TYPES),
            expected="no 'geneve', which Packstack sets up with OVN alone",
            found="'geneve'",
        )
    if MECHANISMS in found.asked and "ovn" in found.words(MECHANISMS):
        yield Breach(
            place=_at(MECHANISMS),
            expected="no 'ovn', as the agent is openvswitch",
            found="'ovn'",
        )
    for each, key in RANGES.items():
        place = _first_asked(found, key, TENANT_TYPES)
        ranges = [word for word in found.words(key) if key != VLAN_RANGES or word.count(":") > 1]
        if place and each in tenants and each in types and not ranges:
            yield Breach(
                place=place,
                expected=f"a range in '{key}', from which a tenant network of type {each} gets its number",
                found="none",
            )


def _physical_networks(found: Answers) -> Iterator[Breach]:
    known = {name for name, _bridge in found.pairs(scenario.BRIDGE_MAPPINGS)}
    for key in (
        VLAN_RANGES,
        "CONFIG_NEUTRON_ML2_FLAT_NETWORKS",
        "CONFIG_NEUTRON_OVS_EXTERNAL_PHYSNET",
    ):
        strange = [n for n, _ in found.pairs(key) if n not in {*known, "*"}]
        if key in found.asked and strange:
            yield Breach(
                place=_at(key),
                expected=f"a physical network of '{scenario.BRIDGE_MAPPINGS}' ({_names(known)})",
                found=f"'{strange[0]}'",
            )


def _bridges(found: Answers) -> Iterator[Breach]:
    mapped = {bridge for _name, bridge in found.pairs(scenario.BRIDGE_MAPPINGS)}
    attached = {bridge for bridge, _card in found.pairs(scenario.BRIDGE_IFACES)}
    for key, named in (
        (scenario.BRIDGE_IFACES, attached),
        (COMPUTE_BRIDGES, {*found.words(COMPUTE_BRIDGES)}),
    ):
        place = _first_asked(found, key)
        for bridge in sorted(named - mapped) if place else ():
            yield Breach(
                place=_at(key),
                expected=f"a bridge of '{scenario.BRIDGE_MAPPINGS}' ({_names(mapped)})",
                found=f"'{bridge}'",
            )
        for bridge in sorted((named & mapped) - attached) if place else ():
            yield Breach(
                place=_at(key),
                expected=f"a bridge with a card in '{scenario.BRIDGE_IFACES}' ({_names(attached)})",
                found=f"'{bridge}'",
            )
    cards = {nic for node in found.outline.lab.nodes.values() for nic in node.nics}
    for key in (scenario.BRIDGE_MAPPINGS, "CONFIG_NEUTRON_L3_EXT_BRIDGE"):
        named = mapped if key == scenario.BRIDGE_MAPPINGS else {found[key]}
        for bridge in sorted(named & {*cards, *scenario.AGENT_BRIDGES}):
            if key in found.asked:
                yield Breach(
                    place=_at(key),
                    expected="a bridge with a name of its own, such as 'br-ex'",
                    found=f"'{bridge}', a card of the lab or Neutron's own bridge",
                )


def _cards(found: Answers) -> Iterator[Breach]:
    """Judge the cards of bridges: each on the nodes it is asked of, each for one purpose."""
    outline = found.outline
    on_computes = found.words(COMPUTE_BRIDGES)
    for bridge, card in found.pairs(scenario.BRIDGE_IFACES):
        if scenario.BRIDGE_IFACES in found.asked:
            yield from _on_all(_at(scenario.BRIDGE_IFACES), card, outline.network_nodes)
        if bridge in on_computes and COMPUTE_BRIDGES in found.asked:
            yield from _on_all(_at(COMPUTE_BRIDGES), card, outline.compute_nodes)
        place = _first_asked(found, scenario.BRIDGE_IFACES, COMPUTE_BRIDGES)
        if place and outline.scenario.name == "multinode" and card == outline.tunnel_nic:
            yield Breach(
                place=place,
                expected="another card than that of the tunnels, whose address would move to the bridge",
                found=f"'{bridge}:{card}'",
            )
    sriov = "CONFIG_NEUTRON_ML2_SRIOV_INTERFACE_MAPPINGS"
    for _name, card in found.pairs(sriov):
        yield from _on_all(_at(sriov), card, outline.compute_nodes)


def _on_all(place: tuple[str, ...], card: str, nodes: Mapping[str, Node]) -> Iterator[Breach]:
    for breach in scenario.missing_card("", card, nodes):
        yield Breach(
            place=place, expected=breach.expected, found=breach.found, rests_on=breach.rests_on
        )


def _hosts(found: Answers) -> Iterator[Breach]:
    key, outline = "CONFIG_TEMPEST_HOST", found.outline
    nodes = {**outline.network_nodes, **outline.compute_nodes, **outline.controllers}
    addresses = [str(next(iter(node.nics.values())).address) for node in nodes.values()]
    host = found.asked.get(key)
    if host and host not in addresses:
        yield Breach(
            place=_at(key),
            expected=f"the address of a node of the lab ({_names(addresses)})",
            found=f"'{host}'",
        )


def _names(known: set[str] | list[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(known)) or "there is none"


RULES: tuple[Callable[[Answers], Iterator[Breach]], ...] = (
    _excluded,
    _files,
    _clusters,
    _types,
    _physical_networks,
    _bridges,
    _cards,
    _hosts,
)
