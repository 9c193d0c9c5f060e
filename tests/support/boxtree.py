"""A kickstart box of a test's own, made from a stand-in ISO that the test wrote."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from labkit.boxes.definition import BoxDefinition, find_box
from labkit.host.files import file_sha256

CHECKOUT = Path(__file__).parents[2]


def stand_in_box(
    root: Path, iso: Path, *, replacing: tuple[tuple[str, str], ...] = ()
) -> BoxDefinition:
    """Return the centos7 box as it would be if `iso` were its ISO; named a stand-in.

    Args:
        root: Directory that gets its own `boxes` and `kickstart`.
        iso: The stand-in ISO.
        replacing: Pairs of texts, replaced in the box.yaml.
    """
    for name in ("boxes", "kickstart"):
        shutil.copytree(CHECKOUT / name, root / name, dirs_exist_ok=True)
    file = root / "boxes/centos7/box.yaml"
    text = file.read_text(encoding="utf-8")
    for key, value in (("size", str(iso.stat().st_size)), ("sha256", file_sha256(iso))):
        text, count = re.subn(rf"(?m)^  {key}: \S+$", f"  {key}: {value}", text)
        assert count == 1, key
    for old, new in (("stand_in: false", "stand_in: true"), *replacing):
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")
    return find_box("centos7", root)
