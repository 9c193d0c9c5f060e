"""labkit-prepare for real, in bash with the host's curl: a directory plays the guest."""

from __future__ import annotations

import configparser
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import run
from labkit.lab import signing_keys
from labkit.lab.topology import Release
from labkit.packstack.prepare_script import script
from tests.fakes.mirror import FakeMirror, mirroring
from tests.support import labs
from tests.support.guest_tree import FILES, OWN_REPO, Guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab

pytestmark = pytest.mark.integration

# In the order the script runs them, the same on every node.
STEPS = (
    "space",
    "probe",
    "environment",
    "hosts",
    "hostname",
    "ssh",
    "firewalld",
    "network-manager",
    "network",
    "repositories",
    "release",
    "update",
    "packages",
    "limits",
    "kernel",
)

# Nothing listens on port 1 of the loopback.
NOBODY = "http://127.0.0.1:1/centos"
FIRST = "labkit-base,labkit-updates,labkit-extras"
HOSTILE = 'it\'s "$(touch was-here)" `touch was-here` $HOME \\ ; & | é\n\t!'


@pytest.fixture
def mirror() -> Iterator[FakeMirror]:
    if shutil.which("curl") is None:
        pytest.skip("'curl' is not installed; 'make setup' installs it")
    with mirroring() as held:
        yield held


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    made = Guest(root=tmp_path / "root")
    made.install()
    return made


def lab_at(*bases: str, proxy: str | None = None, tree: str = "7.9.2009") -> ResolvedLab:
    lab = labs.lab()
    return replace(
        lab,
        repositories=replace(lab.repositories, bases=bases, proxy=proxy, tree=tree),
    )


def prepared(
    lab: ResolvedLab, node: str = "controller", *, key_texts: tuple[str, ...] = ()
) -> str:
    chosen = lab.node(node)
    assert chosen is not None
    keys = {item.name: f"ssh-ed25519 AAAA{item.name}" for item in lab.nodes}
    return script(lab, chosen, packages=lab.repositories, host_keys=keys, key_texts=key_texts)


def repositories(guest: Guest, name: str) -> configparser.RawConfigParser:
    reader = configparser.RawConfigParser()
    reader.read_string(guest.text(f"etc/yum.repos.d/{name}.repo"))
    return reader


def test_fresh_controller_is_prepared_and_a_second_run_changes_nothing(
    guest: Guest, mirror: FakeMirror
) -> None:
    text = prepared(lab_at(mirror.url))
    first = guest.prepare(text)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stderr == ""
    assert tuple(event.step for event in guest.view.done) == STEPS
    assert guest.changed() == {
        *("environment", "hosts", "ssh", "firewalld", "network-manager", "network"),
        *("repositories", "release", "update", "packages", "limits"),
    }
    assert guest.text("etc/systemd/system/mariadb.service.d/labkit.conf") == (
        "[Service]\nLimitNOFILE=16384\n"
    )
    assert guest.view.reboot == ("3.10.0-862.el7.x86_64", "3.10.0-1160.el7.x86_64")

    guest.write("fake/running", "3.10.0-1160.el7.x86_64\n")
    before = guest.files()
    second = guest.prepare(text)
    assert second.returncode == 0
    again = guest.view
    assert not guest.changed()
    assert again.reboot is None
    assert tuple(event.step for event in again.done) == STEPS
    assert guest.files() == before


def test_fresh_controller_gets_the_files_packstack_needs(guest: Guest, mirror: FakeMirror) -> None:
    guest.prepare(prepared(lab_at(mirror.url)))
    assert guest.text("etc/environment") == "LANG=en_US.utf-8\nLC_ALL=en_US.utf-8\n"
    assert guest.text("etc/hosts") == (
        "127.0.0.1 localhost localhost.localdomain\n"
        "172.16.208.13 controller.lab.example controller\n"
        "172.16.208.23 compute.lab.example compute\n"
    )
    assert guest.text("etc/yum/vars/contentdir") == "centos\n"
    known = guest.root / "root/.ssh/known_hosts"
    assert known.stat().st_mode & 0o777 == 0o600
    assert "172.16.208.28 ssh-ed25519 AAAAcompute\n" in known.read_text()
    assert set(guest.text("fake/active").split()) == set()
    assert set(guest.text("fake/enabled").split()) == {"network"}
    assert {"python-setuptools", "openstack-packstack"} <= set(guest.text("fake/packages").split())
    for address in ("172.16.208.13", "172.16.208.23"):
        assert f"root@{address} true\n" in guest.text("fake/ssh")
    assert not (guest.root / "var/cache/yum/x86_64/7/labkit-base").exists()


