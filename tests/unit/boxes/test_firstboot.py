"""labkit-firstboot against directories: what it installs, what it refuses, what it says."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from labkit.host.process import run

KICKSTART = Path(__file__).parents[3] / "kickstart"
SCRIPT = KICKSTART / "labkit-firstboot"
ME = f"{pwd.getpwuid(os.geteuid()).pw_name}:{grp.getgrgid(os.getegid()).gr_name}"
SCRIPTS = "/etc/sysconfig/network-scripts"
ID = "a" * 64


@dataclass
class Guest:
    """A directory that plays the guest and one that plays the seed."""

    root: Path
    seed: Path
    lines: list[str] = field(
        default_factory=lambda: ["labkit-seed 1", f"id {ID}", "node controller"]
    )

    def add(self, path: str, text: str, *, mode: str = "0644", owner: str = ME) -> None:
        place = self.seed / "rootfs" / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.lines.append(f"file {digest} {mode} {owner} {path}")

    def apply(self, **functions: str) -> tuple[int, str, str]:
        """Run the script; functions take the place of commands by their name."""
        (self.seed / "manifest").write_text("".join(f"{line}\n" for line in self.lines))
        env = {"LABKIT_ROOT": str(self.root), "LABKIT_SEED": str(self.seed), "PATH": "/usr/bin"}
        env |= {f"BASH_FUNC_{name}%%": f"() {{ {body}; }}" for name, body in functions.items()}
        result = run(["bash", SCRIPT], timeout=30, check=False, env=env)
        return result.returncode, result.stdout, result.stderr

    def files(self) -> set[str]:
        return {f"/{p.relative_to(self.root)}" for p in self.root.rglob("*") if not p.is_dir()}

    def text(self, path: str) -> str:
        return (self.root / path[1:]).read_text()


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    for name in ("root", "seed/rootfs"):
        (tmp_path / name).mkdir(parents=True)
    return Guest(root=tmp_path / "root", seed=tmp_path / "seed")


def refused(guest: Guest, reason: str) -> None:
    before = guest.files()
    code, out, _ = guest.apply()
    assert code == 1
    assert out.startswith("labkit-firstboot: failed ")
    assert out.count("\n") == 1
    assert reason in out
    assert guest.files() == before


def test_seed_good_is_applied_with_content_mode_and_id(guest: Guest) -> None:
    guest.add("/etc/hostname", "controller.lab\n")
    guest.add("/etc/ssh/ssh_host_ed25519_key", "secret\n", mode="0600")
    guest.add("/home/vagrant/.ssh/authorized_keys", "key\n", mode="0600")

    assert guest.apply()[:2] == (0, f"labkit-firstboot: applied {ID}\n")

    assert guest.text("/etc/hostname") == "controller.lab\n"
    key = guest.root / "etc/ssh/ssh_host_ed25519_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((guest.root / "home/vagrant/.ssh").stat().st_mode) == 0o700
    assert guest.text("/var/lib/labkit/applied") == f"{ID}\n"
    assert not (guest.root / "var/lib/labkit/stage").exists()


def test_seed_files_of_one_name_and_many_modes_each_go_to_their_place(guest: Guest) -> None:
    wanted = {
        "/top": ("top\n", 0o644),
        "/etc/name": ("first\n", 0o600),
        "/etc/deep/er/name": ("second\n", 0o640),
        "/etc/deep/name": ("third\n", 0o644),
        "/root/.ssh/name": ("fourth\n", 0o600),
        "/root/.ssh/-n": ("fifth\n", 0o755),
    }
    for path, (text, mode) in wanted.items():
        guest.add(path, text, mode=f"{mode:04o}")

    assert guest.apply()[:2] == (0, f"labkit-firstboot: applied {ID}\n")

    for path, (text, mode) in wanted.items():
        assert guest.text(path) == text
        assert stat.S_IMODE((guest.root / path[1:]).stat().st_mode) == mode
    assert stat.S_IMODE((guest.root / "etc/deep").stat().st_mode) == 0o755


def test_seed_unchanged_after_a_killed_run_removes_what_it_left(guest: Guest) -> None:
    guest.add("/etc/hosts", "one\n")
    guest.apply()
    left = guest.root / "var/lib/labkit/stage/etc"
    left.mkdir(parents=True)

    assert guest.apply()[1] == f"labkit-firstboot: unchanged {ID}\n"
    assert not left.parent.exists()


def test_seed_after_a_killed_run_is_applied_over_what_it_left(guest: Guest) -> None:
    left = guest.root / "var/lib/labkit/stage/etc"
    left.mkdir(parents=True)
    (left / "hosts").write_text("half\n")
    guest.add("/etc/hosts", "whole\n")

    assert guest.apply()[0] == 0
    assert guest.text("/etc/hosts") == "whole\n"
    assert not left.exists()


def test_seed_same_id_is_unchanged_and_keeps_what_the_guest_wrote(guest: Guest) -> None:
    guest.add("/etc/hosts", "ours\n")
    guest.apply()
    (guest.root / "etc/hosts").write_text("edited\n")

    assert guest.apply()[:2] == (0, f"labkit-firstboot: unchanged {ID}\n")
    assert guest.text("/etc/hosts") == "edited\n"


def test_seed_other_id_is_applied_again(guest: Guest) -> None:
    guest.add("/etc/hosts", "old\n")
    guest.apply()
    guest.lines = ["labkit-seed 1", f"id {'b' * 64}", "node controller"]
    guest.add("/etc/hosts", "new\n")

    assert guest.apply()[1] == f"labkit-firstboot: applied {'b' * 64}\n"
    assert guest.text("/etc/hosts") == "new\n"


def test_files_and_the_directories_made_for_them_get_their_selinux_labels(guest: Guest) -> None:
    (guest.root / "root/.ssh").mkdir(parents=True)
    (guest.root / "etc").mkdir()
    paths = ("/etc/hosts", "/root/.ssh/authorized_keys", "/home/vagrant/.ssh/id", "/opt/a/b")
    for path in paths:
        guest.add(path, "text\n")
    told = guest.root / "told"

    guest.apply(restorecon=f'printf "%s\\n" "$@" >{told}')

    labelled = {line.removeprefix(str(guest.root)) for line in told.read_text().splitlines()}
    made = {"/root/.ssh", "/home", "/home/vagrant", "/home/vagrant/.ssh", "/opt", "/opt/a"}
    assert labelled == {*paths, *made}


def ordered_before() -> set[str]:
    text = (KICKSTART / "labkit-firstboot.service").read_text()
    lines = [line.removeprefix("Before=") for line in text.splitlines() if "Before=" in line]
    return {name for line in lines for name in line.split()}


def test_unit_comes_before_the_network_sshd_and_whatever_makes_host_keys() -> None:
    assert ordered_before() >= {
        *("network-pre.target", "network.service", "NetworkManager.service"),
        *("sshd.service", "ssh.service"),
        *("sshd-keygen.service", "sshd-keygen.target"),  # CentOS 7, Debian 13; CentOS 8 and 9
        *(f"sshd-keygen@{kind}.service" for kind in ("rsa", "ecdsa", "ed25519")),
    }


def test_unit_is_not_ordered_in_a_circle_nor_against_a_template() -> None:
    text = (KICKSTART / "labkit-firstboot.service").read_text()
    assert (
        "DefaultDependencies" not in text
    )  # so it starts after basic.target, and that after sockets
    assert [name for name in ordered_before() if name.endswith((".socket", "@.service"))] == []


def test_report_goes_to_virtio_port_and_serial_console_when_present(guest: Guest) -> None:
    ports = guest.root / "dev/virtio-ports"
    ports.mkdir(parents=True)
    places = (ports / "org.labkit.firstboot.0", guest.root / "dev/ttyS0")
    for place in places:
        place.touch()
    _, out, _ = guest.apply()
    assert [place.read_text() for place in places] == [out, out]


@pytest.mark.parametrize(
    "line", ["TYPE=OVSPort", 'TYPE="OVSBridge"', "TYPE='ovsport'", "  export TYPE=OVSIntPort"]
)
def test_ifcfg_converted_to_ovs_is_never_overwritten(guest: Guest, line: str) -> None:
    place = guest.root / SCRIPTS[1:]
    place.mkdir(parents=True)
    (place / "ifcfg-enp0s3").write_text("DEVICE=enp0s3\n")
    (place / "ifcfg-br-ex").write_text(f"DEVICE=br-ex\n{line}\n")
    guest.add(f"{SCRIPTS}/ifcfg-enp0s3", "TYPE=Ethernet\n")
    guest.add(f"{SCRIPTS}/ifcfg-enp0s8", "TYPE=Ethernet\n")

    code, out, err = guest.apply()

    assert (code, out) == (0, f"labkit-firstboot: applied {ID}\n")
    assert guest.text(f"{SCRIPTS}/ifcfg-enp0s3") == "DEVICE=enp0s3\n"
    assert guest.text(f"{SCRIPTS}/ifcfg-enp0s8") == "TYPE=Ethernet\n"
    assert f"kept '{SCRIPTS}/ifcfg-enp0s3'" in err


@pytest.mark.parametrize("line", ["# TYPE=OVSPort", "DEVICETYPE=ovs", "TYPE=Ethernet"])
def test_ifcfg_not_of_ovs_is_overwritten(guest: Guest, line: str) -> None:
    place = guest.root / SCRIPTS[1:]
    place.mkdir(parents=True)
    (place / "ifcfg-enp0s3").write_text(f"{line}\n")
    guest.add(f"{SCRIPTS}/ifcfg-enp0s3", "NEW=1\n")
    guest.apply()
    assert guest.text(f"{SCRIPTS}/ifcfg-enp0s3") == "NEW=1\n"


def test_sysctl_and_hostname_reach_the_running_kernel(guest: Guest) -> None:
    kernel = guest.root / "proc/sys/kernel"
    network = guest.root / "proc/sys/net/ipv4/conf/all"
    kernel.mkdir(parents=True)
    network.mkdir(parents=True)
    (kernel / "hostname").write_text("localhost\n")
    (network / "rp_filter").write_text("1\n")
    guest.add("/etc/hostname", "controller.lab\n")
    guest.add(
        "/etc/sysctl.d/90-labkit.conf", "# why\nnet.ipv4.conf.all.rp_filter = 2\nno.such = 1\n"
    )
    guest.apply()
    assert (kernel / "hostname").read_text() == "controller.lab\n"
    assert (network / "rp_filter").read_text() == "2\n"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/../etc/shadow", "'..'"),
        ("/etc/./shadow", "'.' or"),
        ("etc/shadow", "not a plain absolute path"),
        ("/etc//shadow", "not a plain absolute path"),
        ("/etc/", "not a plain absolute path"),
        ("/etc/$(id)", "not a plain absolute path"),
        ("/var/lib/labkit/stage/etc/shadow", "reserved"),
    ],
)
def test_manifest_path_hostile_is_refused(guest: Guest, path: str, reason: str) -> None:
    guest.add("/etc/good", "good\n")
    guest.lines.append(f"file {'0' * 64} 0644 {ME} {path}")
    refused(guest, reason)


@pytest.mark.parametrize(
    "line",
    [
        "surprise yes",
        "id " + "c" * 64,
        "node other",
        "nic 52:54:00:00:00 enp0s3",
        "nic 52:54:00:00:00:03 ../../x",
        f"file {'0' * 63} 0644 root:root /etc/x",
        f"file {'0' * 64} 4755 root:root /etc/x",
        f"file {'0' * 64} 0644 root;id /etc/x",
        f"file {'0' * 64} 0644 root:root /etc/two words",
        "",
        "file  double",
    ],
)
def test_manifest_line_malformed_is_refused(guest: Guest, line: str) -> None:
    guest.add("/etc/good", "good\n")
    guest.lines.append(line)
    refused(guest, "")


def test_manifest_of_other_version_is_refused(guest: Guest) -> None:
    guest.lines[0] = "labkit-seed 2"
    refused(guest, "expected 'labkit-seed 1' first")


def test_manifest_without_id_is_refused(guest: Guest) -> None:
    del guest.lines[1]
    refused(guest, "lacks its id or node")


def test_manifest_path_listed_twice_is_refused(guest: Guest) -> None:
    guest.add("/etc/hosts", "one\n")
    guest.lines.append(guest.lines[-1])
    refused(guest, "listed twice")


def test_file_with_other_content_is_refused_and_named(guest: Guest) -> None:
    guest.add("/etc/good", "good\n")
    guest.add("/etc/hosts", "one\n")
    (guest.seed / "rootfs/etc/hosts").write_text("two\n")
    refused(guest, "'/etc/hosts' does not have its sha256")


def test_file_listed_and_absent_is_refused(guest: Guest) -> None:
    guest.add("/etc/hosts", "one\n")
    (guest.seed / "rootfs/etc/hosts").unlink()
    refused(guest, "lacks '/etc/hosts'")


def test_file_not_listed_is_refused(guest: Guest) -> None:
    guest.add("/etc/hosts", "one\n")
    (guest.seed / "rootfs/etc/.hidden").write_text("x")
    refused(guest, "'/etc/.hidden' is not in the manifest")


def test_symlink_in_the_seed_is_refused(guest: Guest) -> None:
    guest.add("/etc/hosts", "one\n")
    (guest.seed / "rootfs/etc/link").symlink_to("/etc/passwd")
    refused(guest, "symbolic link at '/etc/link'")


@pytest.mark.parametrize("way", ["etc", "etc/ssh", "etc/ssh/key"])
def test_symlink_in_the_way_is_refused(guest: Guest, way: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    place = guest.root / way
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(outside)
    guest.add("/etc/good", "good\n") if way != "etc" else None
    guest.add("/etc/ssh/key", "secret\n")
    refused(guest, f"symbolic link is in the way at '/{way}'")
    assert not list(outside.iterdir())


def test_directory_in_the_way_is_refused(guest: Guest) -> None:
    (guest.root / "etc/hosts").mkdir(parents=True)
    guest.add("/etc/hosts", "one\n")
    refused(guest, "is a directory")


def test_owner_unknown_to_the_guest_is_refused_before_anything_is_in_place(guest: Guest) -> None:
    guest.add("/etc/good", "good\n")
    guest.add("/etc/hosts", "one\n", owner="nobody-of-that-name:root")
    refused(guest, "cannot write '/etc/hosts'")
    assert not (guest.root / "var/lib/labkit/stage").exists()


def test_failure_reason_carries_no_control_characters(guest: Guest) -> None:
    guest.lines.append("\x1b]0;owned\x07")
    _, out, _ = guest.apply()
    assert "\x1b" not in out
    assert "\x07" not in out
