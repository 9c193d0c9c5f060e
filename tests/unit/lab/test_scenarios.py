from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError, UsageError
from labkit.lab import answers, deployment, options, scenarios
from labkit.lab.answers import HOST_KEYS
from labkit.lab.topology import Form
from labkit.lifecycle import rendering
from labkit.packstack import passwords
from tests.support.examples import EXAMPLES, ROOT, example

if TYPE_CHECKING:
    from labkit.lab.scenario import PackstackCall
    from labkit.lab.topology import ResolvedLab
    from tests.support.golden import Golden

# The two commands of the walk-through, as it writes them.
DOCUMENT_ALLINONE = "packstack --allinone"
DOCUMENT_COMMAND = (
    "packstack --allinone --provision-demo=n --os-neutron-ovs-bridge-mappings=extnet:br-ex "
    "--os-neutron-ovs-bridge-interfaces=br-ex:enp0s3 --os-neutron-ml2-type-drivers=vxlan,flat"
)
DOCUMENT_LBAAS = "--os-neutron-lbaas-install=y"
DOCUMENT_KEYS = {
    "CONFIG_PROVISION_DEMO": "n",
    "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-ex",
    "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-ex:enp0s3",
    "CONFIG_NEUTRON_ML2_TYPE_DRIVERS": "vxlan,flat",
}
DOCUMENT_MULTINODE = {
    **DOCUMENT_KEYS,
    "CONFIG_CONTROLLER_HOST": "172.16.208.39",
    "CONFIG_COMPUTE_HOSTS": "172.16.208.141",
    "CONFIG_NETWORK_HOSTS": "172.16.208.39",
    "CONFIG_NEUTRON_OVS_TUNNEL_IF": "enp0s8",
    "CONFIG_LBAAS_INSTALL": "y",
}
FORMS = [(each.name, form) for each in scenarios.all_scenarios() for form in each.forms]


def asking(lab: ResolvedLab, scenario: str, form: Form, *, lbaas: bool = True) -> ResolvedLab:
    asked = replace(lab.deployment, scenario=scenario, form=form, lbaas=lbaas)
    return replace(lab, deployment=asked)


def setting(lab: ResolvedLab, **wanted: str) -> ResolvedLab:
    asked = replace(lab.deployment, answers=tuple(wanted.items()))
    return replace(lab, deployment=asked)


def secrets() -> dict[str, str]:
    return passwords.complete({}, {})


def told(call: PackstackCall) -> dict[str, str]:
    assert call.answer_file is not None
    return answers.parse(call.answer_file)


def expanded(call: PackstackCall, *, changed: dict[str, str] | None = None) -> str:
    """Return what Packstack makes of an answer file when it writes it again."""
    given = told(call)
    lines = ["[general]"]
    for option in options.options():
        value = given.get(option.key, "PW_PLACEHOLDER" if option.random else option.default)
        if "bool" in option.processors:
            value = "True"
        value = (changed or {}).get(option.key, value)
        lines += ["", "# A comment.\0", f"{option.key}={value}"]
    return "\n".join(lines) + "\n"


def test_registry_lists_one_scenario_per_module() -> None:
    modules = {
        path.stem.replace("_", "-")
        for path in Path(scenarios.__path__[0]).glob("*.py")
        if path.stem != "__init__"
    }
    assert set(scenarios.names()) == modules
    assert set(scenarios.deployable()) == modules - {"add-compute"}
    assert {each.name for each in scenarios.all_scenarios() if each.verb != "deploy"} == {
        "add-compute"
    }


def test_deployment_knows_the_scenarios_that_use_one_node() -> None:
    assert set(scenarios.deployable()) >= deployment.SINGLE_NODE


def test_find_of_an_unknown_scenario_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        scenarios.find("external_networks")
    assert "Did you mean 'external-network'?" in caught.value.message
    assert all(f"'{name}'" in caught.value.message for name in scenarios.names())
    assert scenarios.find("multinode").name == "multinode"


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_lab_matches_its_golden_answer_file_and_command(name: str, golden: Golden) -> None:
    golden.check(f"deploy/{name}", rendering.packstack_files(example(name)))


@pytest.mark.parametrize(("scenario", "form"), FORMS)
def test_scenario_and_form_match_their_golden_files(
    scenario: str, form: Form, golden: Golden
) -> None:
    lab = asking(example("packstack"), scenario, form)
    golden.check(f"scenarios/{scenario}/{form}", rendering.packstack_files(lab))


