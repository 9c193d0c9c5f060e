"""The boxes that anaconda installs, a domain that installs one, and the scripts of a rendered kickstart."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

from labkit.boxes.anaconda.domain import InstallDomain
from labkit.boxes.definition import FIRSTBOOT_FILES, find_box, known_boxes
from labkit.boxes.file import KickstartBoxFile
from labkit.boxes.kickstart import kernel_line
from labkit.resources import root

BOXES = tuple(
    definition.name
    for definition in known_boxes()
    if isinstance(definition.file, KickstartBoxFile)
)
FIRSTBOOT = {name: (root() / "kickstart" / name).read_bytes() for name in FIRSTBOOT_FILES}

WORK = Path("/var/lib/labkit/build")
DOMAIN = InstallDomain(
    name="labkit-build-centos7-1a2b3c4d",
    uuid=UUID("11111111-2222-3333-4444-555555555555"),
    domain_type="kvm",
    cpus=2,
    memory_mib=2048,
    disk=WORK / "disk.qcow2",
    iso=Path("/isos/CentOS-7-x86_64-Minimal-1804.iso"),
    kickstart_iso=WORK / "kickstart.iso",
    kernel=WORK / "vmlinuz",
    initrd=WORK / "initrd.img",
    cmdline=kernel_line(stage2_label="CentOS 7 x86_64", kickstart_label="LABKIT_KS"),
    serial_log=WORK / "serial.log",
    anaconda_log=WORK / "anaconda.log",
    result_log=WORK / "result.log",
    description="labkit build of 'centos7' & nothing else",
)

_SECTION = re.compile(r"^%post [^\n]*\n(.*?)^%end$", re.MULTILINE | re.DOTALL)


def box(name: str) -> KickstartBoxFile:
    file = find_box(name).file
    assert isinstance(file, KickstartBoxFile)
    return file


def scripts(kickstart: str) -> list[str]:
    """Return the %post scripts of a kickstart, in order."""
    return _SECTION.findall(kickstart)
