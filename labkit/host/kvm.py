"""Whether KVM works on this host, found out by running a guest under it."""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import shutil
import struct
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import CommandError
from labkit.host import process
from labkit.host.files import write_atomically

if TYPE_CHECKING:
    from typing import Final

log = logging.getLogger(__name__)

QEMU: Final = "qemu-system-x86_64"
DEVICE: Final = Path("/dev/kvm")
CACHE_FILE: Final = "kvm-probe.json"
# Software emulation needs 0.3 s for the same guest, KVM less; 4 s allow for a busy host.
SECONDS: Final = 4.0
LOOPS: Final = 100_000_000
# isa-debug-exit turns the byte a guest writes into QEMU's exit code 2 x byte + 1.
GUEST_RAN: Final = 33
# SeaBIOS does not boot from a disk of a single sector.
DISK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class KvmProbe:
    """What the probe found.

    Attributes:
        reason: One sentence saying what was seen.
        hint: What makes KVM usable; empty when it is.
    """

    reason: str
    hint: str = ""

    @property
    def usable(self) -> bool:
        """Return whether guests run under KVM."""
        return not self.hint


def probe(
    *, qemu: str | None = None, cache: Path | None = None, device: Path = DEVICE
) -> KvmProbe:
    """Find out whether guests run under KVM, by running one.

    The file's presence proves nothing: a nested host may open it, create a virtual machine and
    then emulate every instruction in the kernel, so that a real guest never gets anywhere.

    Args:
        qemu: The QEMU binary; `qemu-system-x86_64` when not given.
        cache: A directory that keeps the answer until the next boot; not kept when not given.
        device: The KVM device.
    """
    binary = shutil.which(qemu or QEMU)
    if binary is None:
        missing = process.missing_tool(qemu or QEMU)
        return KvmProbe(reason=missing.message, hint=missing.hint)
    denied = _closed(device)
    if denied is not None:
        return denied
    key = _key(Path(binary), device)
    kept = None if cache is None else _read(cache / CACHE_FILE, key)
    if kept is not None:
        log.debug("KVM probe, kept answer: %s", kept.reason)
        return kept
    found = verdict(run_guest(binary, accelerator="kvm"), cache=cache)
    if cache is not None:
        _keep(cache, key, found)
    log.debug("KVM probe: %s", found.reason)
    return found


def boot_sector() -> bytes:
    """Return a disk image whose boot sector counts down in 64-bit mode and ends QEMU.

    Long mode and the count are the point. On a host that emulates guests instruction by
    instruction (seen: kvm-pvm, about 0.5 us each) firmware and a few instructions come through
    in 1.3 s, while a Linux kernel never finishes unpacking itself.
    """
    start = 0x7C00
    code = (
        b"\xfa"  # cli
        b"\x31\xc0\x8e\xd8\x8e\xc0"  # xor ax,ax; mov ds,ax; mov es,ax
        b"\xbf\x00\x10\xb9\x00\x18\xf3\xab"  # mov di,0x1000; mov cx,0x1800; rep stosw
        b"\xc7\x06\x00\x10\x03\x20"  # mov word [0x1000],0x2003: page table, level 4
        b"\xc7\x06\x00\x20\x03\x30"  # mov word [0x2000],0x3003: level 3
        b"\xc7\x06\x00\x30\x83\x00"  # mov word [0x3000],0x0083: the first 2 MiB as they are
        b"\x0f\x01\x16\x75\x7c"  # lgdt [0x7c75]
        b"\x66\xb8\x20\x00\x00\x00\x0f\x22\xe0"  # mov cr4,0x20: physical address extension
        b"\x66\xb8\x00\x10\x00\x00\x0f\x22\xd8"  # mov cr3,0x1000
        b"\x66\xb9\x80\x00\x00\xc0\x0f\x32"  # mov ecx,0xc0000080; rdmsr
        b"\x66\x0f\xba\xe8\x08\x0f\x30"  # bts eax,8; wrmsr: long mode enable
        b"\x66\xb8\x01\x00\x00\x80\x0f\x22\xc0"  # mov cr0,0x80000001: paging, protection
        b"\xea\x55\x7c\x08\x00"  # jmp 8:0x7c55, the next instruction, in 64-bit mode
        b"\xb9" + struct.pack("<I", LOOPS) + b"\xff\xc9\x75\xfc"  # mov ecx,LOOPS; dec; jnz
        b"\xb0\x10\xe6\xf4"  # mov al,0x10; out 0xf4,al
        b"\xf4\xeb\xfd"  # hlt, for ever
    )
    table = struct.pack("<QQ", 0, 0x0020_9A00_0000_0000)
    pointer = struct.pack("<HI", len(table) - 1, start + len(code))
    sector = (code + table + pointer).ljust(510, b"\0") + b"\x55\xaa"
    return sector.ljust(DISK_BYTES, b"\0")


