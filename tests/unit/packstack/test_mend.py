from __future__ import annotations

import subprocess  # noqa: TID251 -- bash judges what bash will read
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError
from labkit.packstack.mend import ifcfg_text, mend, mend_script, to_mend
from labkit.state.directory import LabDirectory
from labkit.state.session import Session
from labkit.verify.check import Result, Subject, Verdict
from labkit.verify.checks import ifcfg as checks
from labkit.verify.outputs import Kind
from labkit.verify.parsers import ifcfg
from labkit.verify.report import Report
from tests.fakes.guest import FakeGuest, sample
from tests.fakes.tools import tools
from tests.support import examples
from tests.support.mending import CARD, run_mend

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.golden import Golden

LAB = examples.example("packstack")


def test_mend_script_of_the_document_lab_is_as_kept(golden: Golden) -> None:
    golden.check("mend", {"controller.sh": mend_script(LAB, LAB.nodes[0])})


def test_mend_writes_the_pair_and_brings_the_bridge_up_last(tmp_path: Path) -> None:
    calls = run_mend(tmp_path, mend_script(LAB, LAB.nodes[0]))
    bridge = ifcfg.parse((tmp_path / "scripts" / "ifcfg-br-ex").read_text())
    port = ifcfg.parse((tmp_path / "scripts" / "ifcfg-enp0s3").read_text())
    assert (bridge["IPADDR"], bridge["TYPE"]) == ("172.16.208.39", "OVSBridge")
    assert bridge["OVS_EXTRA"] == "set bridge br-ex fail_mode=standalone"
    assert port["TYPE"] == "OVSPort"
    assert "IPADDR" not in port
    kept = tmp_path / "kept" / "before-mend.ifcfg-enp0s3"
    assert kept.read_text() == "IPADDR=172.16.208.39\n"
    steps = [line for line in calls.splitlines() if line.startswith("if")]
    assert steps == ["ifdown br-ex", "ifdown enp0s3", "ifup enp0s3", "ifup br-ex"]


@pytest.mark.parametrize("agent", [True, False])
def test_mend_ends_with_a_new_start_of_an_agent_that_runs(tmp_path: Path, *, agent: bool) -> None:
    calls = run_mend(tmp_path, mend_script(LAB, LAB.nodes[0]), agent=agent).splitlines()
    restart = "systemctl restart neutron-openvswitch-agent.service"
    assert calls.index("ifup br-ex") < len(calls) - 1
    assert (calls[-1] == restart) is agent
    assert (restart in calls) is agent


def mended(root: Path, *, card: str, bridge: str) -> tuple[dict[str, str], dict[str, str], str]:
    """Return the keys of both files after a mend, and the card's file as text."""
    run_mend(root, mend_script(LAB, LAB.nodes[0]), card=card, bridge=bridge)
    text = (root / "scripts" / "ifcfg-enp0s3").read_text()
    return ifcfg.parse((root / "scripts" / "ifcfg-br-ex").read_text()), ifcfg.parse(text), text


def passes(root: Path) -> bool:
    """Return whether both files pass their checks."""
    texts = {
        Kind.IFCFG_BRIDGE: (root / "scripts" / "ifcfg-br-ex").read_text(),
        Kind.IFCFG_NIC: (root / "scripts" / "ifcfg-enp0s3").read_text(),
    }
    subject = Subject(lab=LAB, node=LAB.nodes[0], texts=texts)
    return checks.port.judge(subject).ok and checks.bridge.judge(subject).ok


def test_mend_of_a_plain_card_keeps_what_a_user_has_set(tmp_path: Path) -> None:
    card = (
        f"# mine\nTYPE=Ethernet\nDEVICE=enp0s3\n{CARD}PREFIX=24\nGATEWAY0=10.0.0.1\nDNS1=1.1.1.1\n"
        "MTU='9000'\n  ZONE=public\nBOOTPROTO=dhcp\nexport COST='$5'"
    )
    bridge, port, text = mended(tmp_path / "a", card=card, bridge="")
    assert {key: port.get(key) for key in ("DNS1", "MTU", "ZONE", "COST", "IPADDR")} == {
        "DNS1": "1.1.1.1", "MTU": "9000", "ZONE": "public", "COST": "$5", "IPADDR": None,
    }  # fmt: skip
    assert "# mine\n" in text
    assert not {"GATEWAY0", "PREFIX"} & (set(port) | set(bridge))
    assert (bridge["MTU"], bridge["IPADDR"]) == ("9000", "172.16.208.39")
    assert passes(tmp_path / "a")

    again = (tmp_path / "a" / "scripts" / "ifcfg-br-ex").read_text()
    assert mended(tmp_path / "b", card=text, bridge=again) == (bridge, port, text)


