"""Boots a cached box under QEMU directly, without libvirt or Vagrant, to look at the box alone.

`unshare --net python -m tests.support.bare_guest look NAME` (or `measure NAME NAME`) prints what it
found as JSON. It refuses to run in the host's own network namespace.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import socket
import subprocess  # noqa: TID251 -- labkit.host.process has no children that run in the background
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from labkit.boxes import cache
from labkit.boxes.definition import find_box
from labkit.host.files import cache_root
from labkit.host.process import run
from tests.support.boxtree import box_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.boxes.cache import CachedBox

BRIDGE = "lkbare"
HOST_ADDRESS = "172.16.208.254/24"
ADDRESSES = {"enp0s3": "172.16.208.39", "enp0s8": "172.16.208.138"}
SLOTS = {"enp0s3": "0x3", "enp0s8": "0x8"}
MACS = {"enp0s3": "52:54:00:00:00:03", "enp0s8": "52:54:00:00:00:08"}
SSH_PORT = 22
BOOT_LIMIT = 180.0


def ifcfg(name: str) -> str:
    """Return a static ifcfg file as labkit renders it, in short."""
    return (
        f"TYPE=Ethernet\nBOOTPROTO=static\nIPADDR={ADDRESSES[name]}\nNETMASK=255.255.255.0\n"
        f"GATEWAY=172.16.208.254\nDEFROUTE=yes\nNAME={name}\nDEVICE={name}\nONBOOT=yes\n"
    )


def write_seed(directory: Path) -> Path:
    """Write keys and a seed ISO by the contract of labkit-firstboot; return the ISO."""
    for name in ("user", "host"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], timeout=30)
    etc = "/etc/sysconfig/network-scripts/ifcfg-"
    files = {
        "/etc/hostname": ("0644 root:root", "controller.lab\n"),
        "/etc/hosts": (
            "0644 root:root",
            f"127.0.0.1 localhost\n{ADDRESSES['enp0s3']} controller.lab controller\n",
        ),
        "/etc/ssh/ssh_host_ed25519_key": ("0600 root:root", (directory / "host").read_text()),
        "/home/vagrant/.ssh/authorized_keys": (
            "0600 vagrant:vagrant",
            (directory / "user.pub").read_text(),
        ),
        "/etc/sysctl.d/90-labkit-multihome.conf": (
            "0644 root:root",
            "".join(
                f"net.ipv4.conf.{scope}.{key}\n"
                for scope in ("all", "default")
                for key in ("rp_filter = 2", "arp_ignore = 1", "arp_announce = 2")
            ),
        ),
        **{f"{etc}{name}": ("0644 root:root", ifcfg(name)) for name in ADDRESSES},
    }
    lines = [f"nic {MACS[name]} {name}" for name in ADDRESSES]
    for path, (how, text) in files.items():
        place = directory / "seed/rootfs" / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        lines.append(f"file {hashlib.sha256(text.encode()).hexdigest()} {how} {path}")
    identity = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    manifest = "\n".join(["labkit-seed 1", f"id {identity}", "node controller", *lines]) + "\n"
    (directory / "seed/manifest").write_text(manifest)
    iso = directory / "seed.iso"
    options = ["-quiet", "-V", "LABKIT", "-R", "-J"]
    run(["genisoimage", *options, "-o", iso, directory / "seed"], timeout=60)
    return iso


def make_overlay(box: CachedBox, target: Path) -> None:
    """Make a disk that starts from the box's image."""
    size = f"{box.virtual_size_gib}G"
    run(
        [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            box_image(box),
            target,
            size,
        ],
        timeout=60,
    )


