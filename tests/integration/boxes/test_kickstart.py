"""The kickstart and the installing domain, judged by the programs they are written for.

No CentOS is installed here. The %post scripts run with the host's bash against a directory that
looks like a fresh installation; the few commands that only CentOS has are short scripts that note
how they were called.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from lxml import etree

from labkit.boxes.anaconda.domain import install_domain_xml
from labkit.boxes.kickstart import render_kickstart
from labkit.host.process import environment, run
from tests.support.kickstarts import BOXES, DOMAIN, FIRSTBOOT, box, scripts

pytestmark = pytest.mark.integration

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
KSVALIDATOR = Path(sys.executable).parent / "ksvalidator"
KERNEL = "3.10.0-862.el7.x86_64"
ARGS = "net.ifnames=1 biosdevname=0 console=tty0 console=ttyS0,115200n8"
RPM = "PACKAGE bash-4.2.46-30.el7.x86_64"
# Every byte that could end a section, a here-document, a string or a line.
HOSTILE = b"%end\n%post\n%include /x\nLABKIT_BASE64\nEOF\n'\"\\$(touch /tmp/x)`x`\r\n\0\xff\xfe{{ x }}no newline"

# What only CentOS has. `noted` lists the calls; the last words of each are what it would have done.
COMMANDS = {
    "chkconfig": 'ln -s ../init.d/network "$LABKIT_ROOT/etc/rc.d/rc3.d/S10network"',
    "dracut": f'echo initramfs >"$LABKIT_ROOT/boot/initramfs-{KERNEL}.img"',
    "setfiles": ":",
    "visudo": '[[ $1 == -cf ]] && grep -q NOPASSWD "$2"',
    "usermod": "sed -i \"s/^vagrant:[^:]*:/vagrant:$2:/\" \"$LABKIT_ROOT/etc/shadow\"",
    "chroot": f"[[ -d $1/etc && $2 == rpm ]] && printf '%s\\n' 'PACKAGE zlib-1.2.7-17.el7.x86_64' '{RPM}'",
    "sync": ":",
}  # fmt: skip

FRESH = {
    "etc/shadow": "root:!!:17000:0:99999:7:::\nbin:*:17000:0:99999:7:::\nvagrant:!!:17000:0:99999:7:::\n",
    "etc/ssh/sshd_config": "#UseDNS yes\nGSSAPIAuthentication yes\nUsePAM yes\n",
    "etc/ssh/ssh_host_rsa_key": "secret\n",
    "etc/ssh/ssh_host_rsa_key.pub": "public\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/yum/vars/contentdir": "altarch\n",
    "etc/selinux/config": "# comment\nSELINUX=enforcing\nSELINUXTYPE=targeted\n",
    "etc/sysconfig/network": "# Created by anaconda\n",
    "etc/sysconfig/network-scripts/ifcfg-lo": "DEVICE=lo\n",
    "etc/sysconfig/network-scripts/ifcfg-ens3": "ONBOOT=no\n",
    "etc/udev/rules.d/70-persistent-net.rules": "x\n",
    "etc/default/grub": f'GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX="{ARGS} rhgb quiet"\n',
    "boot/grub2/grub.cfg": f"set timeout=1\n\tlinux16 /boot/vmlinuz-{KERNEL} root=UUID=1 ro {ARGS}\n",
    f"boot/vmlinuz-{KERNEL}": "kernel\n",
    "etc/fstab": "# /etc/fstab\nUUID=1 /                       xfs     defaults        0 0\n",
    "root/.ssh/authorized_keys": "ssh-rsa AAAA\n",
    "var/lib/systemd/random-seed": "seed\n",
    "usr/lib/systemd/system/NetworkManager.service": "[Install]\nWantedBy=multi-user.target\n",
    "usr/lib/systemd/system/firewalld.service": "[Install]\nWantedBy=multi-user.target\n",
}
WANTS = "etc/systemd/system/multi-user.target.wants"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A directory that looks like a freshly installed CentOS 7, as far as the scripts look."""

    root: Path
    commands: Path
    kickstart: str

    def run(self, script: str) -> int:
        """Run a script as anaconda does, and return its exit status."""
        file = self.commands.parent / "ks-script"
        file.write_text(script)
        variables = {
            "PATH": f"{self.commands}:{os.environ['PATH']}",
            "LABKIT_ROOT": str(self.root),
            "LABKIT_SYSIMAGE": str(self.root),
            "LABKIT_PORT": str(self.port),
        }
        argv = [tool("bash"), str(file)]
        return run(argv, env=environment(**variables), check=False, timeout=60).returncode

    def set_up(self) -> int:
        return self.run(scripts(self.kickstart)[0])

    def verify(self) -> int:
        return self.run(scripts(self.kickstart)[1])

    @property
    def port(self) -> Path:
        return self.root / "dev/virtio-ports/org.labkit.install.0"

    def reported(self) -> list[str]:
        return self.port.read_text().splitlines() if self.port.exists() else []

    def noted(self) -> list[str]:
        return (self.commands / "noted").read_text().splitlines()

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"'{name}' is not installed; 'make setup' installs it")
    return found