def test_mend_of_a_bridge_keeps_what_a_user_has_set(tmp_path: Path) -> None:
    old = (
        "MTU=9000\nIPADDR=10.9.9.9\nPREFIX=16\nIPADDR1=172.16.208.40\nPREFIX1=24\n"
        'GATEWAY1=10.9.9.1\nOVS_EXTRA="set bridge br-ex stp_enable=true"\nOVSBOOTPROTO=dhcp\n'
    )
    bridge, _, _ = mended(tmp_path, card="TYPE=OVSPort\nMTU=1500\n", bridge=old)
    assert (bridge["MTU"], bridge["IPADDR1"], bridge["IPADDR"]) == (
        "9000", "172.16.208.40", "172.16.208.39",
    )  # fmt: skip
    assert bridge["OVS_EXTRA"] == (
        "set bridge br-ex stp_enable=true -- set bridge br-ex fail_mode=standalone"
    )
    assert not {"PREFIX", "GATEWAY1"} & set(bridge)
    assert bridge["OVSBOOTPROTO"] == "static"
    assert passes(tmp_path)


def test_mend_that_is_cut_short_leaves_nothing_that_network_takes_for_a_device(
    tmp_path: Path,
) -> None:
    calls = run_mend(tmp_path, mend_script(LAB, LAB.nodes[0]), broken="mv")
    assert calls.splitlines()[-1].startswith("mv ")
    left = {path.name for path in (tmp_path / "scripts").iterdir()}
    assert left == {"ifcfg-enp0s3", ".ifcfg-br-ex.labkit-new"}


def test_case_06_compute_node_with_the_bridge_is_mended_with_its_own_address(
    tmp_path: Path,
) -> None:
    run_mend(tmp_path, mend_script(LAB, LAB.nodes[1]), card="IPADDR=172.16.208.141\n")
    bridge = ifcfg.parse((tmp_path / "scripts" / "ifcfg-br-ex").read_text())
    assert (bridge["IPADDR"], bridge["TYPE"]) == ("172.16.208.141", "OVSBridge")


@pytest.mark.parametrize("value", ["it's", 'a "b" c', "$(reboot)", "`x`", "a b", "\\", "!x", ""])
def test_hostile_value_reaches_the_shell_as_it_is(value: str) -> None:
    text = ifcfg_text({"NAME": value})
    shown = subprocess.run(
        ["bash", "-c", f'{text}printf %s "$NAME"'], capture_output=True, check=True
    )
    assert shown.stdout.decode() == value


def test_hostile_ifcfg_key_of_the_lab_file_is_mended_byte_for_byte(tmp_path: Path) -> None:
    node = LAB.nodes[0]
    nic = replace(node.nics[0], ifcfg=(*node.nics[0].ifcfg, ("COMMENT", "CONTENT_ENDS '$(x)'")))
    run_mend(tmp_path, mend_script(LAB, replace(node, nics=(nic, *node.nics[1:]))))
    text = (tmp_path / "scripts" / "ifcfg-br-ex").read_text()
    assert "COMMENT='CONTENT_ENDS '\"'\"'$(x)'\"'\"''\n" in text


def test_nodes_to_mend_are_those_whose_bridge_is_half_done() -> None:
    def result(node: str, check: str, verdict: Verdict) -> Result:
        return Result(node=node, check=check, summary="", verdict=verdict)

    report = Report(
        lab="packstack",
        results=(
            result("controller", "ifcfg-port", Verdict.FAILED),
            result("controller", "ifcfg-bridge", Verdict.OK),
            result("compute", "vxlan-ports", Verdict.FAILED),
            result("compute", "ifcfg-port", Verdict.NOT_JUDGED),
        ),
    )
    assert [node.name for node in to_mend(LAB, report)] == ["controller"]


def test_mending_that_fails_shows_what_the_guest_said(tmp_path: Path) -> None:
    session = Session(
        lab=LAB,
        lab_file=tmp_path / "lab.yaml",
        directory=LabDirectory(tmp_path),
        progress=lambda _event: None,
        tools=tools(),
    )
    guest = FakeGuest(
        {
            "start labkit-mend": b"started\n",
            "look at labkit-mend": sample(b"ifup: no device\n", state="ended", code="001"),
        }
    )
    with pytest.raises(OperationError, match="could not be put right") as caught:
        mend(session, guest.connection(), LAB.nodes[0])
    assert caught.value.details == ("ifup: no device",)
