"""What libvirt and QEMU would write of what a `FakeHost` has: domains' definitions, images' headers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from labkit.host.libvirt.xml import DomainInfo


def qcow2(snapshots: list[tuple[str, int]]) -> bytes:
    """Return the first bytes of an image with these snapshots: their names and memory's length."""
    table = b""
    for name, memory in snapshots:
        head = struct.pack(">QIHHIIQII", 0, 0, 1, len(name), 0, 0, 0, memory, 0)
        entry = head + b"1" + name.encode()
        table += entry.ljust(-(-len(entry) // 8) * 8, b"\0")
    header = struct.pack(
        *(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, 16, 2**30, 0, 1, 0, 0, 1),
        *(len(snapshots), 112),
    )
    return header.ljust(112, b"\0") + table


def definition(found: DomainInfo) -> str:
    """Return a domain's definition, as far as labkit reads one."""
    root = ET.Element("domain", type=found.domain_type)
    for name, text in (("name", found.name), ("uuid", found.uuid), ("vcpu", found.vcpus)):
        ET.SubElement(root, name).text = str(text)
    ET.SubElement(root, "memory", unit="bytes").text = str(found.memory_mib * 2**20)
    devices = ET.SubElement(root, "devices")
    for disk in found.disks:
        item = ET.SubElement(devices, "disk", device=disk.device)
        ET.SubElement(item, "source", file=str(disk.path))
    for nic in found.nics:
        card = ET.SubElement(devices, "interface", type="bridge")
        ET.SubElement(card, "mac", address=nic.mac)
        ET.SubElement(card, "source", bridge=nic.bridge or "")
        ET.SubElement(card, "address", type="pci", bus="0x00", slot=f"0x{(nic.pci or '')[8:10]}")
    return ET.tostring(root, encoding="unicode")
