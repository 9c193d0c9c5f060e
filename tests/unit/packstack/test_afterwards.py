from __future__ import annotations

import base64
import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError
from labkit.host import ssh
from labkit.packstack import afterwards
from labkit.state.directory import LabDirectory
from labkit.state.session import Session
from labkit.verify.check import Result, Verdict
from labkit.verify.report import Report
from tests.fakes.guest import FakeGuest, sample
from tests.fakes.tools import tools
from tests.support import examples

if TYPE_CHECKING:
    from pathlib import Path

LAB = examples.example("packstack")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    directory = LabDirectory(tmp_path / "lab")
    directory.create()
    return Session(
        lab=LAB,
        lab_file=tmp_path / "lab.yaml",
        directory=directory,
        progress=lambda _event: None,
        tools=tools(),
    )


def files(*contents: str) -> bytes:
    return b"".join(b"file " + base64.b64encode(content.encode()) + b"\n" for content in contents)


def test_fetch_returns_both_files_and_nothing_for_a_missing_one() -> None:
    guest = FakeGuest({"fetch": [files("[general]\n", "export OS\n"), files("", "")]})
    link = guest.link()
    assert afterwards.fetch(link, by_command=False) == ("[general]\n", "export OS\n")
    assert afterwards.fetch(link, by_command=True) == ("", "")
    assert "by_command=yes" in guest.asked[-1][1]


def test_fetch_of_nonsense_says_so() -> None:
    guest = FakeGuest(
        {"fetch": ssh.ScriptResult(returncode=1, stdout=b"", stderr="sudo: no tty\n")}
    )
    with pytest.raises(OperationError, match="could not be read on node 'controller'") as caught:
        afterwards.fetch(guest.link(), by_command=False)
    assert caught.value.details == ("sudo: no tty",)


def test_files_come_home_private_and_an_empty_one_does_not(session: Session) -> None:
    (written,) = afterwards.bring_home(session, "[general]\n", "")
    assert written.read_text() == "[general]\n"
    assert written.stat().st_mode & 0o777 == 0o600


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
    found = Session(
        lab=LAB,
        lab_file=examples.ROOT / "lab.yaml",
        directory=LabDirectory(examples.ROOT),
        progress=lambda _event: None,
        tools=tools(),
    )
    assert [node.name for node in afterwards.to_mend(found, report)] == ["controller"]


def test_mending_that_fails_shows_what_the_guest_said(session: Session) -> None:
    guest = FakeGuest(
        {
            "start labkit-mend": b"started\n",
            "look at labkit-mend": sample(b"ifup: no device\n", state="ended", code="001"),
        }
    )
    with pytest.raises(OperationError, match="could not be put right") as caught:
        afterwards.mend(session, guest.link(), LAB.nodes[0])
    assert caught.value.details == ("ifup: no device",)


def archive() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        content = b"password hunter2hunter2\n"
        info = tarfile.TarInfo("./runs/labkit-packstack/output.log")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def test_logs_are_collected_masked_and_private_though_a_node_is_away(session: Session) -> None:
    def away(_script: str) -> bytes:
        msg = "no route"
        raise ssh.NotReachableError(msg)

    here = FakeGuest({"true": b"", "collect": archive()})
    gone = FakeGuest({"true": away}, name="compute")
    links = {guest.name: guest.link() for guest in (here, gone)}
    target = afterwards.gather_logs(session, links, "r1", ["hunter2hunter2"])
    log = target / "controller" / "runs" / "labkit-packstack" / "output.log"
    assert log.read_text() == "password ********\n"
    assert log.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_mode & 0o777 == 0o700
    assert not (target / "compute").exists()


def test_host_discovery_that_fails_is_told(session: Session) -> None:
    failed = ssh.ScriptResult(returncode=1, stdout=b"", stderr="DB down\n")
    guest = FakeGuest({"nova-manage": failed})
    with pytest.raises(OperationError, match="into their cell") as caught:
        afterwards.discover_hosts(session, guest.link())
    assert caught.value.details == ("DB down",)
