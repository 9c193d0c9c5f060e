"""The boxes labkit knows, and the key of what each is made from."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from labkit import resources
from labkit.box_places import BOX_FILE_NAME, box_places
from labkit.boxes.file import (
    DebianBoxFile,
    ImageBoxFile,
    KickstartBoxFile,
    parse_box_file,
    problems,
)
from labkit.boxes.kickstart import render_image_scripts, render_kickstart
from labkit.errors import LabFileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labkit.box_places import BoxPlaces
    from labkit.boxes.file import BoxFile

# Raised by hand when boxes.build or boxes.disk makes something else of the same files.
BUILDER_VERSION = 1
FIRSTBOOT_FILES = ("labkit-firstboot", "labkit-firstboot.service")
IMAGE_STAMP = "image"  # among the sources of a box from an image without a checksum
KICKSTART = "ks.cfg"  # among the sources of a box that anaconda installs
KEY_DIGITS = 12  # of the key in Vagrant's name of a box


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxDefinition:
    """A box as it is described, built or not.

    Attributes:
        name: Its directory's name.
        directory: That directory, which has its box.yaml.
        file: Its box.yaml, keys of the box it is based on filled in.
        sources: Every file it is made from by path in the build, e.g. `rootfs/etc/motd`,
            `trims/journal`, `firstboot/labkit-firstboot`; a rendered kickstart is `ks.cfg`.
        key: sha256 over all of that, in hex. The mirror the packages come from has no part in it.
        image: The image it is made from, where that is a file of the user's.
    """

    name: str
    directory: Path
    file: BoxFile
    sources: Mapping[str, bytes]
    key: str
    image: Path | None = None


def known_boxes(root: Path | None = None) -> tuple[BoxDefinition, ...]:
    """Return labkit's own boxes, by name.

    Args:
        root: Directory that holds `boxes` and `kickstart`; labkit's own when not given.

    Raises:
        LabFileError: A box.yaml is not as it should be.
    """
    return tuple(find_box(name, root) for name in box_places(None, root).names)


def find_box(name: str, root: Path | None = None, *, beside: Path | None = None) -> BoxDefinition:
    """Return the box of that name.

    Args:
        name: What to look for.
        root: Directory that holds labkit's own `boxes` and `kickstart`; that of this installation
            when not given.
        beside: The directory of the lab file, whose `boxes` are known too; None where there is none.

    Raises:
        UsageError: There is none; the message has the names there are.
        LabFileError: Its box.yaml is not as it should be, or its name is that of one of labkit's.
    """
    places = box_places(beside, root)
    if name not in places.names:
        listed = ", ".join(f"'{known}'" for known in places.names) or "none at all"
        close = difflib.get_close_matches(name, places.names, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else "'labkit box list' shows all boxes."
        msg = f"There is no box '{name}'; known boxes are {listed}."
        raise UsageError(msg, details=places.obstacles_of(name), hint=hint)
    return _load(places, name, _root(root) / "kickstart")


def content_key(file: BoxFile, sources: Mapping[str, bytes]) -> str:
    """Return the sha256 over everything a box is made from, in hex."""
    digest = hashlib.sha256(f"labkit-box {BUILDER_VERSION}\n".encode())
    digest.update(file.model_dump_json().encode())
    for path in sorted(sources):
        digest.update(f"\n{path}\0{len(sources[path])}\0".encode())
        digest.update(sources[path])
    return digest.hexdigest()


def key_inputs(definition: BoxDefinition) -> Mapping[str, str]:
    """Return by name everything the content key is made of: files as sha256, keys as JSON."""
    keys = definition.file.model_dump(mode="json")
    inputs = {"builder version": str(BUILDER_VERSION)}
    for key, value in keys.items():
        parts = value.items() if key in {"iso", "timeouts"} else [("", value)]
        for part, content in parts:
            name = f"{key}.{part}" if part else key
            inputs[f"box.yaml: {name}"] = json.dumps(content, ensure_ascii=False)
    for path, content in definition.sources.items():
        inputs[f"file: {path}"] = hashlib.sha256(content).hexdigest()
    return inputs


def vagrant_name(definition: BoxDefinition) -> str:
    """Return Vagrant's name of the box: other content, other name, so none is ever stale."""
    return f"labkit-{definition.name}-{definition.key[:KEY_DIGITS]}"


def _root(root: Path | None) -> Path:
    return Path(str(resources.root())) if root is None else root


def _load(places: BoxPlaces, name: str, kickstart: Path) -> BoxDefinition:
    chain = _chain(places, name)
    directory = chain[-1][0]
    try:
        file = parse_box_file({key: value for _, keys in chain for key, value in keys.items()})
    except ValidationError as exc:
        details = problems(exc)
        msg = f"The box file '{directory / BOX_FILE_NAME}' has {len(details)} problem(s)."
        raise LabFileError(msg, details=details, hint="Correct the keys named above.") from exc
    image = None
    if isinstance(file, ImageBoxFile) and file.url is None:
        # Relative to the box.yaml that says so, which may be that of the box this is based on.
        named = [place for place, keys in chain if "image" in keys]
        image = (named[-1] / file.image).absolute()
    sources = _sources(file, tuple(place for place, _ in chain), kickstart, image)
    return BoxDefinition(
        name=name,
        directory=directory,
        file=file,
        sources=sources,
        key=content_key(file, sources),
        image=image,
    )