def make_guest(directory: Path, kickstart: str) -> Guest:
    guest = Guest(root=directory / "root", commands=directory / "bin", kickstart=kickstart)
    for path, text in FRESH.items():
        guest.write(path, text)
    for empty in (WANTS, "etc/rc.d/rc3.d", "dev/virtio-ports", "home/vagrant/.ssh", "usr/sbin"):
        (guest.root / empty).mkdir(parents=True, exist_ok=True)
    for unit in ("NetworkManager", "firewalld"):
        (guest.root / WANTS / f"{unit}.service").symlink_to(
            f"/usr/lib/systemd/system/{unit}.service"
        )
    guest.commands.mkdir()
    for name, action in COMMANDS.items():
        command = guest.commands / name
        command.write_text(f'#!/bin/bash\necho "{name} $*" >>"${{0%/*}}/noted"\n{action}\n')
        command.chmod(0o755)
    return guest


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    tool("systemctl")
    return make_guest(tmp_path, render_kickstart(box("centos7"), firstboot=FIRSTBOOT))


@pytest.fixture
def finished(guest: Guest) -> Guest:
    assert guest.set_up() == 0, guest.reported()
    return guest


@pytest.mark.parametrize("name", BOXES)
def test_kickstart_of_every_box_is_accepted_by_ksvalidator_without_a_warning(
    name: str, tmp_path: Path
) -> None:
    file = tmp_path / "ks.cfg"
    file.write_text(render_kickstart(box(name), firstboot=FIRSTBOOT))
    version = box(name).kickstart_version
    result = run([str(KSVALIDATOR), "-v", version, str(file)], check=False, timeout=60)
    said = f"{result.stdout}{result.stderr}".replace(f"Checking kickstart file {file}", "").strip()
    assert (result.returncode, said) == (0, "")


def test_ksvalidator_refuses_a_kickstart_with_one_wrong_word(tmp_path: Path) -> None:
    file = tmp_path / "ks.cfg"
    text = render_kickstart(box("centos7"), firstboot=FIRSTBOOT)
    file.write_text(text.replace("selinux --enforcing", "selinux --enforced"))
    result = run([str(KSVALIDATOR), "-v", "RHEL7", str(file)], check=False, timeout=60)
    assert result.returncode != 0
    assert "--enforced" in result.stdout + result.stderr


@pytest.mark.parametrize("name", BOXES)
def test_every_script_of_the_kickstart_is_accepted_by_bash(name: str) -> None:
    text = render_kickstart(box(name), firstboot=FIRSTBOOT)
    found = re.findall(
        r"^%(post|onerror|traceback) [^\n]*\n(.*?)^%end$", text, re.MULTILINE | re.DOTALL
    )
    assert [kind for kind, _ in found] == ["onerror", "traceback", "post", "post"]
    for _, script in found:
        run([tool("bash"), "-n"], stdin=script, timeout=60)


def test_setting_up_makes_the_box_that_verifying_accepts(finished: Guest) -> None:
    assert finished.reported() == []
    assert finished.verify() == 0
    assert finished.reported() == [RPM, "PACKAGE zlib-1.2.7-17.el7.x86_64", "OK"]


