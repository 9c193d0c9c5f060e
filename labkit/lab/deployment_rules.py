"""The rules of `deployment` in lab.yaml: what Packstack would refuse, or what would break the lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab import answers, options, scenario, scenarios
from labkit.lab.rules import Breach
from labkit.lab.scenario import NodeOutline, Outline, Scenario, Trouble
from labkit.lab.topology import Form, NetworkMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labkit.lab.yaml_file import Plain

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


def deployment_breaches(data: Plain) -> Iterator[Breach]:
    """Yield every broken rule of a lab file's `deployment`; none when there is no such key.

    Like `rules.breaches` it works on files with other faults, and judges what can be read.
    """
    asked = data.get("deployment") if isinstance(data, dict) else None
    name = asked.get("scenario") if isinstance(asked, dict) else None
    if not isinstance(data, dict) or not isinstance(asked, dict) or not isinstance(name, str):
        return
    if name not in scenarios.deployable():
        yield _unknown_scenario(name)
        return
    chosen = scenarios.find(name)
    form = _form(asked, chosen)
    outline = _outline(data, asked, form)
    if form not in chosen.forms:
        yield _wrong_form(chosen, form)
    if outline is not None:
        for trouble in (*chosen.troubles(outline), *_unused_card(chosen, outline)):
            yield _breach(trouble, asked)
    values = asked.get("answers")
    if isinstance(values, dict) and values:
        yield from _answers(values, chosen, form, outline)


def _unknown_scenario(name: str) -> Breach:
    known = ", ".join(f"'{each}'" for each in scenarios.deployable())
    guess = scenarios.close_name(name)
    if guess and guess == name:
        found = (
            f"'{name}', which 'labkit {scenarios.find(name).verb} NODE' starts in a deployed lab"
        )
    else:
        meant = f" (did you mean '{guess}'?)" if guess in scenarios.deployable() else ""
        found = f"the unknown scenario '{name}'{meant}"
    return Breach(place=("deployment", "scenario"), expected=f"one of {known}", found=found)


def _wrong_form(chosen: Scenario, form: Form) -> Breach:
    allowed = " or ".join(f"'{each}'" for each in chosen.forms)
    return Breach(
        place=("deployment", "form"),
        expected=f"{allowed} for the scenario '{chosen.name}'",
        found=f"'{form}'",
    )


def _form(asked: Mapping[str, Plain], chosen: Scenario) -> Form:
    written = asked.get("form")
    return next((form for form in Form if form == written), chosen.forms[0])


def _outline(data: Mapping[str, Plain], asked: Mapping[str, Plain], form: Form) -> Outline | None:
    """Return what the rules ask of the lab, or None when its controller cannot be told."""
    nodes = tuple(_node(data, name, raw) for name, raw in _mapping(data.get("nodes")).items())
    controller = next((node for node in nodes if "controller" in node.roles), None)
    if controller is None or not all(node.nics for node in nodes):
        return None
    cards = controller.nics
    tunnel = _text(asked, "tunnel_nic", "")
    return Outline(
        nodes=nodes,
        external_nic=_text(asked, "external_nic", cards[0]),
        external_bridge=_text(asked, "external_bridge", "br-ex"),
        physical_network=_text(asked, "physical_network", "extnet"),
        tunnel_nic=tunnel or cards[min(1, len(cards) - 1)],
        tunnel_nic_written=bool(tunnel),
        lbaas=asked.get("lbaas") is True,
        form=form,
    )


def _node(data: Mapping[str, Plain], name: str, raw: Plain) -> NodeOutline:
    networks = _mapping(data.get("networks"))
    fields = _mapping(raw)
    cards = {nic: _mapping(item) for nic, item in _mapping(fields.get("nics")).items()}
    roles = fields.get("roles")
    return NodeOutline(
        name=name,
        roles=tuple(str(role) for role in roles) if isinstance(roles, list) else (),
        nics=tuple(cards),
        routed=any(_leads_out(nic, networks) for nic in cards.values()),
    )


def _leads_out(nic: Mapping[str, Plain], networks: Mapping[str, Plain]) -> bool:
    """Return whether `resolve` gives a card a GATEWAY; a fault elsewhere counts as one."""
    network = _mapping(networks.get(str(nic.get("network"))))
    if not network:
        return True
    isolated = network.get("mode") == NetworkMode.ISOLATED
    return nic.get("gateway") is not False and not isolated and "gateway" in network


def _unused_card(chosen: Scenario, outline: Outline) -> Iterator[Trouble]:
    """Judge a tunnel card that is written for a scenario without tunnels."""
    if chosen.name != "multinode" and outline.tunnel_nic_written:
        yield from scenario.missing_card("tunnel_nic", outline.tunnel_nic, (outline.controller,))


def _breach(trouble: Trouble, asked: Mapping[str, Plain]) -> Breach:
    """Return a trouble as a breach; about the scenario, where its key is not written."""
    place = trouble.place
    if place[0] != "deployment":
        return Breach(place=place, expected=trouble.expected, found=trouble.found, about_key=True)
    if place[1] in asked:
        return Breach(place=place, expected=trouble.expected, found=trouble.found)
    return Breach(
        place=("deployment", "scenario"),
        expected=f"the key '{place[1]}': {trouble.expected}",
        found=trouble.found,
    )


def _answers(
    values: Mapping[str, Plain], chosen: Scenario, form: Form, outline: Outline | None
) -> Iterator[Breach]:
    for key, raw in values.items():
        # What is no key or value at all has been said by the model.
        if not isinstance(raw, str | int) or isinstance(raw, bool) or key != key.upper():
            continue
        place = ("deployment", "answers", key)
        option = options.find(key)
        if option is None:
            yield Breach(place=place, about_key=True, **_unknown_key(key))
            continue
        value = str(raw)
        owner = DECIDED_BY.get(key)
        if owner is not None:
            expected = f"no '{key}' here (it is decided by {owner})"
            yield Breach(place=place, expected=expected, found=f"'{key}'", about_key=True)
            continue
        shown = "a secret that does not fit" if option.masked or option.random else f"'{value}'"
        expected_value = options.problem(key, value) or _needed(key, value, chosen, outline)
        if expected_value is not None:
            yield Breach(place=place, expected=expected_value, found=shown)
        elif form is Form.COMMAND:
            yield from _by_command(option, value)


def _unknown_key(key: str) -> dict[str, str]:
    newer = options.replacement(key)
    if newer is not None:
        return {"expected": f"'{newer.key}', which took its place", "found": f"'{key}'"}
    close = options.close_keys(key)
    meant = f" (did you mean '{close[0]}'?)" if close else ""
    expected = f"one of the {len(options.options())} answer-file keys of Packstack"
    return {"expected": expected, "found": f"the unknown key '{key}'{meant}"}


def _needed(key: str, value: str, chosen: Scenario, outline: Outline | None) -> str | None:
    """Return what a value lacks that the lab depends on, or None."""
    if key in FIXED:
        fixed = FIXED[key]
        return None if value == fixed else f"'{fixed}', as labkit's own steps rely on it"
    external = chosen.name != "allinone"
    parts = {part.strip() for part in value.split(",")}
    needs: dict[str, tuple[str, ...]] = {
        "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": ("vxlan",),
        "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": ("openvswitch",),
    }
    if external:
        needs[scenario.TYPE_DRIVERS] = ("vxlan", "flat")
    if external and outline is not None:
        bridge = outline.external_bridge
        needs[scenario.BRIDGE_MAPPINGS] = (f"{outline.physical_network}:{bridge}",)
        needs[scenario.BRIDGE_IFACES] = (f"{bridge}:{outline.external_nic}",)
    missing = [f"'{part}'" for part in needs.get(key, ()) if part not in parts]
    return (
        f"{' and '.join(missing)} among the values, as the scenario needs it" if missing else None
    )


def _by_command(option: options.Option, value: str) -> Iterator[Breach]:
    place = ("deployment", "answers", option.key)
    if not option.cli:
        why = f"the key '{option.key}', which no option of the command sets"
    elif option.masked or option.random:
        why = f"the secret '{option.key}', which must not stand on a command line"
    elif not value:
        why = f"an empty '{option.key}', which the command takes for not given"
    else:
        return
    yield Breach(place=place, expected=ANSWER_FILE_ONLY, found=why, about_key=True)


def _mapping(value: Plain | None) -> Mapping[str, Plain]:
    return value if isinstance(value, dict) else {}


def _text(fields: Mapping[str, Plain], key: str, default: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else default