@dataclass(slots=True, kw_only=True)
class BareGuest:
    """A running guest.

    Attributes:
        directory: Holds its disk, keys, console.log, firstboot.log.
        process: QEMU.
        started: When QEMU was started, on the monotonic clock.
    """

    directory: Path
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)

    def console(self) -> str:
        """Return what the serial console has shown so far."""
        return (self.directory / "console.log").read_text(encoding="utf-8", errors="replace")

    def wait_for_ssh(self) -> float:
        """Wait for an SSH banner and return the seconds since QEMU was started."""
        while time.monotonic() - self.started < BOOT_LIMIT:
            try:
                with socket.create_connection((ADDRESSES["enp0s3"], SSH_PORT), timeout=1) as peer:
                    peer.settimeout(10)
                    if peer.recv(4) == b"SSH-":
                        return time.monotonic() - self.started
            except OSError:
                time.sleep(0.1)  # noqa: TID251 -- a stop-watch, not product code
        msg = f"no SSH within {BOOT_LIMIT:.0f} s; console:\n{self.console()[-3000:]}"
        raise TimeoutError(msg)

    def press_power_button(self) -> int:
        """Ask for a shutdown as libvirt does by ACPI and return QEMU's exit status."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(str(self.directory / "qmp.sock"))
            for command in ("qmp_capabilities", "system_powerdown"):
                peer.recv(65536)
                peer.sendall(json.dumps({"execute": command}).encode() + b"\n")
            peer.recv(65536)
            return self.process.wait(timeout=60)

    def ssh(self, command: str, *, address: str = ADDRESSES["enp0s3"]) -> str:
        """Run a command as vagrant with a checked host key and return its output."""
        known = self.directory / "known_hosts"
        host_key = (self.directory / "host.pub").read_text()
        known.write_text("".join(f"{a} {host_key}" for a in ADDRESSES.values()))
        options = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}"]
        argv = ["ssh", "-F", "none", "-i", str(self.directory / "user")]
        for option in (*options, "ConnectTimeout=20"):
            argv += ["-o", option]
        result = run([*argv, f"vagrant@{address}", command], timeout=120, check=False)
        return result.stdout + result.stderr


@contextmanager
def booted(box: CachedBox, directory: Path, *, memory_mib: int = 1024) -> Iterator[BareGuest]:
    """Boot a box with two NICs on one bridge; the guest ends with the context."""
    directory.mkdir(parents=True)
    iso = write_seed(directory)
    make_overlay(box, directory / "disk.qcow2")
    with running(directory, iso, memory_mib=memory_mib) as guest:
        yield guest


@contextmanager
def running(directory: Path, iso: Path, *, memory_mib: int = 1024) -> Iterator[BareGuest]:
    """Start QEMU on an existing disk; the guest ends with the context."""
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-M", "q35", "-smp", "2", "-m", str(memory_mib)]
    argv += ["-nodefaults", "-display", "none", "-object", "rng-random,id=r,filename=/dev/urandom"]
    argv += ["-device", "virtio-rng-pci,rng=r", "-device", "virtio-serial-pci"]
    argv += ["-drive", f"file={directory}/disk.qcow2,if=virtio"]
    argv += ["-qmp", f"unix:{directory}/qmp.sock,server=on,wait=off"]
    argv += ["-drive", f"file={iso},if=none,id=cd,media=cdrom,readonly=on"]
    argv += ["-device", "ide-cd,bus=ide.1,drive=cd", "-serial", f"file:{directory}/console.log"]
    for number, (port, name) in enumerate(
        (("org.labkit.firstboot.0", "firstboot"), ("org.qemu.guest_agent.0", "agent"))
    ):
        kind = f"file,path={directory}/{name}.log"
        if name == "agent":
            kind = f"socket,path={directory}/agent.sock,server=on,wait=off"
        argv += ["-chardev", f"{kind},id=c{number}"]
        argv += ["-device", f"virtserialport,chardev=c{number},name={port}"]
    for number, name in enumerate(ADDRESSES):
        argv += ["-netdev", f"tap,id=n{number},ifname=lkt{number},script=no,downscript=no"]
        device = f"virtio-net-pci,netdev=n{number},mac={MACS[name]}"
        argv += ["-device", f"{device},bus=pcie.0,addr={SLOTS[name]}"]
    with subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv]) as child:
        try:
            yield BareGuest(directory=directory, process=child)
        finally:
            child.kill()


@contextmanager
def bridge() -> Iterator[None]:
    """Make the bridge both NICs are plugged into; only inside a network namespace."""
    # A fresh namespace has no routes at all; the host's own has at least one.
    if len(Path("/proc/net/route").read_text().splitlines()) > 1:
        sys.exit("bare_guest must run in a network namespace of its own: unshare --net")
    commands = ["link set lo up", f"link add {BRIDGE} type bridge", f"link set {BRIDGE} up"]
    commands.append(f"address add {HOST_ADDRESS} dev {BRIDGE}")
    for number in range(len(ADDRESSES)):
        commands += [
            f"tuntap add dev lkt{number} mode tap",
            f"link set lkt{number} master {BRIDGE} up",
        ]
    run(["ip", "-batch", "-"], timeout=30, stdin="\n".join(commands) + "\n")
    yield


def boot_seconds(box: CachedBox, directory: Path) -> tuple[float, float]:
    """Boot a box once; return the seconds to its SSH banner and its kernel's clock by then."""
    with booted(box, directory) as guest:
        seconds = guest.wait_for_ssh()
        state = guest.ssh("sudo systemctl is-system-running --wait; cat /proc/uptime").split()
        if state[0] != "running":
            msg = f"the guest is '{state[0]}' and was expected to be 'running'"
            raise RuntimeError(msg)
    shutil.rmtree(directory)
    return seconds, float(state[1])