def test_release_package_is_installed_before_the_keys_it_brings_are_needed(
    guest: Guest, mirror: FakeMirror
) -> None:
    guest.prepare(prepared(lab_at(mirror.url)))
    assert guest.text("fake/asked").splitlines() == [
        f"-y --disablerepo=* --enablerepo={FIRST} install centos-release-openstack-queens",
        "-y update",
        "-y install python-setuptools openstack-packstack",
    ]


def test_keys_of_the_lab_file_are_written_in_place_of_the_release_package(
    guest: Guest, mirror: FakeMirror
) -> None:
    names = signing_keys.names(Release.QUEENS)
    keys = tuple(f"{HOSTILE}{name}\n" for name in names)
    text = prepared(lab_at(mirror.url), key_texts=keys)
    done = guest.prepare(text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "release" in guest.changed()
    for name, key in zip(names, keys, strict=True):
        path = guest.root / "etc/pki/rpm-gpg" / name
        assert (path.stat().st_mode & 0o777, path.read_text()) == (0o644, key)
    assert "centos-release" not in guest.text("fake/asked")
    assert "was-here" not in [path.name for path in guest.root.rglob("*")]
    ours = repositories(guest, "labkit")
    named = {ours[section]["gpgkey"].removeprefix("file://") for section in ours.sections()}
    assert {f"/etc/pki/rpm-gpg/{name}" for name in names} < named


def test_dead_repositories_are_disabled_and_others_left_alone(
    guest: Guest, mirror: FakeMirror
) -> None:
    guest.prepare(prepared(lab_at(mirror.url)))
    for name in ("CentOS-Base", "epel", "CentOS-OpenStack-queens", "CentOS-x86_64-kernel"):
        found = repositories(guest, name)
        assert all(found[section]["enabled"] == "0" for section in found.sections()), name
    own = guest.text("etc/yum.repos.d/own.repo")
    assert own == OWN_REPO.replace("enabled=True", "enabled=0")
    base = guest.text("etc/yum.repos.d/CentOS-Base.repo")
    assert (
        base.replace("[base]\nenabled=0\n", "[base]\n")
        == FILES["etc/yum.repos.d/CentOS-Base.repo"]
    )
    ours = repositories(guest, "labkit")
    assert all(ours[section]["enabled"] == "1" for section in ours.sections())


def test_compute_gets_no_packstack_and_asks_nobody(guest: Guest, mirror: FakeMirror) -> None:
    guest.write("proc/sys/kernel/hostname", "localhost.localdomain\n")
    done = guest.prepare(prepared(lab_at(mirror.url), "compute"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "openstack-packstack" not in guest.text("fake/packages")
    assert not (guest.root / "fake/ssh").exists()
    assert guest.text("etc/hostname") == "compute.lab.example\n"
    assert guest.text("proc/sys/kernel/hostname") == "compute.lab.example\n"


def test_first_place_dead_the_next_one_is_taken_whole(guest: Guest, mirror: FakeMirror) -> None:
    done = guest.prepare(prepared(lab_at(NOBODY, mirror.url)))
    assert done.returncode == 0, done.stdout
    ours = repositories(guest, "labkit")
    assert all(ours[name]["baseurl"].startswith(mirror.url) for name in ours.sections())


def test_place_without_one_repository_is_passed_over(guest: Guest, mirror: FakeMirror) -> None:
    mirror.missing = ["/centos/7.9.2009/virt/"]
    other = mirror.url.replace("/centos", "/vault")
    assert guest.prepare(prepared(lab_at(mirror.url, other))).returncode == 0
    ours = repositories(guest, "labkit")
    assert all(ours[name]["baseurl"].startswith(other) for name in ours.sections())


def test_every_place_that_has_all_is_used_in_order_and_no_other(
    guest: Guest, mirror: FakeMirror
) -> None:
    first, second = mirror.url, mirror.url.replace("/centos", "/vault")
    assert guest.prepare(prepared(lab_at(first, NOBODY, second))).returncode == 0
    ours = repositories(guest, "labkit")
    for name in ours.sections():
        places = ours[name]["baseurl"].split()
        assert [place.removesuffix(places[0].removeprefix(first)) for place in places] == [
            first,
            second,
        ]
        assert ours[name]["failovermethod"] == "priority"


def test_no_place_answers_nothing_is_changed_and_each_is_named(
    guest: Guest, mirror: FakeMirror
) -> None:
    mirror.missing = ["/openstack-queens/"]
    before = guest.files()
    done = guest.prepare(prepared(lab_at(NOBODY, mirror.url)))
    assert done.returncode == 1
    assert guest.files() == before
    assert not (guest.root / "fake/asked").exists()
    assert f"{NOBODY}/7.9.2009: labkit-base curl: (7)" in guest.reason()
    assert f"{mirror.url}/7.9.2009: labkit-openstack-queens answered 404" in guest.reason()
    assert done.stdout.splitlines()[-1].startswith("labkit-step: failed probe ")


@pytest.mark.parametrize(
    ("redirect", "body", "reason"),
    [
        ("https://127.0.0.1:1", b"", "redirects to another protocol"),
        (None, b"<html>please log in</html>", "no repomd.xml"),
    ],
)
def test_place_that_yum_could_not_use_does_not_count(
    guest: Guest, mirror: FakeMirror, redirect: str | None, body: bytes, reason: str
) -> None:
    mirror.redirect, mirror.body = redirect, body
    assert guest.prepare(prepared(lab_at(mirror.url))).returncode == 1
    assert reason in guest.reason()


def test_probe_goes_by_the_proxy_whose_password_no_process_shows(
    guest: Guest, mirror: FakeMirror
) -> None:
    proxy = mirror.url.removesuffix("/centos").replace("http://", "http://me:s3cret@")
    done = guest.prepare(prepared(lab_at("http://mirror.invalid", proxy=proxy)))
    assert done.returncode == 0, done.stdout
    assert "http://mirror.invalid/7.9.2009/os/x86_64/repodata/repomd.xml" in mirror.requests
    assert "s3cret" not in done.stdout
    path = guest.root / "etc/yum.repos.d/labkit.repo"
    assert path.stat().st_mode & 0o777 == 0o600
    assert repositories(guest, "labkit")["labkit-base"]["proxy_password"] == "s3cret"  # noqa: S105


def test_hosts_file_that_binds_the_name_to_the_loopback_is_mended(
    guest: Guest, mirror: FakeMirror
) -> None:
    guest.write(
        "etc/hosts",
        "127.0.0.1 controller.lab.example localhost controller\n"
        "127.0.1.1 controller\n# kept\n10.0.0.9 compute dashboard # note\n10.0.0.1 own",
    )
    assert guest.prepare(prepared(lab_at(mirror.url))).returncode == 0
    assert guest.text("etc/hosts").splitlines()[:4] == [
        *("127.0.0.1 localhost", "# kept", "10.0.0.9 dashboard", "10.0.0.1 own"),
    ]


def test_known_hosts_other_lines_stay_and_a_wrong_key_of_a_node_goes(
    guest: Guest, mirror: FakeMirror
) -> None:
    guest.write(
        "root/.ssh/known_hosts", "\n* ssh-rsa BBBB\n172.16.208.23 ssh-rsa OLD\n10.0.0.1 ssh-rsa A"
    )
    assert guest.prepare(prepared(lab_at(mirror.url))).returncode == 0
    lines = guest.text("root/.ssh/known_hosts").splitlines()
    assert lines[:3] == ["", "* ssh-rsa BBBB", "10.0.0.1 ssh-rsa A"]
    assert [line for line in lines if line.startswith("172.16.208.23 ")] == [
        "172.16.208.23 ssh-ed25519 AAAAcompute"
    ]


def test_network_that_works_is_not_started_and_one_that_does_not_is(
    guest: Guest, mirror: FakeMirror
) -> None:
    text = prepared(lab_at(mirror.url))
    guest.prepare(text)
    assert "start network" not in guest.text("fake/systemctl")
    guest.write("fake/addresses", "2: enp0s3    inet 172.16.208.13/24 scope global enp0s3\n")
    guest.prepare(text)
    assert "start network" in guest.text("fake/systemctl")
    assert guest.changed() == {"network"}


def test_another_version_of_a_pinned_package_is_replaced(guest: Guest, mirror: FakeMirror) -> None:
    guest.write("fake/packages", "leatherman 1.10.0\nqpid-proton-c 0.22.0\n")
    guest.prepare(prepared(lab_at(mirror.url)))
    assert "-y downgrade leatherman-1.3.0*" in guest.text("fake/asked").splitlines()
    assert "qpid" not in guest.text("fake/asked")
    guest.write("fake/packages", "leatherman 1.10.0\n")
    guest.write("fake/asked", "")
    guest.prepare(prepared(lab_at(mirror.url, tree="7.5.1804")))
    assert "downgrade" not in guest.text("fake/asked")


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("fake/free", "1048576\n", "space: needs 31334 MiB free on /, and 1024 MiB are free"),
        ("fake/closed", "172.16.208.23\n", "ssh: root cannot log in to 172.16.208.23: root@172"),
        ("root/.ssh/id_rsa", "", "ssh: '/root/.ssh/id_rsa' is missing"),
        ("root/.ssh/authorized_keys", "", "ssh: '/root/.ssh/authorized_keys' is missing"),
        ("fake/deaf", "", "firewalld: systemd does not tell the state of firewalld"),
        (
            "fake/packages",
            "leatherman 1.2.0\n",
            "packages: yum did not bring 'leatherman-1.3.0', but left '1.2.0'",
        ),
        ("fake/broken", "x\nError: No space\ny\n", "release: yum: Error: No space"),
        ("fake/broken", "[Errno 14] HTTP\x1b[31m\n", "release: yum: [Errno 14] HTTP?[31m"),
    ],
)
def test_step_that_fails_ends_the_run_with_its_reason(
    guest: Guest, mirror: FakeMirror, path: str, text: str, reason: str
) -> None:
    guest.write(path, text)
    assert guest.prepare(prepared(lab_at(mirror.url))).returncode == 1
    assert guest.reason().startswith(reason)


def test_deployed_controller_needs_little_space(guest: Guest, mirror: FakeMirror) -> None:
    guest.write("fake/free", "2097152\n")
    guest.write("root/keystonerc_admin", "")
    assert guest.prepare(prepared(lab_at(mirror.url))).returncode == 0


def test_hostile_values_arrive_in_the_script_unchanged(tmp_path: Path) -> None:
    lab = lab_at("http://127.0.0.1")
    nodes = tuple(replace(node, fqdn=f"{HOSTILE}{node.name}") for node in lab.nodes)
    text = prepared(replace(lab, nodes=nodes))
    part = text.split("umask 022\n")[1].split("readonly root=")[0]
    shown = run(
        ["bash", "-c", f'{part}\nprintf "%s\\0" "$fqdn" "${{hosts[@]}}"'], timeout=20, cwd=tmp_path
    )
    assert shown.stdout.split("\0")[:-1] == [
        f"{HOSTILE}controller",
        f"172.16.208.13 {HOSTILE}controller controller",
        f"172.16.208.23 {HOSTILE}compute compute",
    ]
    assert list(tmp_path.iterdir()) == []