@pytest.mark.parametrize(
    ("scenario", "lbaas", "command"),
    [
        ("allinone", False, DOCUMENT_ALLINONE),
        ("external-network", False, DOCUMENT_COMMAND),
        ("external-network", True, f"{DOCUMENT_COMMAND} {DOCUMENT_LBAAS}"),
    ],
)
def test_command_is_the_documents(scenario: str, command: str, *, lbaas: bool) -> None:
    lab = asking(example("packstack"), scenario, Form.COMMAND, lbaas=lbaas)
    call = scenarios.call(lab, {})
    assert call.command_line() == command
    assert call.answer_file is None


@pytest.mark.parametrize(
    ("scenario", "keys"),
    [("external-network", DOCUMENT_KEYS), ("multinode", DOCUMENT_MULTINODE)],
)
def test_answer_file_has_the_documents_keys(scenario: str, keys: dict[str, str]) -> None:
    call = scenarios.call(asking(example("packstack"), scenario, Form.ANSWER_FILE), secrets())
    assert call.argv == ("packstack", "--answer-file=/var/lib/labkit/answers.cfg")
    assert keys.items() <= told(call).items()


@pytest.mark.parametrize("scenario", scenarios.deployable())
def test_answer_file_sets_all_eight_hosts_every_secret_and_only_sound_values(
    scenario: str,
) -> None:
    made = secrets()
    lab = asking(example("several-computes"), scenario, Form.ANSWER_FILE)
    found = told(scenarios.call(setting(lab), made))
    assert set(HOST_KEYS) <= set(found)
    assert len(HOST_KEYS) == len([k for k in options.options() if k.default == "<host ip>"])
    assert made.items() <= found.items()
    assert [key for key, value in found.items() if options.problem(key, value)] == []


def test_multinode_sets_the_tunnels_networks_beside_their_card() -> None:
    found = told(scenarios.call(setting(example("several-computes")), secrets()))
    assert found["CONFIG_NEUTRON_OVS_TUNNEL_IF"] == "enp0s9"
    assert found["CONFIG_NEUTRON_OVS_TUNNEL_SUBNETS"] == "10.20.0.0/16"


def test_multinode_by_command_names_all_hosts() -> None:
    lab = asking(setting(example("several-computes")), "multinode", Form.COMMAND)
    argv = scenarios.call(lab, {}).argv
    assert argv[:3] == (
        "packstack",
        "--install-hosts=192.0.2.10,192.0.2.21,192.0.2.10,192.0.2.22",
        "--os-network-hosts=192.0.2.11",
    )


def test_own_answers_win_over_the_scenarios_in_both_forms() -> None:
    lab = setting(
        asking(example("packstack"), "external-network", Form.COMMAND),
        CONFIG_PROVISION_DEMO="y",
        CONFIG_SERVICE_WORKERS="%{::processorcount}",
    )
    argv = scenarios.call(lab, {}).argv
    assert argv[2] == "--provision-demo=y"
    assert argv[-1] == "--service-workers=%{::processorcount}"
    file = replace(lab, deployment=replace(lab.deployment, form=Form.ANSWER_FILE))
    found = told(scenarios.call(file, secrets()))
    assert (found["CONFIG_PROVISION_DEMO"], found["CONFIG_SERVICE_WORKERS"]) == (
        "y",
        "%{::processorcount}",
    )


@pytest.mark.parametrize(
    "wanted",
    [
        {"CONFIG_KEYSTONE_ADMIN_PW": "notonacommandline"},
        {"CONFIG_MARIADB_USER": "root"},
        {"CONFIG_VNC_SSL_CERT": ""},
    ],
)
def test_command_of_what_it_cannot_say_is_refused_without_the_value(
    wanted: dict[str, str],
) -> None:
    lab = setting(asking(example("packstack"), "multinode", Form.COMMAND), **wanted)
    with pytest.raises(UsageError) as caught:
        scenarios.call(lab, {})
    assert "notonacommandline" not in f"{caught.value.message}{caught.value.hint}"


def test_call_shows_no_secret_in_its_command_its_masked_text_or_its_repr() -> None:
    made = secrets()
    call = scenarios.call(setting(example("packstack"), CONFIG_RH_PW="rhnsecretvalue"), made)
    assert call.answer_file is not None
    assert "rhnsecretvalue" in call.answer_file
    shown = f"{call!r} {call.command_line()} {call.masked().answer_file}"
    assert [value for value in (*made.values(), "rhnsecretvalue") if value in shown] == []
    assert shlex.split(call.command_line()) == list(call.argv)


def test_secrets_in_use_win_over_those_of_the_lab_file() -> None:
    made = secrets()
    changed = dict.fromkeys(("CONFIG_NOVA_DB_PW", options.DEFAULT_PASSWORD), "changed")
    lab = setting(example("packstack"), **changed)
    found = told(scenarios.call(lab, made))
    assert found["CONFIG_NOVA_DB_PW"] == made["CONFIG_NOVA_DB_PW"]
    assert "CONFIG_DEFAULT_PASSWORD" not in found


