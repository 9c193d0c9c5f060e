from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from labkit.errors import CommandError
from labkit.host import vagrant
from tests.fakes.vagrant import environment_in, install, up

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VAGRANT_VAGRANTFILE", "Elsewhere")
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "qemu+ssh://elsewhere/system")
    return install(tmp_path, monkeypatch)


@pytest.fixture
def machines(tmp_path: Path) -> vagrant.Machines:
    (tmp_path / "root").mkdir()
    return vagrant.Machines(root=tmp_path / "root", log=tmp_path / "vagrant.log")


def test_up_is_one_process_for_all_machines_without_waiting(
    machines: vagrant.Machines, record: Path
) -> None:
    up(machines, "controller", "compute")
    arguments = (record / "arguments").read_text().split()
    assert arguments[:3] == ["up", "controller", "compute"]
    assert {"--no-provision", "--no-destroy-on-error", "--provider=libvirt"} < set(arguments)
    environment = environment_in(record)
    assert environment["LABKIT_WAITS"] == "1"
    assert environment["LABKIT_TURNS"] == str(machines.root / "turns")
    assert environment["VAGRANT_CHECKPOINT_DISABLE"] == "1"
    assert "VAGRANT_VAGRANTFILE" not in environment
    assert "LIBVIRT_DEFAULT_URI" not in environment
    assert (record / "directory").read_text().strip() == str(machines.root)


@pytest.mark.usefixtures("record")
def test_output_is_appended_to_the_log(machines: vagrant.Machines) -> None:
    up(machines, "one")
    up(machines, "one")
    assert machines.log.read_text().splitlines() == ["one line of output", "one line of error"] * 2


@pytest.mark.usefixtures("record")
def test_failure_keeps_the_output_of_this_command_alone(
    machines: vagrant.Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.log.write_text("from an earlier command\n")
    monkeypatch.setenv("BEHAVE", "echo why; exit 5")
    with pytest.raises(CommandError) as caught:
        up(machines, "one")
    assert caught.value.details == ("one line of output", "one line of error", "why")
    assert "exited with 5" in caught.value.message
    assert str(machines.log) in caught.value.hint


@pytest.mark.usefixtures("record")
def test_cancelled_up_ends_vagrant(
    machines: vagrant.Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVE", "exec sleep 100")
    with pytest.raises(CommandError, match="cancelled"):
        up(machines, "one", cancelled=lambda: True)


def test_up_sees_the_home_of_its_lab_and_nothing_of_the_users(
    machines: vagrant.Machines, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VAGRANT_HOME", "VAGRANT_DOTFILE_PATH", "VAGRANT_NO_PLUGINS", "RUBYOPT"):
        monkeypatch.setenv(name, "/the/users")
    up(machines, "one")
    found = environment_in(record)
    assert found["VAGRANT_HOME"] == str(machines.root / "home")
    assert "/the/users" not in found.values()


def test_box_is_made_known_to_the_vagrant_of_one_lab(tmp_path: Path) -> None:
    for _ in range(2):
        vagrant.provide_box(tmp_path, name="a/b", version="1.0.0", virtual_size_gib=4)
    found = tmp_path / "home" / "boxes" / "a-VAGRANTSLASH-b" / "1.0.0" / "libvirt"
    known = json.loads((found / "metadata.json").read_text())
    assert known == {"provider": "libvirt", "format": "qcow2", "virtual_size": 4}


def test_box_volume_is_named_as_vagrant_libvirt_looks_it_up() -> None:
    assert (
        vagrant.box_volume("some/box", "1.0.0")
        == "some-VAGRANTSLASH-box_vagrant_box_image_1.0.0_box.img"
    )


FAILED_UP = """\
==> one: Creating domain with the following settings...
==> one:  -- Name:              plain_one
#<Thread:0x00007f run> terminated with exception (report_on_exception is true):
/gems/fog-libvirt/vm_action.rb:7:in `create': Call to virDomainCreateWithFlags failed: \
Unable to add bridge eth0 port vnet0: Operation not supported (Libvirt::Error)
\tfrom /gems/fog-libvirt/vm_action.rb:7:in `vm_action'
\t 1: from /gems/vagrant-libvirt/start_domain.rb:9:in `call'
/gems/vagrant-libvirt/start_domain.rb:9:in `rescue in call': There was an error talking to \
Libvirt. The error message is shown (VagrantPlugins::ProviderLibvirt::Errors::FogError)
below:

Call to virDomainCreateWithFlags failed: Unable to add bridge eth0 port vnet0: Operation not supported
"""


def test_case_17_error_of_vagrant_is_shown_and_not_the_backtrace_after_it() -> None:
    backtrace = [f"        from /gems/vagrant-2.3.4/warden.rb:{n}:in `call'" for n in range(30)]

    lines = vagrant.error_lines([*FAILED_UP.splitlines(), *backtrace])

    refused = "failed: Unable to add bridge eth0 port vnet0: Operation not supported"
    assert lines == (
        f"Call to virDomainCreateWithFlags {refused} (Libvirt::Error)",
        f"Call to virDomainCreateWithFlags {refused}",
    )


def test_case_17_output_that_names_no_error_is_shown_by_its_last_lines() -> None:
    output = [f"==> one: step {number}" for number in range(30)]

    assert vagrant.error_lines(output) == tuple(output[-20:])
