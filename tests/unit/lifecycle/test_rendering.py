from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from labkit.errors import UsageError
from labkit.lifecycle.rendering import packstack_files, write_preview
from labkit.state.directory import LabDirectory
from labkit.state.session import Session
from tests.fakes.tools import tools
from tests.support import labs
from tests.support.examples import example

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(
        lab=labs.lab(),
        lab_file=tmp_path / "lab.yaml",
        directory=LabDirectory(tmp_path / "state" / "demo"),
        progress=lambda _event: None,
        tools=tools(),
    )


def test_preview_writes_every_file_and_nothing_else(session: Session, tmp_path: Path) -> None:
    count = write_preview(session, tmp_path / "out" / "deep")
    names = {
        path.relative_to(tmp_path / "out" / "deep").as_posix()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert len(names) == count
    assert {"Vagrantfile", "networks/lan.xml", "packstack-command.txt"} < names
    for node in ("controller", "compute"):
        etc = f"{node}/etc"
        assert {
            f"{node}/manifest",
            f"{etc}/hostname",
            f"{etc}/hosts",
            f"{etc}/resolv.conf",
            f"{etc}/sysctl.d/90-labkit-multihome.conf",
            f"{etc}/udev/rules.d/70-persistent-net.rules",
            f"{etc}/sysconfig/network-scripts/ifcfg-enp0s3",
            f"{etc}/sysconfig/network-scripts/ifcfg-enp0s8",
        } < names
    assert not session.directory.path.exists()


def test_preview_manifest_sums_are_those_of_the_files(session: Session, tmp_path: Path) -> None:
    write_preview(session, tmp_path / "out")
    lines = (tmp_path / "out/compute/manifest").read_text().splitlines()
    files = [line.split() for line in lines if line.startswith("file ")]
    assert files
    for _, digest, _mode, _owner, path in files:
        content = (tmp_path / "out/compute" / path.lstrip("/")).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest


def test_preview_into_a_directory_that_is_not_empty_writes_nothing(
    session: Session, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        write_preview(session, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_preview_where_a_file_is_in_the_way_says_so(session: Session, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError) as caught:
        write_preview(session, tmp_path / "out")
    assert str(tmp_path / "out") in caught.value.message


def test_preview_of_a_lab_that_cannot_be_deployed_says_why_in_place_of_the_command() -> None:
    assert packstack_files(example("hostile")) == {
        "packstack-command.txt": (
            "# This lab cannot be deployed as it is:\n"
            "# nodes.another-name-of-30-characterss: expected a card in a network with a gateway, without which "
            "Packstack does not start, found none on the controller\n"
        )
    }
