"""Boxes of a test's own: variants of a definition, from a stand-in ISO, put into a cache."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

from labkit.boxes.cache import PROVENANCE, CachedBox, Provenance, cache_directory, cached
from labkit.boxes.definition import BoxDefinition, content_key, find_box, key_inputs
from labkit.boxes.file import DebianBoxFile, ImageBoxFile, KickstartBoxFile
from labkit.boxes.pack import box_documents, write_box
from labkit.host.files import file_sha256

CHECKOUT = Path(__file__).parents[2]


def box_image(box: CachedBox) -> str:
    """Return what QEMU's tools call the box's image, read where it lies inside the tar."""
    window = {
        "driver": "qcow2",
        "file": {
            "driver": "raw",
            "offset": box.image_offset,
            "size": box.image_length,
            "file": {"driver": "file", "filename": str(box.box_file)},
        },
    }
    return f"json:{json.dumps(window)}"


def add_box(place: Path, name: str, text: str = "based_on: rehearsal\n") -> Path:
    """Write a box.yaml into `boxes/NAME` of a directory, and return its directory."""
    directory = place / "boxes" / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "box.yaml").write_text(text, encoding="utf-8")
    return directory


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


def without(definition: BoxDefinition, *trims: str) -> BoxDefinition:
    """Return the same box with some trims left out; its key is another."""
    whole = debian(definition)
    kept = {name: trim for name, trim in whole.trims.items() if name not in trims}
    file = whole.model_copy(update={"trims": kept})
    scripts = {f"trims/{name}" for name in trims}
    sources = {path: text for path, text in definition.sources.items() if path not in scripts}
    return replace(definition, file=file, sources=sources, key=content_key(file, sources))


def image_of(definition: BoxDefinition) -> ImageBoxFile:
    """Return the box.yaml of a box that is made from an image."""
    assert isinstance(definition.file, ImageBoxFile)
    return definition.file


def put_in_cache(
    definition: BoxDefinition,
    cache: Path,
    image: bytes = b"QFI\xfb" * 500,
    built_at: str = "2026-01-01T00:00:00+00:00",
) -> CachedBox:
    """Put a box into the cache as a build would, with another image."""
    directory = cache_directory(definition, cache)
    directory.mkdir(parents=True)
    source = cache / "image"
    source.write_bytes(image)
    box = directory / "labkit.box"
    offset, length = write_box(box, image=source, documents=box_documents(definition))
    known = Provenance(
        box=definition.name,
        key=definition.key,
        builder_version=1,
        sha256=file_sha256(box),
        size=box.stat().st_size,
        image_offset=offset,
        image_length=length,
        virtual_size_gib=4,
        built_at=built_at,
        inputs=dict(key_inputs(definition)),
    )
    (directory / PROVENANCE).write_text(known.model_dump_json(), encoding="utf-8")
    found = cached(definition, cache)
    assert found is not None
    return found


def debian(definition: BoxDefinition) -> DebianBoxFile:
    """Return the box.yaml of a box of Debian packages."""
    assert isinstance(definition.file, DebianBoxFile)
    return definition.file


def kickstart(definition: BoxDefinition) -> KickstartBoxFile:
    """Return the box.yaml of a box that anaconda installs."""
    assert isinstance(definition.file, KickstartBoxFile)
    return definition.file
