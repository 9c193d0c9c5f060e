from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.lab.topology import NetworkMode
from labkit.verify import outputs
from labkit.verify.check import LONGEST, Result, Subject, Verdict, printable
from labkit.verify.checks import all_checks
from labkit.verify.checks.addresses import external_mac
from labkit.verify.outputs import Kind, Output
from labkit.verify.run import JUDGED, judge
from tests.support import examples, labs, mutations, transcripts

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab
    from labkit.verify.report import Report
    from tests.support.mutations import Mutation
    from tests.support.transcripts import Outputs

LAB = examples.example("packstack")
FOUR = replace(
    labs.lab(),
    nodes=tuple(
        replace(labs.node(name, 10 * (i + 1), labs.network()), roles=(role,))
        for i, (name, role) in enumerate(
            [("head", "controller"), ("gate", "network"), ("one", "compute"), ("two", "compute")]
        )
    ),
)


def single(scenario: str) -> ResolvedLab:
    return replace(labs.lab(), deployment=labs.deployment(scenario, lbaas=False))


def failed(report: Report) -> set[tuple[str, str]]:
    return {(r.node, r.check) for r in report.results if r.verdict is Verdict.FAILED}


def verdicts(report: Report) -> dict[tuple[str, str], Verdict]:
    return {(result.node, result.check): result.verdict for result in report.results}


def found(report: Report, node: str, check: str) -> Result:
    [result] = [r for r in report.results if (r.node, r.check) == (node, check)]
    return result


def test_outputs_of_the_walk_through_pass_every_check_they_allow() -> None:
    report = judge(LAB, transcripts.document())

    ok = {key for key, verdict in verdicts(report).items() if verdict is Verdict.OK}
    both = ("tunnel-address", "integration-bridge", "tunnel-bridge", "tunnel-patch", "vxlan-device",
            "vxlan-ports", "vxlan-names", "vxlan-strangers")  # fmt: skip
    head = ("external-address", "external-nic-bare", "external-mac", "external-bridge",
            "external-port", "external-patch", "ifcfg-port", "ifcfg-bridge", "lbaas-unit")  # fmt: skip
    assert ok == {
        *(("controller", check) for check in (*both, *head)),
        *(("compute", check) for check in (*both, "management-address")),
    }
    unjudged = {check for (_, check), v in verdicts(report).items() if v is Verdict.NOT_JUDGED}
    assert unjudged == {
        "nova-services", "neutron-agents", "hypervisors", "cells", "keystone-answers",
        "keystone-token", "dashboard-answers", "lbaas-agent", "full-frames", "source-address",
    }  # fmt: skip
    assert report.passed


@pytest.mark.parametrize("change", mutations.DOCUMENT, ids=lambda change: change.name)
def test_mutation_of_the_walk_through_fails_in_exactly_the_right_checks(change: Mutation) -> None:
    report = judge(LAB, change.of(transcripts.document()))
    assert failed(report) == {(change.node, check) for check in change.fails}
    assert not report.passed


@pytest.mark.parametrize("change", mutations.OPENSTACK, ids=lambda change: change.name)
def test_mutation_of_openstack_answers_fails_in_exactly_the_right_checks(change: Mutation) -> None:
    report = judge(LAB, change.of(transcripts.whole(LAB)))
    assert failed(report) == {(change.node, check) for check in change.fails}


@pytest.mark.parametrize("change", mutations.ALLOWED, ids=lambda change: change.name)
def test_addition_that_contradicts_nothing_fails_no_check(change: Mutation) -> None:
    assert failed(judge(LAB, change.of(transcripts.document()))) == set()


@pytest.mark.parametrize("change", mutations.ALLOWED_OPENSTACK, ids=lambda change: change.name)
def test_further_service_in_openstacks_lists_fails_no_check(change: Mutation) -> None:
    assert failed(judge(LAB, change.of(transcripts.whole(LAB)))) == set()


