from __future__ import annotations

import base64
import io
import subprocess  # noqa: TID251 -- the guest's bash, run here
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError
from labkit.host import ssh
from labkit.packstack import bring_home
from labkit.state.directory import LabDirectory
from labkit.state.session import Session
from labkit.verify.outputs import KEYSTONERC
from tests.fakes.guest import FakeGuest
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
    connection = guest.connection()
    assert bring_home.fetch(connection, by_command=False) == ("[general]\n", "export OS\n")
    assert bring_home.fetch(connection, by_command=True) == ("", "")
    assert "by_command=yes" in guest.asked[-1][1]


def test_fetch_of_nonsense_says_so() -> None:
    guest = FakeGuest(
        {"fetch": ssh.ScriptResult(returncode=1, stdout=b"", stderr="sudo: no tty\n")}
    )
    with pytest.raises(OperationError, match="could not be read on node 'controller'") as caught:
        bring_home.fetch(guest.connection(), by_command=False)
    assert caught.value.details == ("sudo: no tty",)


def test_file_that_is_there_and_cannot_be_read_is_not_taken_for_a_missing_one(
    tmp_path: Path,
) -> None:
    there = tmp_path / "keystonerc_admin"
    there.write_text("export OS\n")
    (tmp_path / "base64").write_text("#!/bin/bash\nexit 1\n")
    (tmp_path / "base64").chmod(0o755)

    def run(script: str) -> ssh.ScriptResult:
        done = subprocess.run(
            ["bash", "-c", script.replace(KEYSTONERC, str(there))],
            capture_output=True,
            check=False,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        )
        return ssh.ScriptResult(returncode=done.returncode, stdout=done.stdout, stderr="")

    with pytest.raises(OperationError, match="could not be read on node 'controller'"):
        bring_home.fetch(FakeGuest({"fetch": run}).connection(), by_command=False)


def test_logs_that_cannot_be_kept_are_left_out(session: Session) -> None:
    session.directory.logs.rmdir()
    session.directory.logs.write_text("")
    here = FakeGuest({"true": b"", "collect": archive()})
    target = bring_home.gather_logs(session, {here.name: here.connection()}, "r1", [])
    assert not target.exists()


def test_files_come_home_private_and_an_empty_one_does_not(session: Session) -> None:
    (written,) = bring_home.keep_files(session, "[general]\n", "")
    assert written.read_text() == "[general]\n"
    assert written.stat().st_mode & 0o777 == 0o600


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
    connections = {guest.name: guest.connection() for guest in (here, gone)}
    secrets = ["hunter2hunter2"]
    target = bring_home.gather_logs(session, connections, "r1", secrets, reach_seconds=0.1)
    log = target / "controller" / "runs" / "labkit-packstack" / "output.log"
    assert log.read_text() == "password ********\n"
    assert log.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_mode & 0o777 == 0o700
    assert not (target / "compute").exists()


def test_hosts_are_not_discovered_where_nova_is_not_installed(session: Session) -> None:
    guest = FakeGuest({})
    asked = replace(LAB.deployment, answers=(("CONFIG_NOVA_INSTALL", "n"),))
    without = replace(session, lab=replace(LAB, deployment=asked))
    bring_home.discover_hosts(without, guest.connection())
    assert guest.asked == []


def test_host_discovery_that_fails_is_told(session: Session) -> None:
    failed = ssh.ScriptResult(returncode=1, stdout=b"", stderr="DB down\n")
    guest = FakeGuest({"nova-manage": failed})
    with pytest.raises(OperationError, match="into their cell") as caught:
        bring_home.discover_hosts(session, guest.connection())
    assert caught.value.details == ("DB down",)
