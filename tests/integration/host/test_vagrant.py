"""The adapter over python-vagrant on the real Vagrant, in the cases that start no machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from labkit.errors import CommandError
from labkit.host import vagrant
from tests.fakes.vagrant import up

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        shutil.which("vagrant") is None, reason="vagrant is missing: run 'make setup'"
    ),
]


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> vagrant.Machines:
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    (tmp_path / "root").mkdir()
    return vagrant.Machines(root=tmp_path / "root", log=tmp_path / "vagrant.log")


def test_vagrant_and_its_libvirt_provider_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    vagrant.require()


def test_up_with_a_broken_vagrantfile_keeps_what_vagrant_said(
    machines: vagrant.Machines,
) -> None:
    (machines.root / "Vagrantfile").write_text("Vagrant.configure('2') do |config|\n  oops oops\n")
    with pytest.raises(CommandError) as caught:
        up(machines, "one")
    assert caught.value.message.startswith("'vagrant up one --no-provision")
    assert any("Vagrantfile" in line for line in caught.value.details)
    assert machines.log.read_text().splitlines()[-1] in caught.value.details
    before = machines.log.read_bytes()

    with pytest.raises(CommandError):
        up(machines, "one")

    assert machines.log.read_bytes().startswith(before)
    assert len(machines.log.read_bytes()) > len(before)


def test_cancelled_up_leaves_no_vagrant_behind(machines: vagrant.Machines) -> None:
    mark = machines.root / "started"
    (machines.root / "Vagrantfile").write_text(
        f"File.write({str(mark)!r}, Process.pid)\nsleep 60\n"
    )
    with pytest.raises(CommandError, match="cancelled"):
        up(machines, "one", cancelled=mark.exists)
    assert not Path("/proc", mark.read_text()).exists()


def test_case_03_home_vagrantfile_of_the_user_is_not_read(
    machines: vagrant.Machines, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "Vagrantfile").write_text("raise 'the one of the user'\n")
    (machines.root / "Vagrantfile").write_text("raise 'the one of the lab'\n")
    with pytest.raises(CommandError):
        up(machines, "one")
    assert "the one of the lab" in machines.log.read_text()
    assert "the one of the user" not in machines.log.read_text()