def test_rerun_with_the_same_lab_is_the_same_file() -> None:
    lab = example("several-computes")
    first = scenarios.call(lab, secrets())
    again = scenarios.rerun(lab, expanded(first))
    assert told(again) == told(first)
    assert scenarios.changed_by_hand(lab, expanded(first)) == ()


@pytest.mark.parametrize("scenario", ["allinone", "external-network", "multinode"])
def test_rerun_after_a_command_keeps_the_passwords_packstack_made(scenario: str) -> None:
    lab = asking(example("packstack"), scenario, Form.COMMAND)
    theirs = {key: f"{index:016x}" for index, key in enumerate(secrets())}
    file = scenarios.call(asking(lab, scenario, Form.ANSWER_FILE), theirs)
    del theirs["CONFIG_HEAT_DB_PW"], theirs["CONFIG_HEAT_AUTH_ENC_KEY"]
    left = expanded(file, changed={"CONFIG_HEAT_DB_PW": "PW_PLACEHOLDER"})
    again = scenarios.rerun(lab, left, {**secrets(), "CONFIG_HEAT_DB_PW": "stillfree"})
    assert again.argv == ("packstack", "--answer-file=/var/lib/labkit/answers.cfg")
    assert theirs.items() <= told(again).items()
    assert told(again)["CONFIG_HEAT_DB_PW"] == "stillfree"


def test_rerun_with_a_further_compute_node_changes_its_host_key_alone() -> None:
    whole = setting(example("several-computes"))
    before = replace(whole, nodes=tuple(node for node in whole.nodes if node.name != "c2"))
    first = scenarios.call(before, secrets())
    again = told(scenarios.rerun(whole, expanded(first)))
    changed = {key: again[key] for key in again if again[key] != told(first)[key]}
    assert changed == {"CONFIG_COMPUTE_HOSTS": "192.0.2.21,192.0.2.10,192.0.2.22"}


def test_rerun_drops_what_the_lab_file_no_longer_asks_for() -> None:
    lab = example("packstack")
    first = scenarios.call(setting(lab, CONFIG_HEAT_INSTALL="y"), secrets())
    assert "CONFIG_HEAT_INSTALL" not in told(scenarios.rerun(lab, expanded(first)))


def test_rerun_keeps_a_secret_that_nobody_makes_up() -> None:
    lab = example("packstack")
    left = expanded(scenarios.call(lab, secrets()), changed={"CONFIG_RH_PW": "entitled"})
    assert told(scenarios.rerun(lab, left))["CONFIG_RH_PW"] == "entitled"
    asked = setting(lab, CONFIG_RH_PW="newer")
    assert told(scenarios.rerun(asked, left))["CONFIG_RH_PW"] == "newer"


@pytest.mark.parametrize(
    "text", ["", "[general]\n", "\0\0\0", "[other]\nCONFIG_CONTROLLER_HOST=1\n"]
)
def test_rerun_of_something_else_says_what_was_expected(text: str) -> None:
    with pytest.raises(OperationError, match="CONFIG_CONTROLLER_HOST") as caught:
        scenarios.rerun(example("packstack"), text)
    assert caught.value.hint


def test_changes_by_hand_are_named_by_key() -> None:
    lab = example("packstack")
    first = scenarios.call(lab, secrets())
    edited = {
        "CONFIG_MAGNUM_INSTALL": "y",
        "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-ex:eth7",
        "CONFIG_KEYSTONE_ADMIN_PW": "edited",
        # Packstack resets the keys of an inactive group to their defaults by itself.
        "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-ex",
    }
    found = scenarios.changed_by_hand(lab, expanded(first, changed=edited))
    assert found == ("CONFIG_MAGNUM_INSTALL", "CONFIG_NEUTRON_OVS_BRIDGE_IFACES")


def test_single_node_scenario_names_the_controller_where_packstack_would_take_another_address() -> (
    None
):
    lab = example("plain-allinone")
    assert scenarios.call(lab, {}).argv == ("packstack", "--install-hosts=10.9.0.2")


def test_obstacles_of_a_lab_that_was_never_meant_to_be_deployed_are_found() -> None:
    found = example("three-networks").obstacles
    assert [each.place for each in found] == [("deployment", "tunnel_nic")]
    assert example("packstack").obstacles == ()
    assert [each.place for each in example("hostile").obstacles] == [
        ("nodes", "another-name-of-30-characterss")
    ]


def test_default_lab_file_and_one_node_take_their_scenarios_first_form() -> None:
    assert example("packstack").deployment.form is Form.ANSWER_FILE
    assert example("plain-allinone").deployment.form is Form.COMMAND
    assert example("hostile").deployment.scenario == "allinone"
    assert (ROOT / "lab.yaml").read_text(encoding="utf-8").count("form:") == 0
