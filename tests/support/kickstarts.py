"""The boxes that anaconda installs, and the scripts of a rendered kickstart."""

from __future__ import annotations

import re

from labkit.boxes.definition import FIRSTBOOT_FILES, find_box, known_boxes
from labkit.boxes.file import KickstartBoxFile
from labkit.resources import root

BOXES = tuple(
    definition.name
    for definition in known_boxes()
    if isinstance(definition.file, KickstartBoxFile)
)
FIRSTBOOT = {name: (root() / "kickstart" / name).read_bytes() for name in FIRSTBOOT_FILES}

_SECTION = re.compile(r"^%post [^\n]*\n(.*?)^%end$", re.MULTILINE | re.DOTALL)


def box(name: str) -> KickstartBoxFile:
    file = find_box(name).file
    assert isinstance(file, KickstartBoxFile)
    return file


def scripts(kickstart: str) -> list[str]:
    """Return the %post scripts of a kickstart, in order."""
    return _SECTION.findall(kickstart)