def test_every_check_has_a_passing_and_a_failing_transcript_and_a_description() -> None:
    checks = all_checks()
    passing = {check for _, check in verdicts(judge(LAB, transcripts.whole(LAB)))}
    failing = {name for each in (*mutations.DOCUMENT, *mutations.OPENSTACK) for name in each.fails}
    ids = [check.id for check in checks]

    assert len(ids) == len(set(ids))
    assert set(ids) == passing == failing
    assert failed(judge(LAB, transcripts.whole(LAB))) == set()
    for check in checks:
        assert check.summary.endswith("."), check.id
        assert check.description, check.id
        assert check.needs, check.id


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize(
    "lab",
    [LAB, FOUR, single("allinone"), single("external-network"), labs.lab()],
    ids=["walk-through", "four nodes", "allinone", "external-network", "two nodes"],
)
def test_lab_as_it_should_be_passes_every_check(lab: ResolvedLab, quoted: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    report = judge(lab, transcripts.made(lab, quoted=quoted))
    wrong = [result for result in report.results if result.verdict is not Verdict.OK]
    assert wrong == []


def test_scenario_decides_which_checks_apply() -> None:
    def ids(lab: ResolvedLab) -> set[str]:
        return {check for _, check in verdicts(judge(lab, {}))} - {JUDGED}

    everything = {check.id for check in all_checks()}
    balancer = {"lbaas-unit", "lbaas-agent"}
    tunnels = {"tunnel-address", "vxlan-device", "vxlan-ports", "vxlan-names"}
    external = {"external-address", "external-nic-bare", "external-mac", "external-port",
                "ifcfg-port", "ifcfg-bridge"}  # fmt: skip
    assert ids(labs.lab()) == everything
    assert (
        ids(replace(labs.lab(), deployment=labs.deployment(lbaas=False))) == everything - balancer
    )
    alone = everything - balancer - tunnels - {
        "management-address", "full-frames", "source-address",
    }  # fmt: skip
    assert ids(single("external-network")) == alone
    assert ids(single("allinone")) == (alone | {"management-address"}) - external


def test_four_nodes_have_tunnels_between_those_that_need_them() -> None:
    report = judge(FOUR, transcripts.made(FOUR))
    nodes = {node for node, check in verdicts(report) if check == "vxlan-ports"}
    assert nodes == {"gate", "one", "two"}

    outputs = transcripts.made(FOUR)
    seen = outputs["one"]["ovs-vsctl-show.txt"]
    without = "\n".join(
        line for line in seen.text.splitlines() if 'remote_ip="172.16.208.48"' not in line
    )
    outputs["one"]["ovs-vsctl-show.txt"] = replace(seen, text=without)
    assert failed(judge(FOUR, outputs)) == {("one", "vxlan-ports"), ("one", "vxlan-strangers")}
    assert (
        "no port to two (172.16.208.48)" in found(judge(FOUR, outputs), "one", "vxlan-ports").seen
    )


def test_tunnel_left_on_a_single_node_is_a_stranger() -> None:
    lab = single("external-network")
    outputs = transcripts.made(lab)
    outputs["controller"]["ovs-vsctl-show.txt"] = transcripts.made(labs.lab())["controller"][
        "ovs-vsctl-show.txt"
    ]
    assert failed(judge(lab, outputs)) == {("controller", "vxlan-strangers")}


def test_l2population_and_another_udp_port_are_taken_into_account() -> None:
    def with_answers(*answers: tuple[str, str]) -> ResolvedLab:
        return replace(labs.lab(), deployment=replace(labs.deployment(), answers=answers))

    on_demand = with_answers(("CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS", "openvswitch,l2population"))
    asked = {check for _, check in verdicts(judge(on_demand, {}))}
    assert "tunnel-address" in asked
    assert not asked & {"vxlan-ports", "vxlan-device", "vxlan-names"}

    other = with_answers(("CONFIG_NEUTRON_OVS_VXLAN_UDP_PORT", "8472"))
    report = judge(other, transcripts.made(labs.lab()))
    assert {check for _, check in failed(report)} == {"vxlan-device"}
    assert found(report, "compute", "vxlan-device").seen == "no device vxlan_sys_8472"


def test_missing_file_leaves_its_checks_not_judged_and_fails_nothing() -> None:
    given = transcripts.document()
    del given["controller"]["ip-addr.txt"]
    report = judge(LAB, given)
    assert report.passed
    result = found(report, "controller", "external-address")
    assert (result.verdict, result.seen) == (Verdict.NOT_JUDGED, "there is no ip-addr.txt")


@pytest.mark.parametrize(
    ("output", "seen"),
    [
        (Output(text="", returncode=127, stderr="ovs-vsctl: command not found\n"),
         "ovs-vsctl-show.txt: exit 127: ovs-vsctl: command not found"),
        (Output(text="", stderr="odd"), "neither a bridge nor a version"),
    ],
)  # fmt: skip
def test_failed_command_fails_its_checks_and_says_why(output: Output, seen: str) -> None:
    given = transcripts.document()
    given["compute"]["ovs-vsctl-show.txt"] = output
    report = judge(LAB, given)
    assert ("compute", "tunnel-bridge") in failed(report)
    assert seen in found(report, "compute", "tunnel-bridge").seen


def test_command_that_did_not_end_in_time_leaves_its_checks_open_and_passes_nothing() -> None:
    given = transcripts.document()
    late = Output(text="half of it", returncode=124, stderr="a warning\nit was given 50 s\n")
    given["compute"]["ovs-vsctl-show.txt"] = late
    report = judge(LAB, given)
    result = found(report, "compute", "tunnel-bridge")
    assert (result.verdict, result.late) == (Verdict.NOT_JUDGED, True)
    told = "ovs-vsctl-show.txt: the command did not end in time: it was given 50 s"
    assert result.seen == told
    assert failed(report) == set()
    assert not report.passed
    assert f"compute: tunnel-bridge: {told}" in report.failures


def test_unit_that_is_not_active_is_an_answer_and_no_failed_command() -> None:
    given = transcripts.document()
    unit = given["controller"]["systemctl-neutron-lbaasv2-agent.txt"]
    dead = unit.text.replace("active (running)", "failed (Result: exit-code)")
    given["controller"]["systemctl-neutron-lbaasv2-agent.txt"] = Output(text=dead, returncode=3)
    result = found(judge(LAB, given), "controller", "lbaas-unit")
    assert result.seen == "neutron-lbaasv2-agent: loaded, failed (Result: exit-code)"


def test_unknown_unit_shows_what_systemd_says() -> None:
    given = transcripts.document()
    said = "Unit neutron-lbaasv2-agent.service could not be found.\n"
    given["controller"]["systemctl-neutron-lbaasv2-agent.txt"] = Output(
        text="", returncode=4, stderr=said
    )
    result = found(judge(LAB, given), "controller", "lbaas-unit")
    assert result.verdict is Verdict.FAILED
    assert said.strip() in result.seen


def test_hostile_text_of_a_guest_is_shown_without_control_characters() -> None:
    assert printable("a\x1b[31mred\x00\n\ttab\x9b\udc80") == "a\\x1b[31mred\\x00  tab\\x9b\\xdc80"
    assert len(printable("x" * 9999)) == LONGEST + 1


def test_commands_never_show_the_token_and_follow_the_lab() -> None:
    renamed = replace(
        labs.lab(),
        deployment=replace(labs.deployment(), external_bridge="br-out", external_nic="enp0s8"),
    )
    head, other = renamed.nodes
    files = {command.file: command.shell for command in outputs.commands(renamed, head)}
    assert files["ifcfg-br-out"] == "cat /etc/sysconfig/network-scripts/ifcfg-br-out"
    assert "ifcfg-enp0s8" in files
    assert "-c expires -c user_id " in files["openstack-token.json"]
    assert [command.file for command in outputs.commands(renamed, other)] == [
        "ip-addr.txt", "ovs-vsctl-show.txt", "ping-full-frames.txt", "ip-route-get.txt",
    ]  # fmt: skip
    assert outputs.commands(single("allinone"), other) == ()


def test_case_14_full_frames_go_to_the_first_node_of_each_network_that_tells_its_size() -> None:
    lan, tunnel = labs.network(), replace(labs.network("tunnel"), mtu=9000)
    lab = labs.lab("controller", "compute", "gate", plugged=lan)
    nodes = tuple(
        replace(node, nics=(node.nics[0], replace(node.nics[1], network=tunnel)))
        for node in lab.nodes
    )
    lab = replace(lab, networks=(lan, tunnel), nodes=nodes)
    head, other, third = nodes
    assert outputs.full_frames(lab, head) == ()
    for node in (other, third):
        assert [(f.source, f.to, f.mtu) for f in outputs.full_frames(lab, node)] == [
            (node.nics[0].address.ip, head.nics[0].address.ip, 1500),
            (node.nics[1].address.ip, head.nics[1].address.ip, 9000),
        ]
    shell = outputs.commands(lab, other)[-2].shell
    assert shell.endswith(
        f" -M do -s 8972 -I {other.nics[1].address.ip} {head.nics[1].address.ip}"
    )
    unknown = labs.lab(plugged=labs.network(mode=NetworkMode.BRIDGE))
    assert outputs.full_frames(unknown, unknown.nodes[1]) == ()


def test_case_14_port_of_a_network_with_an_mtu_keeps_it_over_a_reboot() -> None:
    lan = replace(labs.network(), mtu=9000)
    lab = labs.lab(plugged=lan)
    outside = transcripts.made(lab)
    assert 'MTU="9000"\n' in outside["controller"]["ifcfg-enp0s3"].text
    assert failed(judge(lab, outside)) == set()
    text = outside["controller"]["ifcfg-enp0s3"].text.replace('MTU="9000"\n', "")
    outside["controller"]["ifcfg-enp0s3"] = Output(text=text)
    report = judge(lab, outside)
    assert failed(report) == {("controller", "ifcfg-port")}
    told = found(report, "controller", "ifcfg-port")
    assert (told.expected, told.seen) == ("MTU=9000", "no MTU")


garbage = st.one_of(
    st.text(max_size=200),
    st.sampled_from(
        ["[]", "{}", "[{}]", "[" * 3000, '[{"Host": 1}]', "|", "| |\n", "1: x: <UP>\n    inet 9.9.9.999/24 ",
         'Bridge "\n Port "\\', "Interface x\n options: {=,=}", "A='", "Active: ", "7: : <>", "\x00"]
    ),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(garbage, st.integers(min_value=0, max_value=255))
def test_garbage_in_every_file_never_crashes_nor_passes(text: str, code: int) -> None:
    given_outputs: Outputs = {
        node: {file: Output(text=text, returncode=code, stderr=text) for file in files}
        for node, files in transcripts.whole(LAB).items()
    }
    report = judge(LAB, given_outputs)
    assert not report.passed
    assert all(result.seen.isprintable() for result in report.results)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_outputs_never_crash(data: st.DataObject) -> None:
    given_outputs = transcripts.whole(LAB)
    node = data.draw(st.sampled_from(sorted(given_outputs)))
    file = data.draw(st.sampled_from(sorted(given_outputs[node])))
    text = given_outputs[node][file].text
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    damaged = text[:start] + data.draw(st.text(max_size=20)) + text[end:]
    given_outputs[node][file] = Output(text=damaged)
    assert len(judge(LAB, given_outputs).results) == len(
        judge(LAB, transcripts.whole(LAB)).results
    )


@pytest.mark.parametrize(
    ("card", "bridge", "passes"),
    [
        ("08:00:27:00:00:01", "08:00:27:00:00:01", True),
        ("08:00:27:00:00:01", "0a:00:27:00:00:02", False),
        ("52:54:00:00:00:01", "52:54:00:00:00:01", True),
        ("52:54:00:00:00:01", "86:d6:4c:4f:3c:42", True),
        ("52:54:00:00:00:01", "08:00:27:00:00:02", False),
    ],
)
def test_external_mac_is_the_cards_unless_open_vswitch_refuses_it(
    card: str,
    bridge: str,
    passes: bool,  # noqa: FBT001 -- a parameter of the test
) -> None:
    text = (
        f"2: enp0s3: <UP> mtu 1500\n    link/ether {card} brd ff:ff:ff:ff:ff:ff\n"
        f"3: br-ex: <UP> mtu 1500\n    link/ether {bridge} brd ff:ff:ff:ff:ff:ff\n"
    )
    lab = labs.lab()
    subject = Subject(lab=lab, node=lab.nodes[0], texts={Kind.IP_ADDR: text})
    assert external_mac.judge(subject).ok is passes
