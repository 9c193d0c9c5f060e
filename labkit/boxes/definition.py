"""The boxes labkit knows, and the key of what each is made from."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from labkit import resources
from labkit.boxes.file import DebianBoxFile, KickstartBoxFile, parse_box_file, problems
from labkit.boxes.kickstart import render_kickstart
from labkit.errors import LabFileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labkit.boxes.file import BoxFile

# Raised by hand when boxes.build or boxes.disk makes something else of the same files.
BUILDER_VERSION = 1
FIRSTBOOT_FILES = ("labkit-firstboot", "labkit-firstboot.service")
KICKSTART = "ks.cfg"  # among the sources of a box that anaconda installs
KEY_DIGITS = 12  # of the key in Vagrant's name of a box
BOX_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxDefinition:
    """A box as it is described, built or not.

    Attributes:
        name: Its directory's name.
        file: Its box.yaml, keys of the box it is based on filled in.
        sources: Every file it is made from by path in the build, e.g. `rootfs/etc/motd`,
            `trims/journal`, `firstboot/labkit-firstboot`; a rendered kickstart is `ks.cfg`.
        key: sha256 over all of that, in hex. The mirror the packages come from has no part in it.
    """

    name: str
    file: BoxFile
    sources: Mapping[str, bytes]
    key: str


def known_boxes(root: Path | None = None) -> tuple[BoxDefinition, ...]:
    """Return every box that has a `boxes/<name>/box.yaml`, by name.

    Args:
        root: Directory that holds `boxes` and `kickstart`; labkit's own when not given.

    Raises:
        LabFileError: A box.yaml is not as it should be.
    """
    place = _root(root)
    return tuple(_load(place, name) for name in _names(place))


def find_box(name: str, root: Path | None = None) -> BoxDefinition:
    """Return the box of that name.

    Raises:
        UsageError: There is none; the message has the names there are.
        LabFileError: Its box.yaml is not as it should be.
    """
    place = _root(root)
    names = _names(place)
    if name not in names:
        listed = ", ".join(f"'{known}'" for known in names) or "none at all"
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else "'labkit box list' shows all boxes."
        msg = f"There is no box '{name}'; known boxes are {listed}."
        raise UsageError(msg, hint=hint)
    return _load(place, name)


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
    # A wheel is always unpacked when labkit runs: its tools need real paths.
    return Path(str(resources.root())) if root is None else root


def _names(root: Path) -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in (root / "boxes").glob("*/box.yaml")))


def _load(root: Path, name: str) -> BoxDefinition:
    directory = root / "boxes" / name
    own = _read_yaml(directory / "box.yaml")
    sources: dict[str, bytes] = {}
    origin = own.get("based_on")
    if origin is not None:
        if origin not in _names(root) or origin == name:
            msg = f"'{directory / 'box.yaml'}' is based on '{origin}', which is no other box."
            raise LabFileError(msg, hint="Name a box that has a box.yaml in 'based_on'.")
        own = {**_read_yaml(root / "boxes" / str(origin) / "box.yaml"), **own}
        sources.update(_files(root / "boxes" / str(origin)))
    sources.update(_files(directory))
    for part in FIRSTBOOT_FILES:
        sources[f"firstboot/{part}"] = (root / "kickstart" / part).read_bytes()
    try:
        file = parse_box_file(own)
    except ValidationError as exc:
        details = problems(exc)
        msg = f"The box file '{directory / 'box.yaml'}' has {len(details)} problem(s)."
        raise LabFileError(msg, details=details, hint="Correct the keys named above.") from exc
    if isinstance(file, KickstartBoxFile):
        firstboot = {part: sources[f"firstboot/{part}"] for part in FIRSTBOOT_FILES}
        sources[KICKSTART] = render_kickstart(file, firstboot=firstboot).encode()
    if isinstance(file, DebianBoxFile) and file.wheels is not None and file.wheels not in sources:
        msg = (
            f"The box '{name}' has no file '{file.wheels}', which 'wheels' of its box.yaml names."
        )
        raise LabFileError(msg, hint=f"Put it into '{directory}', or leave 'wheels' out.")
    # A trim this box does not apply is no part of it.
    trims = file.trims if isinstance(file, DebianBoxFile) else {}
    used = {
        path: content
        for path, content in sources.items()
        if not path.startswith("trims/") or path.removeprefix("trims/") in trims
    }
    return BoxDefinition(name=name, file=file, sources=used, key=content_key(file, used))


def _read_yaml(path: Path) -> dict[str, object]:
    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as exc:
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
        if path.is_file() and relative != "box.yaml":
            yield relative, path.read_bytes()
