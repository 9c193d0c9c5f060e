"""What `make setup` does on hosts other than this one: its functions, among stand-in commands."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess  # noqa: TID251 -- a stand-in libvirtd has to go on running
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import environment, run
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.host.process import CommandResult

pytestmark = pytest.mark.integration

# What /etc/group says of the user 'kim' and what the session of 'kim' has are two things.
IDENTITY = """\
case "$*" in
  -u) echo 1000 ;;
  -un) echo kim ;;
  '-nG kim') echo "kim ${LISTED:-}" ;;
  -nG) echo "kim ${SESSION:-}" ;;
esac
"""
REFUSES = 'echo "error: failed to connect to the hypervisor" >&2; echo "error: $SAYS" >&2; exit 1'
DENIED = "Failed to connect socket to '/run/libvirt/libvirt-sock': Permission denied"


class Host:
    """A user's host: commands that only note that they ran, and a /run."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.run = root / "run"
        self.ran = root / "ran"
        self.bin.mkdir()
        (self.run / "libvirt").mkdir(parents=True)
        self.command("id", IDENTITY)
        self.command("virsh", REFUSES)
        self.command("stat", "echo root")
        for name in ("virtlogd", "libvirtd", "systemctl"):
            self.command(name, f'echo "{name} $*" >> {self.ran}')
        self.command("sudo", f'echo "sudo $*" >> {self.ran}; "$@"')

    def command(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def call(self, function: str, **extra: str) -> CommandResult:
        env = environment(**extra)
        env["PATH"] = f"{self.bin}:{env['PATH']}"
        script = f"source .ci/setup; run={self.run}; {function}"
        return run(["bash", "-c", script], cwd=ROOT, env=env, timeout=30, check=False)

    def what_ran(self) -> list[str]:
        return self.ran.read_text(encoding="utf-8").splitlines() if self.ran.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def running(host: Host) -> Iterator[Host]:
    """Return a host whose libvirtd runs."""
    program = host.run / "libvirtd"
    shutil.copy(shutil.which("sleep") or "sleep", program)
    with (
        socket.socket(socket.AF_UNIX) as server,
        subprocess.Popen([program, "60"]) as daemon,
    ):
        server.bind(str(host.run / "libvirt" / "libvirt-sock"))
        (host.run / "libvirtd.pid").write_text(f"{daemon.pid}\n", encoding="ascii")
        yield host
        daemon.kill()


def test_package_that_the_distribution_lacks_keeps_setup_from_nothing_else(host: Host) -> None:
    host.command("apt-get", f'echo "apt-get $*" >> {host.ran}')
    host.command("apt-cache", 'case "$2" in vagrant*) exit 100 ;; esac')
    stubs = (
        "missing_tools() { printf 'vagrant vagrant-libvirt '; }; "
        f"make_venv() {{ echo venv >> {host.ran}; }}; "
        f"start_libvirtd() {{ echo started >> {host.ran}; }}; main"
    )

    result = host.call(stubs)

    ran = host.what_ran()
    installed = next(line for line in ran if line.startswith("apt-get install")).split()
    assert {"mmdebstrap", "libvirt-dev"} <= set(installed)
    assert not {"vagrant", "vagrant-libvirt"} & set(installed)
    assert ran[-2:] == ["venv", "started"]
    assert result.returncode == 3
    assert "https://developer.hashicorp.com/vagrant/install" in result.stderr
    assert "'vagrant plugin install vagrant-libvirt'" in result.stderr
    assert "not everything is there: vagrant vagrant-libvirt" in result.stderr


def test_libvirtd_that_could_not_be_installed_is_not_started(host: Host) -> None:
    host.command("apt-get", "exit 0")
    host.command("apt-cache", "exit 100")
    stubs = "missing_tools() { printf 'libvirtd '; }; make_venv() { :; }; main"
    assert host.call(stubs).returncode == 3
    assert not [line for line in host.what_ran() if "libvirtd -d" in line]


def test_libvirtd_that_answers_is_left_alone(running: Host) -> None:
    running.command("virsh", "exit 0")

    assert running.call("start_libvirtd").returncode == 0
    assert running.what_ran() == []


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({}, "sudo usermod -aG libvirt kim, then log in again"),
        ({"LISTED": "libvirt"}, "this session is older than that: log in again"),
        ({"LISTED": "libvirt", "SESSION": "libvirt"}, "unix_sock_group and unix_sock_rw_perms"),
        (
            {"SAYS": "internal error: Unable to get system bus connection: Could not connect"},
            "polkit does not run here: run 'make setup' as root",
        ),
    ],
)
def test_libvirtd_that_serves_only_root_is_not_started_but_explained(
    running: Host, extra: dict[str, str], said: str
) -> None:
    result = running.call("start_libvirtd", **{"SAYS": DENIED, **extra})

    assert result.returncode == 3
    assert "libvirtd runs, but does not serve the user kim: error: " in result.stderr
    assert extra.get("SAYS", DENIED) in result.stderr
    assert said in result.stderr
    assert running.what_ran() == []