def _chain(places: BoxPlaces, name: str) -> tuple[tuple[Path, dict[str, object]], ...]:
    """Return directory and keys of a box, after those of the boxes it is based on.

    Raises:
        LabFileError: One of the files cannot be read, or the name of a box is unknown, given
            twice or comes back to itself.
    """
    directory = _directory(places, name)
    keys = _read_yaml(directory / BOX_FILE_NAME)
    chain: tuple[tuple[Path, dict[str, object]], ...] = ((directory, keys),)
    seen = {name}
    while (origin := keys.get("based_on")) is not None:
        if not isinstance(origin, str) or origin not in places.names or origin in seen:
            msg = f"'{directory / BOX_FILE_NAME}' is based on {str(origin)!r}, which is no other box."
            raise LabFileError(msg, hint="Name a box that has a box.yaml in 'based_on'.")
        seen.add(origin)
        directory = _directory(places, origin)
        keys = _read_yaml(directory / BOX_FILE_NAME)
        chain = ((directory, keys), *chain)
    return chain


def _sources(
    file: BoxFile, directories: tuple[Path, ...], kickstart: Path, image: Path | None
) -> dict[str, bytes]:
    """Return every file a box is made from, by its path in the build."""
    firstboot = {part: (kickstart / part).read_bytes() for part in FIRSTBOOT_FILES}
    if isinstance(file, ImageBoxFile):
        scripts = {}
        if file.contract == "add":
            scripts = render_image_scripts(firstboot=firstboot)
        sources = {f"image/{name}": text.encode() for name, text in scripts.items()}
        if image is not None and file.sha256 is None:
            sources[IMAGE_STAMP] = _stamp(image)
        return sources
    sources = {f"firstboot/{part}": content for part, content in firstboot.items()}
    if isinstance(file, KickstartBoxFile):
        sources[KICKSTART] = render_kickstart(file, firstboot=firstboot).encode()
    else:
        sources |= _debian_sources(file, directories)
    return sources


def _stamp(image: Path) -> bytes:
    """Return what stands for an image's content: a gigabyte is not read at every look at the box."""
    try:
        found = image.stat()
    except OSError:
        # Told by a build; a box that is built needs it no more.
        return b"absent"
    return f"{found.st_size} {found.st_mtime_ns}".encode("ascii")


def _directory(places: BoxPlaces, name: str) -> Path:
    """Return where a box lies that is known.

    Raises:
        LabFileError: There are two of that name.
    """
    if name in places.own and name in places.beside:
        mine = places.beside[name]
        msg = f"The box '{mine}' has the name of one of labkit's own boxes."
        hint = (
            f"Rename the directory, to 'my-{name}' for example, and say so in the lab file; "
            f"'based_on: {name}' in its box.yaml starts from labkit's."
        )
        raise LabFileError(msg, hint=hint)
    return places.beside.get(name) or places.own[name]


def _debian_sources(file: DebianBoxFile, directories: tuple[Path, ...]) -> dict[str, bytes]:
    directory = directories[-1]
    try:
        files = {path: text for each in directories for path, text in _files(each)}
    except OSError as exc:
        msg = f"'{exc.filename}' of the box '{directory.name}' cannot be read: {exc.strerror}."
        raise LabFileError(msg, hint="Give yourself the right to read it, or remove it.") from exc
    if file.wheels is not None and file.wheels not in files:
        msg = (
            f"The box '{directory.name}' has no file '{file.wheels}', which 'wheels' of its "
            "box.yaml names."
        )
        raise LabFileError(msg, hint=f"Put it into '{directory}', or leave 'wheels' out.")
    # A trim this box does not apply is no part of it.
    return {
        path: content
        for path, content in files.items()
        if not path.startswith("trims/") or path.removeprefix("trims/") in file.trims
    }


def _read_yaml(path: Path) -> dict[str, object]:
    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        msg = f"The box file '{path}' cannot be read: {exc.strerror}."
        raise LabFileError(msg, hint="Give yourself the right to read it.") from exc
    except (UnicodeDecodeError, YAMLError) as exc:
        msg = f"The box file '{path}' cannot be read."
        raise LabFileError(msg, details=tuple(str(exc).splitlines())) from exc
    if not isinstance(data, dict):
        msg = f"The box file '{path}' was expected to hold a mapping of keys."
        raise LabFileError(msg, hint="boxes/rehearsal/box.yaml is an example.")
    return data


def _files(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory).as_posix()
        # pip compiles every module it installs; a date in that would make every install's box
        # another one.
        if "__pycache__" in path.relative_to(directory).parts:
            continue
        # box.yaml counts by its meaning: a comment in it does not make another box.
        if path.is_file() and relative != BOX_FILE_NAME:
            yield relative, path.read_bytes()