def run_guest(
    qemu: str, *, accelerator: str, seconds: float = SECONDS
) -> process.CommandResult | None:
    """Run the boot sector under an accelerator ('kvm', 'tcg'); None when it had to be killed."""
    with tempfile.TemporaryDirectory(prefix="labkit-kvm-") as scratch:
        disk = Path(scratch, "disk.raw")
        disk.write_bytes(boot_sector())
        try:
            argv = guest_argv(qemu, disk, accelerator=accelerator)
            return process.run(argv, timeout=seconds, check=False)
        except CommandError:
            return None


def guest_argv(qemu: str, disk: Path, *, accelerator: str) -> tuple[str, ...]:
    """Return the command line that boots `disk` on the machine type the labs use."""
    # A comma ends an option's value for QEMU, a doubled one is a comma.
    path = str(disk).replace(",", ",,")
    return (
        *(qemu, "-accel", accelerator, "-machine", "q35", "-m", "16"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
        *("-drive", f"file={path},format=raw,if=none,id=disk,readonly=on"),
        *("-device", "virtio-blk-pci,drive=disk"),
    )


def verdict(run: process.CommandResult | None, *, cache: Path | None = None) -> KvmProbe:
    """Return what a run of the probe's guest under KVM says about KVM."""
    if run is not None and run.returncode == GUEST_RAN:
        return KvmProbe(reason="A test guest ran under KVM.")
    again = f" Delete '{cache / CACHE_FILE}' to have it tested again." if cache else ""
    if run is None:
        return KvmProbe(
            reason=(
                f"KVM opens but hangs guests: a test guest did not finish in {SECONDS:.0f} s what "
                "software emulation does in 0.3 s."
            ),
            hint=(
                "Use a host whose processor virtualisation reaches this machine (in a cloud: one "
                f"with nested virtualisation); labkit emulates guests meanwhile.{again}"
            ),
        )
    last = (run.tail() or ("it printed nothing",))[-1]
    return KvmProbe(
        reason=f"A test guest under KVM ended QEMU with {run.returncode}: {last}",
        hint=f"Run 'virt-host-validate qemu', which names what is missing.{again}",
    )


def _closed(device: Path) -> KvmProbe | None:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        user = getpass.getuser()
        return KvmProbe(
            reason=f"User '{user}' may not open '{device}'.",
            hint=f"Run 'sudo usermod -aG kvm {user}' and log in again.",
        )
    except FileNotFoundError:
        return KvmProbe(
            reason=f"This host has no '{device}'.",
            hint=(
                "Turn on virtualisation (VT-x, AMD-V) in the firmware, or nested virtualisation "
                "for a virtual machine, then run 'sudo modprobe -a kvm_intel kvm_amd'."
            ),
        )
    except OSError as exc:
        return KvmProbe(
            reason=f"'{device}' does not open: {exc.strerror}.",
            hint="Run 'sudo dmesg | grep -i kvm', which says why the kernel refuses it.",
        )
    return None


def _key(qemu: Path, device: Path) -> str:
    """Return a text that changes with the boot, QEMU, the device and the probe itself."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    binary, node = qemu.resolve().stat(), device.stat()
    parts = (boot, qemu.resolve(), binary.st_mtime_ns, binary.st_size, node.st_rdev, node.st_mode)
    return " ".join(str(part) for part in (*parts, node.st_mtime_ns, LOOPS, SECONDS))


def _read(path: Path, key: str) -> KvmProbe | None:
    try:
        kept = json.loads(path.read_bytes())
        if kept["key"] == key:
            return KvmProbe(reason=str(kept["reason"]), hint=str(kept["hint"]))
    except (OSError, ValueError, KeyError, TypeError):
        # Only this module writes the file: whatever else stands there is no answer.
        return None
    return None


def _keep(cache: Path, key: str, found: KvmProbe) -> None:
    # Without the kept answer the next probe takes its time, which is no reason to fail here.
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        kept = {"key": key, "usable": found.usable, **asdict(found)}
        write_atomically(cache / CACHE_FILE, json.dumps(kept))
