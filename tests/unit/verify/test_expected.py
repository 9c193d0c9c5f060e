from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.verify import outputs
from labkit.verify.check import Verdict
from labkit.verify.outputs import Kind, Output
from labkit.verify.run import judge
from tests.support import examples, labs, transcripts

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab
    from labkit.verify.report import Report
    from tests.support.transcripts import Outputs

LAB = examples.example("packstack")
IP, OVS = "ip-addr.txt", "ovs-vsctl-show.txt"
CARD = "    link/ether 08:00:27:ec:03:b0 brd ff:ff:ff:ff:ff:ff\n"
ADDRESS = "    inet 172.16.208.141/24 brd 172.16.208.255 scope global"
OUTSIDE = """\
    Bridge br-ex
        Port "enp0s3"
            Interface "enp0s3"
        Port phy-br-ex
            Interface phy-br-ex
                type: patch
                options: {peer=int-br-ex}
"""
JOINED = """\
        Port int-br-ex
            Interface int-br-ex
                type: patch
                options: {peer=phy-br-ex}
"""


def answering(lab: ResolvedLab, **answers: str) -> ResolvedLab:
    asked = tuple((f"CONFIG_{key}", value) for key, value in answers.items())
    return replace(lab, deployment=replace(lab.deployment, answers=asked))


def verdicts(report: Report, verdict: Verdict) -> set[tuple[str, str]]:
    return {(each.node, each.check) for each in report.results if each.verdict is verdict}


def changed(given: Outputs, node: str, file: str, *pairs: tuple[str, str]) -> None:
    text = given[node][file].text
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    given[node][file] = Output(text=text)


def bridged_compute() -> Outputs:
    """Return the walk-through's outputs with the compute node's first card in br-ex, too."""
    given = transcripts.whole(LAB)
    text = given["compute"][IP].text
    [line] = [line for line in text.splitlines(keepends=True) if line.startswith(ADDRESS)]
    bridge = f"9: br-ex: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500\n{CARD}{ADDRESS} br-ex\n"
    given["compute"][IP] = Output(text=text.replace(line, "") + bridge)
    changed(
        given, "compute", OVS,
        ("    Bridge br-int\n", f"{OUTSIDE}    Bridge br-int\n"),
        ("        Port patch-tun\n", f"{JOINED}        Port patch-tun\n"),
    )  # fmt: skip
    files = transcripts.ifcfg_pair(LAB, LAB.nodes[1])
    given["compute"] |= {name: Output(text=text) for name, text in files.items()}
    return given


UPLINKED = {"external-bridge", "external-port", "external-patch", "external-address",
            "external-nic-bare", "external-mac", "ifcfg-port", "ifcfg-bridge"}  # fmt: skip


def test_case_06_bridge_on_compute_node_is_judged_there_and_passes() -> None:
    lab = answering(LAB, NEUTRON_OVS_BRIDGES_COMPUTE="br-ex")
    report = judge(lab, bridged_compute())
    assert verdicts(report, Verdict.FAILED) == set()
    assert {("compute", check) for check in UPLINKED} <= verdicts(report, Verdict.OK)
    assert "management-address" not in {each.check for each in report.results}
    files = {command.file for command in outputs.commands(lab, lab.nodes[1])}
    assert {"ifcfg-br-ex", "ifcfg-enp0s3"} <= files


def test_case_06_bridge_missing_on_the_compute_node_fails() -> None:
    lab = answering(LAB, NEUTRON_OVS_BRIDGES_COMPUTE=" br-ex ,br-other")
    failed = verdicts(judge(lab, transcripts.whole(LAB)), Verdict.FAILED)
    assert {("compute", "external-bridge"), ("compute", "external-address")} <= failed
    without = verdicts(judge(LAB, bridged_compute()), Verdict.FAILED)
    assert without == {("compute", "management-address")}


def test_case_06_card_in_another_bridge_has_its_address_there() -> None:
    lab = answering(
        labs.lab(),
        NEUTRON_OVS_BRIDGE_MAPPINGS="extnet:br-ex, data:br-data",
        NEUTRON_OVS_BRIDGE_IFACES="br-ex:enp0s3, br-data:enp0s8",
        NEUTRON_OVS_BRIDGES_COMPUTE="br-data",
    )
    report = judge(lab, transcripts.made(lab))
    seen = {each.node: each.expected for each in report.results if each.check == "tunnel-address"}
    assert seen == {
        "controller": "br-data up with 172.16.208.18/24",
        "compute": "br-data up with 172.16.208.28/24",
    }


def test_case_06_card_given_to_the_bridge_of_an_allinone_lab_moves() -> None:
    lab = replace(labs.lab(), deployment=labs.deployment("allinone"))
    report = judge(answering(lab, NEUTRON_OVS_BRIDGE_IFACES="br-ex:enp0s3"), {})
    checks = {each.check for each in report.results}
    assert checks >= UPLINKED
    assert "management-address" not in checks


def test_case_07_dashboard_over_ssl_is_asked_by_https_with_any_certificate() -> None:
    lab = answering(LAB, HORIZON_SSL="y")
    asked = {each.kind: each for each in outputs.commands(lab, lab.nodes[0])}
    dashboard = asked[Kind.DASHBOARD_HTTP]
    assert " -k -L https://172.16.208.39/dashboard/" in dashboard.shell
    assert "-k" not in asked[Kind.KEYSTONE_HTTP].shell
    plain = {each.kind: each for each in outputs.commands(LAB, LAB.nodes[0])}
    assert " -L http://172.16.208.39/dashboard/" in plain[Kind.DASHBOARD_HTTP].shell

    # What labkit kept when it asked by http says nothing about such a dashboard.
    given = transcripts.whole(LAB)
    given["controller"]["dashboard-http.txt"] = Output(text="000", returncode=60)
    report = judge(lab, given)
    assert verdicts(report, Verdict.FAILED) == set()
    assert verdicts(report, Verdict.NOT_JUDGED) == {("controller", "dashboard-answers")}
    given["controller"][dashboard.file] = Output(text="500")
    failed = verdicts(judge(lab, given), Verdict.FAILED)
    assert failed == {("controller", "dashboard-answers")}


@pytest.mark.parametrize("drivers", ["openvswitch,l2population", " l2population , openvswitch"])
def test_case_09_blanks_after_a_comma_are_nothing(drivers: str) -> None:
    lab = answering(LAB, NEUTRON_ML2_MECHANISM_DRIVERS=drivers)
    given = transcripts.whole(LAB)
    for node in ("controller", "compute"):
        lines = given[node][OVS].text.splitlines(keepends=True)
        text = "".join(line for line in lines if "vxlan" not in line and "remote_ip" not in line)
        given[node][OVS] = Output(text=text)
        text = given[node][IP].text.replace("vxlan_sys_4789", "gone")
        given[node][IP] = Output(text=text)
    assert verdicts(judge(lab, given), Verdict.FAILED) == set()
    assert ("compute", "vxlan-ports") in verdicts(judge(LAB, given), Verdict.FAILED)
