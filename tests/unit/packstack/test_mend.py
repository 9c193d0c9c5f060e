from __future__ import annotations

import subprocess  # noqa: TID251 -- bash judges what bash will read
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError
from labkit.packstack.mend import ifcfg_text, mend, mend_script, to_mend
from labkit.state.directory import LabDirectory
from labkit.state.session import Session
from labkit.verify.check import Result, Verdict
from labkit.verify.parsers import ifcfg
from labkit.verify.report import Report
from tests.fakes.guest import FakeGuest, sample
from tests.fakes.tools import tools
from tests.support import examples

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.golden import Golden

LAB = examples.example("packstack")


def test_mend_script_of_the_document_lab_is_as_kept(golden: Golden) -> None:
    golden.check("mend", {"controller.sh": mend_script(LAB, LAB.nodes[0])})


def run_mend(root: Path, script: str) -> str:
    """Run the script in a directory of its own, with fakes for ifup, ifdown and ip."""
    tools = root / "bin"
    tools.mkdir()
    for name in ("ifup", "ifdown", "ip", "restorecon"):
        tool = tools / name
        tool.write_text(f'#!/bin/bash\necho "{name} $*" >>"{root}/calls"\n')
        tool.chmod(0o755)
    scripts, kept = root / "scripts", root / "kept"
    scripts.mkdir()
    kept.mkdir()
    (scripts / "ifcfg-enp0s3").write_text("IPADDR=172.16.208.39\n")
    script = script.replace("/etc/sysconfig/network-scripts", str(scripts))
    script = script.replace("/var/lib/labkit", str(kept))
    subprocess.run(
        ["bash", "-s"], input=script.encode(), check=True, env={"PATH": f"{tools}:/usr/bin:/bin"}
    )
    return (root / "calls").read_text()


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