def test_setting_up_leaves_the_files_the_box_promises(finished: Guest) -> None:
    assert finished.text("etc/environment") == "LANG=en_US.utf-8\nLC_ALL=en_US.utf-8\n"
    assert finished.text("etc/yum/vars/contentdir") == "centos\n"
    assert finished.text("etc/sysconfig/network") == "NETWORKING=yes\nNOZEROCONF=yes\n"
    assert finished.text("etc/machine-id") == ""
    first = finished.text("etc/ssh/sshd_config").splitlines()[:3]
    assert first == [
        "UseDNS no",
        "GSSAPIAuthentication no",
        "PermitRootLogin prohibit-password",
    ]
    sudoers = finished.root / "etc/sudoers.d/vagrant"
    assert stat.S_IMODE(sudoers.stat().st_mode) == 0o440
    assert "vagrant:*:" in finished.text("etc/shadow")
    gone = (
        *("etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "root/.ssh"),
        *("home/vagrant/.ssh", "var/lib/systemd/random-seed"),
        *("etc/udev/rules.d/70-persistent-net.rules",),
        "etc/sysconfig/network-scripts/ifcfg-ens3",
    )
    assert [path for path in gone if (finished.root / path).exists()] == []
    assert finished.text("etc/sysconfig/network-scripts/ifcfg-lo") == "DEVICE=lo\n"


def test_setting_up_enables_firstboot_and_network_and_disables_the_others(finished: Guest) -> None:
    wants = {path.name for path in (finished.root / WANTS).iterdir()}
    assert wants == {"labkit-firstboot.service"}
    noted = [line.split()[0:3] for line in finished.noted()]
    assert ["chkconfig", "network", "on"] in noted
    assert ["dracut", "--force", "--regenerate-all"] in noted
    # Labels last: they are for the files all the others made.
    assert noted[-1][0] == "setfiles"


def test_setting_up_installs_firstboot_byte_for_byte(finished: Guest) -> None:
    places = {
        "labkit-firstboot": ("usr/sbin/labkit-firstboot", 0o755),
        "labkit-firstboot.service": ("etc/systemd/system/labkit-firstboot.service", 0o644),
    }
    for name, (path, mode) in places.items():
        assert (finished.root / path).read_bytes() == FIRSTBOOT[name]
        assert stat.S_IMODE((finished.root / path).stat().st_mode) == mode


def test_setting_up_hostile_firstboot_is_installed_byte_for_byte_and_never_run(
    tmp_path: Path,
) -> None:
    tool("systemctl")
    firstboot = {**FIRSTBOOT, "labkit-firstboot": HOSTILE}
    guest = make_guest(tmp_path, render_kickstart(box("centos7"), firstboot=firstboot))
    assert (guest.set_up(), guest.verify()) == (0, 0)
    assert (guest.root / "usr/sbin/labkit-firstboot").read_bytes() == HOSTILE
    assert guest.reported()[-1] == "OK"


@pytest.mark.parametrize("command", ["chkconfig", "dracut", "setfiles", "visudo", "usermod"])
def test_setting_up_failing_command_is_named_on_the_port(guest: Guest, command: str) -> None:
    (guest.commands / command).write_text("#!/bin/bash\nexit 3\n")
    assert guest.set_up() != 0
    reported = guest.reported()
    assert len(reported) == 1
    assert re.match(rf"FAILED setting up the guest: line \d+: {command} ", reported[0])


def test_setting_up_damaged_firstboot_is_noticed(guest: Guest) -> None:
    damaged = guest.kickstart.replace("LABKIT_FIRSTBOOT='\nI", "LABKIT_FIRSTBOOT='\nJ", 1)
    assert damaged != guest.kickstart
    assert replace(guest, kickstart=damaged).set_up() != 0
    assert "sha256sum" in guest.reported()[0]


BROKEN = {
    "firstboot changed": ("usr/sbin/labkit-firstboot", "x", "is not the file that was sent"),
    "unit gone": ("etc/systemd/system/labkit-firstboot.service", None, "is not the file that"),
    "firstboot off": (f"{WANTS}/labkit-firstboot.service", None, "is not enabled"),
    "root has a password": ("etc/shadow", "root:$6$x:1\nvagrant:!!:1\n", "password of 'root'"),
    "vagrant has no lock": ("etc/shadow", "root:!!:1\nvagrant::1\n", "password of 'vagrant'"),
    "no vagrant": ("etc/shadow", "root:!!:1\n", "no user 'vagrant'"),
    "baked key": ("home/vagrant/.ssh/authorized_keys", "k\n", "expected to be gone"),
    "no sudo": ("etc/sudoers.d/vagrant", "x\n", "/etc/sudoers.d/vagrant"),
    "manager on": (f"{WANTS}/NetworkManager.service", "x\n", "NetworkManager.service"),
    "firewall on": (f"{WANTS}/firewalld.service", "x\n", "firewalld.service"),
    "network off": ("etc/rc.d/rc3.d/S10network", None, "'network' is not enabled"),
    "network unset": ("etc/sysconfig/network", None, "NETWORKING=yes"),
    "ifcfg left": ("etc/sysconfig/network-scripts/ifcfg-eth0", "x\n", "ifcfg-eth0"),
    "rules left": ("etc/udev/rules.d/70-persistent-net.rules", "x\n", "70-persistent-net"),
    "grub default": (
        "etc/default/grub",
        'GRUB_CMDLINE_LINUX="biosdevname=0 console=tty0 console=ttyS0,115200n8"\n',
        "'net.ifnames=1' is not in '/etc/default/grub'",
    ),
    "grub menu": (
        "boot/grub2/grub.cfg",
        "linux16 /vmlinuz net.ifnames=10 biosdevname=0 console=tty0 console=ttyS0,115200n8\n",
        "'net.ifnames=1' is not in '/boot/grub2/grub.cfg'",
    ),
    "no grub menu": ("boot/grub2/grub.cfg", None, "is not in '/boot/grub2/grub.cfg'"),
    "no kernel": (f"boot/vmlinuz-{KERNEL}", None, "no kernel"),
    "empty initramfs": (f"boot/initramfs-{KERNEL}.img", "", "no initramfs"),
    "host-only": ("etc/dracut.conf.d/90-labkit.conf", None, "hostonly"),
    "ext4": ("etc/fstab", "UUID=1 / ext4 defaults 0 0\nUUID=2 /boot xfs d 0 0\n", "be xfs"),
    "machine id": ("etc/machine-id", "0123\n", "/etc/machine-id"),
    "no machine id": ("etc/machine-id", None, "/etc/machine-id"),
    "host key": ("etc/ssh/ssh_host_ed25519_key", "x\n", "ssh_host_ed25519_key"),
    "permissive": ("etc/selinux/config", "SELINUX=permissive\n", "SELINUX=enforcing"),
    "altarch": ("etc/yum/vars/contentdir", "altarch\n", "holds 'altarch'"),
    "locale": ("etc/environment", "LANG=en_US.utf-8\n", "LC_ALL=en_US.utf-8"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_verifying_names_what_is_wrong_and_never_says_ok(finished: Guest, case: str) -> None:
    path, text, reason = BROKEN[case]
    target = finished.root / path
    target.unlink(missing_ok=True)
    if text is not None:
        finished.write(path, text)
    assert finished.verify() != 0
    reported = finished.reported()
    assert any(line.startswith("FAILED ") and reason in line for line in reported), reported
    assert "OK" not in reported


def test_verifying_firstboot_that_cannot_be_run_is_named(finished: Guest) -> None:
    (finished.root / "usr/sbin/labkit-firstboot").chmod(0o644)
    assert finished.verify() != 0
    assert finished.reported() == ["FAILED '/usr/sbin/labkit-firstboot' cannot be run"]


def test_verifying_a_guest_that_was_not_set_up_lists_every_fault(guest: Guest) -> None:
    assert guest.verify() != 0
    assert len([line for line in guest.reported() if line.startswith("FAILED ")]) > 10
    assert "OK" not in guest.reported()


@pytest.mark.parametrize("command", ["chroot", "sync"])
def test_verifying_failing_command_is_named_on_the_port(finished: Guest, command: str) -> None:
    (finished.commands / command).write_text("#!/bin/bash\nexit 3\n")
    assert finished.verify() != 0
    last = finished.reported()[-1]
    assert last.startswith("FAILED looking at the guest: line ")
    assert command in last


def test_error_sections_report_on_the_port(tmp_path: Path) -> None:
    text = render_kickstart(box("centos7"), firstboot=FIRSTBOOT)
    port = tmp_path / "port"
    for kind in ("onerror", "traceback"):
        found = re.search(rf"^%{kind} [^\n]*\n(.*?)^%end$", text, re.MULTILINE | re.DOTALL)
        assert found is not None
        script = found[1].replace("/dev/virtio-ports/org.labkit.install.0", str(port))
        assert script != found[1]
        run([tool("bash"), "-s"], stdin=script, timeout=60)
    words = [line.split()[:2] for line in port.read_text().splitlines()]
    assert words == [["FAILED", "anaconda"]] * 2


@pytest.mark.parametrize("domain_type", ["kvm", "qemu"])
def test_install_domain_is_valid_by_libvirts_own_schema(domain_type: str) -> None:
    if not SCHEMA.exists():
        pytest.skip(f"'{SCHEMA}' is not there; 'make setup' installs libvirt")
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    text = install_domain_xml(DOMAIN).replace('type="kvm"', f'type="{domain_type}"', 1)
    assert schema.validate(etree.fromstring(text)), schema.error_log
    wrong = text.replace('device="cdrom"', 'device="cdron"', 1)
    assert not schema.validate(etree.fromstring(wrong))


def test_install_domain_is_defined_by_libvirt_and_keeps_what_matters(tmp_path: Path) -> None:
    # libvirt's test driver knows neither KVM nor q35; labkit's e2e tests define the whole of it.
    text = install_domain_xml(replace(DOMAIN, domain_type="qemu"))
    text = text.replace('type="qemu"', 'type="test"', 1).replace(
        ' arch="x86_64" machine="q35"', ""
    )
    file = tmp_path / "domain.xml"
    file.write_text(text)
    command = f"define {file}; dumpxml {DOMAIN.name}"
    result = run([tool("virsh"), "-c", "test:///default", command], timeout=60)
    seen = etree.fromstring(result.stdout[result.stdout.index("<domain") :])
    assert seen.findtext("os/cmdline") == DOMAIN.cmdline
    assert seen.findtext("description") == DOMAIN.description
    assert seen.findtext("on_reboot") == "destroy"
    buses = [address.get("unit") for address in seen.iterfind("devices/disk/address")]
    assert buses == ["0", "1"]
    ports = [port.get("name") for port in seen.iterfind("devices/channel/target")]
    assert ports == ["org.fedoraproject.anaconda.log.0", "org.labkit.install.0"]
