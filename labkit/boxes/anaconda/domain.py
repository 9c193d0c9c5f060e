"""Writes libvirt's definition of the domain that anaconda runs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree as ET

from labkit.boxes.kickstart import RESULT_PORT

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

# The only name anaconda 21.48 looks for (pyanaconda/anaconda_log.py); it sends its whole log there.
LOG_PORT = "org.fedoraproject.anaconda.log.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallDomain:
    """The machine that installs a box, and is gone when it has.

    Attributes:
        name: Its name in libvirt.
        uuid: Its UUID.
        domain_type: `kvm` where it was seen to work, else `qemu` (emulation).
        cpus: Virtual CPUs.
        memory_mib: Memory in MiB; anaconda refuses less than 768.
        disk: The empty qcow2 image that becomes the box; `vda` in the guest.
        iso: The installation ISO, never written to.
        kickstart_iso: The ISO that holds the kickstart.
        kernel: The installer's kernel, out of the ISO.
        initrd: The installer's initial RAM disk, out of the ISO.
        cmdline: The kernel command line (`labkit.boxes.kickstart.kernel_line`).
        serial_log: File that gets the serial console: dracut, and anaconda's last words.
        anaconda_log: File that gets anaconda's own log.
        result_log: File that gets the lines of the kickstart's scripts.
        description: Free text by which a later build finds what an earlier one left.
    """

    name: str
    uuid: UUID
    domain_type: Literal["kvm", "qemu"]
    cpus: int
    memory_mib: int
    disk: Path
    iso: Path
    kickstart_iso: Path
    kernel: Path
    initrd: Path
    cmdline: str
    serial_log: Path
    anaconda_log: Path
    result_log: Path
    description: str = ""


def install_domain_xml(domain: InstallDomain) -> str:
    """Return the definition of an installing domain: no network card, no graphics, no reboot."""
    root = ET.Element("domain", type=domain.domain_type)
    _text(root, "name", domain.name)
    _text(root, "uuid", str(domain.uuid))
    if domain.description:
        _text(root, "description", domain.description)
    # KiB is what libvirt itself writes, so that labkit.host.libvirt.xml reads this text too.
    ET.SubElement(root, "memory", unit="KiB").text = str(domain.memory_mib * 1024)
    _text(root, "vcpu", str(domain.cpus))
    _add_boot(root, domain)
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if domain.domain_type == "kvm":
        ET.SubElement(root, "cpu", mode="host-passthrough")
    ET.SubElement(root, "clock", offset="utc")
    # anaconda reboots out of some failures; a second installation would hide the first.
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        _text(root, event, "destroy")
    devices = ET.SubElement(root, "devices")
    _add_disk(devices, domain.disk)
    _add_cdrom(devices, "sda", domain.iso)
    _add_cdrom(devices, "sdb", domain.kickstart_iso)
    _add_logs(devices, domain)
    # Without it a 3.10 kernel waits for entropy when it makes host keys.
    rng = ET.SubElement(devices, "rng", model="virtio")
    ET.SubElement(rng, "backend", model="random").text = "/dev/urandom"
    # libvirt adds both by itself otherwise.
    ET.SubElement(ET.SubElement(devices, "video"), "model", type="none")
    ET.SubElement(devices, "memballoon", model="none")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _add_boot(root: ET.Element, domain: InstallDomain) -> None:
    boot = ET.SubElement(root, "os")
    ET.SubElement(boot, "type", arch="x86_64", machine="q35").text = "hvm"
    _text(boot, "kernel", str(domain.kernel))
    _text(boot, "initrd", str(domain.initrd))
    _text(boot, "cmdline", domain.cmdline)


def _add_disk(devices: ET.Element, path: Path) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    # unsafe: a disk whose installation did not end well is thrown away, so no flush is worth
    # waiting for.
    ET.SubElement(disk, "driver", name="qemu", type="qcow2", cache="unsafe", discard="unmap")
    ET.SubElement(disk, "source", file=str(path))
    ET.SubElement(disk, "target", dev="vda", bus="virtio")


def _add_cdrom(devices: ET.Element, target: str, path: Path) -> None:
    cdrom = ET.SubElement(devices, "disk", type="file", device="cdrom")
    ET.SubElement(cdrom, "driver", name="qemu", type="raw")
    ET.SubElement(cdrom, "source", file=str(path))
    ET.SubElement(cdrom, "target", dev=target, bus="sata")
    ET.SubElement(cdrom, "readonly")


def _add_logs(devices: ET.Element, domain: InstallDomain) -> None:
    """Add the serial console and the two ports, each written to a file that only ever grows.

    Files and not sockets: a virtio port blocks the guest's writer while nobody reads a socket.
    """
    serial = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(serial, "source", path=str(domain.serial_log), append="on")
    ET.SubElement(serial, "target", port="0")
    for name, path in ((LOG_PORT, domain.anaconda_log), (RESULT_PORT, domain.result_log)):
        channel = ET.SubElement(devices, "channel", type="file")
        ET.SubElement(channel, "source", path=str(path), append="on")
        ET.SubElement(channel, "target", type="virtio", name=name)


def _text(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text