def measure(found: list[CachedBox], directory: Path, *, rounds: int) -> dict[str, list[float]]:
    """Boot the boxes in turn, A B A B, and return the seconds to SSH of each, in order."""
    times: dict[str, list[float]] = {box.key: [] for box in found}
    for turn in range(rounds):
        for box in found:
            times[box.key].append(boot_seconds(box, directory / f"{box.key[:8]}-{turn}")[0])
    return times


CONVERT = r"""
cd /etc/sysconfig/network-scripts
sed -E '/^(TYPE|BOOTPROTO|NAME|DEVICE)=/d' ifcfg-enp0s3 >ifcfg-br-ex
printf '%s\n' DEVICE=br-ex NAME=br-ex DEVICETYPE=ovs OVSBOOTPROTO=static TYPE=OVSBridge \
  'OVS_EXTRA="set bridge br-ex fail_mode=standalone"' >>ifcfg-br-ex
printf '%s\n' DEVICE=enp0s3 NAME=enp0s3 DEVICETYPE=ovs TYPE=OVSPort OVS_BRIDGE=br-ex ONBOOT=yes \
  BOOTPROTO=none >ifcfg-enp0s3
systemctl restart network
"""
# What a killed labkit-firstboot leaves, a mounted seed or only the directory for it, then a run of it,
# which unmounts its own in the background.
LEFT_SEEDS = r"""
mkdir -m 700 /run/labkit-seed.mounted /run/labkit-seed.empty
mount -o ro /dev/sr0 /run/labkit-seed.mounted
/usr/sbin/labkit-firstboot | head -n 1
for _ in {1..40}; do compgen -G '/run/labkit-seed.*' >/dev/null || break; sleep 0.25; done
compgen -G '/run/labkit-seed.*'
"""
LOOK = {
    "state": "sudo systemctl is-system-running --wait",
    "failed": "sudo systemctl --failed --no-legend --plain",
    "addresses": "ip -4 -br address",
    "routes": "ip route",
    "hostname": "cat /proc/sys/kernel/hostname",
    "rp_filter": "cat /proc/sys/net/ipv4/conf/all/rp_filter",
    "macs": "cat /sys/class/net/enp0s3/address /sys/class/net/enp0s8/address",
    "variant": "grep ^VARIANT= /etc/os-release",
    "openvswitch": "sudo systemctl is-active openvswitch-switch",
    "keys": "ls /etc/ssh; ls -A /root/.ssh 2>/dev/null",
    "left_seeds": f"sudo bash -c {shlex.quote(LEFT_SEEDS)}",
}


def look(box: CachedBox, directory: Path) -> dict[str, str]:
    """Boot a box through its life and return what was seen at each stage."""
    seen: dict[str, str] = {}
    with booted(box, directory) as guest:
        guest.wait_for_ssh()
        seen |= {name: guest.ssh(command).strip() for name, command in LOOK.items()}
        seen["second_nic"] = guest.ssh("hostname", address=ADDRESSES["enp0s8"]).strip()
        guest.ssh(f"sudo bash -c {shlex.quote(CONVERT)}")
        for name, command in (("addresses", "ip -4 -br address"), ("routes", "ip route")):
            seen[f"ovs_{name}"] = guest.ssh(command).strip()
        seen["ovs"] = guest.ssh(
            "sudo ovs-vsctl list-ports br-ex; sudo ovs-vsctl get bridge br-ex fail_mode"
        ).strip()
        seen["button"] = str(guest.press_power_button())
    with running(directory, directory / "seed.iso") as guest:
        guest.wait_for_ssh()
        seen["again_state"] = guest.ssh(LOOK["state"]).strip()
        seen["again_addresses"] = guest.ssh("ip -4 -br address").strip()
        seen["port"] = (directory / "firstboot.log").read_text()
        seen["console"] = guest.console()
    return seen


def main() -> None:
    """Serve `look NAME` and `measure NAME NAME`: print what was found as JSON."""
    verb, *names = sys.argv[1:]
    found = [cache.cached(find_box(name), cache_root()) for name in names]
    with TemporaryDirectory(prefix="labkit-bare-") as directory, bridge():
        ready = [box for box in found if box is not None]
        if verb == "look":
            answer: object = look(ready[0], Path(directory) / "guest")
        else:
            answer = list(measure(ready, Path(directory), rounds=2).values())
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
