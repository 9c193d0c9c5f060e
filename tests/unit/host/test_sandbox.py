"""What a sandbox is made of, decided without making one."""

from __future__ import annotations

import json
import os
import subprocess  # noqa: TID251 -- a command line is judged by the shell-free run of it
import sys
from pathlib import Path

import pytest

from labkit.errors import HostError
from labkit.host import sandbox
from labkit.host.sandbox import Setup
from labkit.host.sandbox_init import interactive_shell, report

SETUP = Setup(kvm=True, vagrant_home="/home/x/.vagrant.d")


def test_inner_environment_separates_vagrant_temporary_files_and_state() -> None:
    inner = sandbox.inner_environment({"PATH": "/bin", "TMPDIR": "/tmp/x"}, cache=Path("/c"))  # noqa: S108 -- only a text
    assert inner == {
        "PATH": "/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "LABKIT_STATE_DIR": "/run/labkit/state",
        "LABKIT_CACHE_DIR": "/c",
        "XDG_STATE_HOME": "/run/labkit/xdg-state",
        "VAGRANT_HOME": "/run/labkit/vagrant.d",
        "TMPDIR": "/run/labkit/tmp",
        "LABKIT_SANDBOX": "1",
    }


def test_inner_environment_keeps_a_chosen_state_directory_and_cache() -> None:
    outer = {"PATH": "/bin", "LABKIT_STATE_DIR": "/s", "LABKIT_CACHE_DIR": "/c"}
    inner = sandbox.inner_environment(outer, cache=None)
    assert (inner["LABKIT_STATE_DIR"], inner["LABKIT_CACHE_DIR"]) == ("/s", "/c")


@pytest.mark.parametrize("name", sorted(sandbox.HOST_SESSION))
def test_inner_environment_drops_the_hosts_session(name: str) -> None:
    assert name not in sandbox.inner_environment({name: "x", "HOME": "/root"}, cache=None)


def test_inner_environment_adds_system_directories_once() -> None:
    inner = sandbox.inner_environment({"PATH": "/usr/sbin:/bin"}, cache=None)
    assert inner["PATH"].split(":").count("/usr/sbin") == 1


@pytest.mark.parametrize(
    ("environment", "home"),
    [({}, "/home/x/.vagrant.d"), ({"VAGRANT_HOME": "/v"}, "/v")],
)
def test_vagrant_home_follows_the_environment(environment: dict[str, str], home: str) -> None:
    assert sandbox.vagrant_home(environment, Path("/home/x")) == home


@pytest.mark.parametrize(
    ("environment", "marked", "answer"),
    [
        ({"LABKIT_SANDBOX": "1"}, True, True),
        ({"LABKIT_SANDBOX": "1"}, False, False),
        ({}, True, False),
    ],
)
def test_inside_needs_the_variable_and_the_marker(
    tmp_path: Path, environment: dict[str, str], *, marked: bool, answer: bool
) -> None:
    marker = tmp_path / "sandbox"
    if marked:
        marker.touch()
    assert sandbox.inside(environment, marker=marker) is answer


def test_unshare_argv_makes_every_namespace_and_ends_with_the_command() -> None:
    argv = sandbox.unshare_argv(["sh", "-c", "a b"], setup=SETUP, python="/p", package=Path("/l"))
    start = argv[: argv.index("--")]
    assert start == ("unshare", "--net", "--mount", "--pid", "--propagation", "private")
    assert argv[argv.index("--") + 1] == "/p"
    assert (argv[-5], *argv[-3:]) == ("/l", "sh", "-c", "a b")
    assert Setup(**json.loads(argv[-4])) == SETUP