def test_libvirtd_that_hangs_is_not_started_but_explained(running: Host) -> None:
    running.command("id", "echo 0")
    running.command("timeout", "exit 124")

    result = running.call("start_libvirtd")

    assert result.returncode == 3
    assert "libvirtd runs, but does not answer: nothing within 20 s" in result.stderr
    assert running.what_ran() == []


def test_libvirtd_that_does_not_run_is_started_and_then_asked_again(host: Host) -> None:
    (host.run / "libvirtd.pid").write_text("999999999\n", encoding="ascii")

    result = host.call("start_libvirtd", SAYS=DENIED)

    assert [line for line in host.what_ran() if line.startswith("sudo")] == [
        "sudo virtlogd -d",
        "sudo libvirtd -d",
    ]
    assert result.returncode == 3
    assert "does not exist" in result.stderr


def test_libvirtd_of_a_service_manager_is_started_by_it(host: Host) -> None:
    (host.run / "systemd" / "system").mkdir(parents=True)

    host.call("start_libvirtd", SAYS=DENIED)

    assert host.what_ran() == ["sudo systemctl start libvirtd", "systemctl start libvirtd"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which needs root")
def test_venv_of_another_user_is_left_alone() -> None:
    as_nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    with tempfile.TemporaryDirectory() as name:  # pytest's own is closed to other users
        place = Path(name)
        place.chmod(0o755)
        for each in (".ci", ".venv"):
            (place / each).mkdir()
        for each in (".ci/setup", "pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / each, place / each)
        script = f"source {place}/.ci/setup; make_venv"
        result = run([*as_nobody, "bash", "-c", script], cwd=place, timeout=30, check=False)

    assert result.returncode == 3
    assert f"{place}/.venv belongs to root, not to you" in result.stderr


@pytest.mark.parametrize(("oldest", "works"), [("3.11.2", True), ("3.99", False)])
def test_python_older_than_the_lock_is_for_does_not_work(
    host: Host, oldest: str, *, works: bool
) -> None:
    result = host.call(f"oldest={oldest}; python_works {sys.executable}")

    assert (result.returncode == 0) is works


def test_python_without_headers_does_not_work(host: Host) -> None:
    # -S and a stand-in module: the rest of the interpreter is this test's own.
    (host.run / "sysconfig.py").write_text("def get_path(_name): return '/none'\n")

    result = host.call(f"oldest=3.11.2; python_works {sys.executable}", PYTHONPATH=str(host.run))

    assert result.returncode != 0


@pytest.mark.parametrize(
    ("works", "chosen"),
    [
        ("true", "/usr/bin/python3"),
        ("[ $1 != /usr/bin/python3 ]", "python3"),
        ("[ $1 = python3.12 ]", "python3.12"),
    ],
)
def test_environment_is_made_by_the_distributions_own_python_where_that_works(
    host: Host, works: str, chosen: str
) -> None:
    assert host.call(f"python_works() {{ {works}; }}; chosen_python").stdout == f"{chosen}\n"


def test_host_without_a_python_that_works_is_told_what_to_install(host: Host) -> None:
    result = host.call("python_works() { false; }; chosen_python")

    assert result.returncode == 3
    assert "a Python from 3.11.2 on, with venv and its headers, is needed" in result.stderr
