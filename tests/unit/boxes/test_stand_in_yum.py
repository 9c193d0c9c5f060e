"""The rehearsal box's stand-ins for yum and rpm: repositories, packages, the kernel that waits for a reboot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.guest_root import FakeGuestRoot

if TYPE_CHECKING:
    from pathlib import Path

MIRROR = "http://127.0.0.1:8088/centos/7.9.2009"


@pytest.fixture
def guest(tmp_path: Path) -> FakeGuestRoot:
    return FakeGuestRoot.make(tmp_path / "root")


def write_repository(guest: FakeGuestRoot, *paths: str, more: str = "gpgcheck=0\n") -> None:
    for file in (guest.path / "etc/yum.repos.d").glob("*.repo"):
        file.unlink()
    text = "".join(
        f"[r{number}]\nname=r\nbaseurl={path}/\n{more}" for number, path in enumerate(paths)
    )
    (guest.path / "etc/yum.repos.d/labkit.repo").write_text(text)


def test_yum_with_the_stock_repositories_fails_as_since_2024(guest: FakeGuestRoot) -> None:
    result = guest.run("usr/bin/yum", "-y", "update")
    assert result.returncode == 1
    assert "Could not resolve host: mirrorlist.centos.org; Unknown error" in result.stderr


def test_yum_installs_packstack_from_the_repository_that_has_it(guest: FakeGuestRoot) -> None:
    write_repository(guest, f"{MIRROR}/os/x86_64")
    missing = guest.run("usr/bin/yum", "-y", "install", "openstack-packstack")
    assert missing.returncode == 1
    assert "No package openstack-packstack available." in missing.stderr
    assert "Error: Nothing to do" in missing.stderr

    write_repository(guest, f"{MIRROR}/os/x86_64", f"{MIRROR}/cloud/x86_64/openstack-queens")
    assert guest.run("usr/bin/yum", "-y", "install", "openstack-packstack").returncode == 0
    assert (guest.path / "usr/bin/packstack").resolve().is_file()
    seen = guest.run("usr/bin/rpm", "-q", "openstack-packstack", "wget")
    assert seen.stdout.splitlines() == [
        "openstack-packstack-12.0.2-1.el7.noarch",
        "package wget is not installed",
    ]
    assert seen.returncode == 1


def test_release_package_brings_dead_repositories_and_contentdir_spoils_them(
    guest: FakeGuestRoot,
) -> None:
    write_repository(guest, f"{MIRROR}/extras/x86_64")
    done = guest.run("usr/bin/yum", "-y", "install", "centos-release-openstack-queens")
    assert done.returncode == 0
    after = guest.run("usr/bin/yum", "-y", "update")
    assert after.returncode == 1
    assert "mirror.centos.org/altarch/7/storage/x86_64/ceph-luminous/" in after.stderr
    assert (guest.path / "etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS-SIG-Cloud").is_file()


def test_gpgcheck_without_the_key_file_is_an_error(guest: FakeGuestRoot) -> None:
    key = "gpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/no-such-key\n"
    write_repository(guest, f"{MIRROR}/os/x86_64", more=key)
    result = guest.run("usr/bin/yum", "-y", "install", "wget")
    assert result.returncode == 1
    assert "Couldn't open file /etc/pki/rpm-gpg/no-such-key" in result.stderr


def test_kernel_update_names_a_newer_kernel_until_the_reboot(guest: FakeGuestRoot) -> None:
    write_repository(guest, f"{MIRROR}/os/x86_64")
    (guest.path / "etc/labkit-stand-in.d/yum.conf").write_text("KERNEL_UPDATE=yes\n")
    last = ("usr/bin/rpm", "-q", "--last", "kernel")
    before = guest.run(*last).stdout.splitlines()
    guest.run("usr/bin/yum", "-y", "update")
    pending = guest.run(*last).stdout.splitlines()
    (guest.path / "proc/sys/kernel/random/boot_id").write_text("second\n")
    guest.run("usr/bin/yum", "-y", "update")
    after = guest.run(*last).stdout.splitlines()

    assert [len(before), len(pending), len(after)] == [1, 2, 1]
    running = before[0].split()[0]
    assert [line.split()[0] for line in pending] == [f"{running}-newer-stand-in", running]


def test_puppet_brings_facter_and_an_update_of_named_packages_no_kernel(
    guest: FakeGuestRoot,
) -> None:
    write_repository(guest, f"{MIRROR}/os/x86_64", f"{MIRROR}/cloud/x86_64/openstack-queens")
    (guest.path / "etc/labkit-stand-in.d/yum.conf").write_text("KERNEL_UPDATE=yes\n")
    assert guest.run("usr/bin/yum", "install", "-y", "puppet", "nc").returncode == 0
    for name in ("puppet", "facter"):
        assert (guest.path / "usr/bin" / name).resolve().is_file()
    assert guest.run("usr/bin/rpm", "-q", "--whatprovides", "puppet").returncode == 0
    update = guest.run("usr/bin/yum", "update", "-y", "puppet", "nc")
    assert "No packages marked for update" in update.stdout
    assert "Installing : kernel-" in guest.run("usr/bin/yum", "update", "-y").stdout


def test_repository_whose_first_place_is_dead_goes_on_with_the_next(guest: FakeGuestRoot) -> None:
    dead = "http://dead.example/os/x86_64"
    write_repository(guest, f"{dead}/ {MIRROR}/os/x86_64")
    assert guest.run("usr/bin/yum", "makecache").returncode == 0
    write_repository(guest, f"{dead}/ {dead}")
    assert "No more mirrors to try" in guest.run("usr/bin/yum", "makecache").stderr


def test_metadata_is_asked_for_again_after_six_hours_or_when_it_was_cleaned(
    guest: FakeGuestRoot,
) -> None:
    write_repository(guest, f"{MIRROR}/os/x86_64")
    assert guest.run("usr/bin/yum", "-y", "update").returncode == 0
    write_repository(guest, "http://dead.example/os/x86_64")
    assert guest.run("usr/bin/yum", "-y", "update").returncode == 0

    cookie = guest.path / "var/cache/yum/x86_64/7/r0/cachecookie"
    cookie.write_text(f"{int(cookie.read_text()) - 6 * 3600}\n")
    assert "No more mirrors to try" in guest.run("usr/bin/yum", "-y", "update").stderr

    write_repository(guest, f"{MIRROR}/os/x86_64")
    assert guest.run("usr/bin/yum", "-y", "update").returncode == 0
    write_repository(guest, "http://dead.example/os/x86_64")
    assert guest.run("usr/bin/yum", "clean", "metadata").returncode == 0
    assert "No more mirrors to try" in guest.run("usr/bin/yum", "-y", "update").stderr