def test_start_line_runs_labkit_of_the_package_not_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "labkit").mkdir()
    (tmp_path / "labkit" / "__init__.py").write_text("raise SystemExit(99)", encoding="utf-8")
    package = Path(sandbox.__file__).parents[2]
    argv = [sys.executable, "-P", "-c", sandbox.START, str(package), "no JSON"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "JSONDecodeError" in done.stderr
    assert done.returncode == 1


def test_require_root_as_a_user_says_how() -> None:
    sandbox.require_root(0)
    with pytest.raises(HostError) as caught:
        sandbox.require_root(1000)
    assert caught.value == HostError(
        "The sandbox makes its own network and mounts, which needs root; this is user 1000.",
        hint="Run it as 'sudo -E \"$(command -v labkit)\" sandbox'.",
    )


def test_require_tools_missing_ones_are_all_named(tmp_path: Path) -> None:
    for tool in set(sandbox.TOOLS) - {"libvirtd", "virsh"}:
        (tmp_path / tool).touch(mode=0o755)
    with pytest.raises(HostError) as caught:
        sandbox.require_tools(str(tmp_path))
    assert caught.value.message.endswith("not installed on this host: 'libvirtd', 'virsh'.")
    assert "make setup" in caught.value.hint


@pytest.mark.parametrize("path", ["/run/user/0", "/dev/shm", "/var/lib/libvirt/images", "/run"])  # noqa: S108 -- only a text
def test_require_visible_path_below_a_private_mount_is_refused(path: str) -> None:
    with pytest.raises(HostError, match=f"The current directory '{path}' cannot be seen"):
        sandbox.require_visible(Path(path), what="The current directory")


@pytest.mark.parametrize("path", ["/", "/home/x", "/runner", "/var/lib/libvirtual"])
def test_require_visible_path_elsewhere_passes(path: str) -> None:
    sandbox.require_visible(Path(path), what="It")


def test_host_mounts_start_with_the_one_tmpfs() -> None:
    first, *others = sandbox.host_mounts()
    assert first == ("-t", "tmpfs", "-o", "size=75%,mode=0755,nosuid", "labkit", "/run")
    assert [each[-1] for each in others] == ["/proc", "/sys"]


def test_private_mounts_cover_libvirt_and_end_with_dev() -> None:
    mounts = sandbox.private_mounts(Path("/run/labkit/dev"))
    targets = [each[-1] for each in mounts]
    assert targets == [
        *("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt"),
        *("/run/labkit/dev/pts", "/run/labkit/dev/shm", "/dev"),
    ]
    sources = [each[-2] for each in mounts if each[-2] != "/dev/pts"]
    assert all(source.startswith("/run/labkit/") for source in sources)
    assert len(set(sources)) == len(sources)


@pytest.mark.parametrize("with_kvm", [True, False])
def test_devices_hold_kvm_only_where_it_works(*, with_kvm: bool) -> None:
    names = sandbox.devices(with_kvm=with_kvm)
    assert ("kvm" in names) is with_kvm
    assert {"null", "urandom", "ptmx", "net/tun"} <= set(names)


def test_libvirt_files_leave_owners_of_host_files_alone() -> None:
    text = sandbox.libvirt_files()[Path("/etc/libvirt/qemu.conf")]
    settings = dict(line.split(" = ") for line in text.splitlines())
    assert settings["dynamic_ownership"] == settings["remember_owner"] == "0"
    assert settings["user"] == '"root"'
    assert settings["cgroup_controllers"] == "[]"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (["/bin/bash"], True),
        (["zsh", "-l"], True),
        (["bash", "-c", "true"], False),
        (["bash", "script"], False),
        (["sleep"], False),
    ],
)
def test_interactive_shell_is_a_shell_without_a_script(
    command: list[str], *, answer: bool
) -> None:
    assert interactive_shell(command) is answer


def test_report_error_shows_message_details_and_hint() -> None:
    assert report(HostError("It broke.", details=("a", "b"), hint="Mend it.")) == (
        "labkit sandbox: It broke.\n  a\n  b\n  Hint: Mend it.\n"
    )


def test_enter_inside_a_command_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="does not start: No such file or directory"):
        sandbox._replace([str(tmp_path / "none")], os.environ)
