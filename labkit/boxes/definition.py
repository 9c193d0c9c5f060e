"""The boxes labkit knows, the key of what each is made from, and the cache of built ones."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from labkit import resources
from labkit.boxes.file import DebianBoxFile, KickstartBoxFile, parse_box_file, problems
from labkit.boxes.kickstart import render_kickstart
from labkit.errors import HostError, LabFileError, OperationError, UsageError
from labkit.host.files import file_sha256
from labkit.lab.types import Edge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labkit.boxes.file import BoxFile

# Raised by hand when box_build or diskimage makes something else of the same files.
BUILDER_VERSION = 1
BOX_VERSION = "1.0.0"
FIRSTBOOT_FILES = ("labkit-firstboot", "labkit-firstboot.service")
KICKSTART = "ks.cfg"  # among the sources of a box that anaconda installs
BOX_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Provenance(Edge):
    """What is known about a built box; `provenance.json` beside it."""

    box: str
    key: str
    builder_version: int
    sha256: str
    size: int
    image_offset: int
    image_length: int
    virtual_size_gib: int
    built_at: str
    packages: tuple[str, ...] = ()
    labkit_version: str = ""
    iso_sha256: str = ""
    kickstart_sha256: str = ""
    inputs: dict[str, str] = Field(default={})


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

    def without(self, *trims: str) -> BoxDefinition:
        """Return the same box with some trims left out; its key is another.

        Raises:
            TypeError: A box that anaconda installs has no trims.
        """
        if not isinstance(self.file, DebianBoxFile):
            msg = f"The box '{self.name}' has no trims."
            raise TypeError(msg)
        kept = {name: trim for name, trim in self.file.trims.items() if name not in trims}
        file = self.file.model_copy(update={"trims": kept})
        sources = _used(file, self.sources)
        return replace(self, file=file, sources=sources, key=content_key(file, sources))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a box has to be built.

    Attributes:
        last_build: When its newest cached build was made; None when there is none.
        changed: What is different since then, one line each.
    """

    last_build: str | None = None
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedBox:
    """A built box in the cache.

    Attributes:
        name: Name of its definition.
        key: Content key in hex.
        vagrant_name: What Vagrant calls it; another content is another name.
        vagrant_version: Always 1.0.0: the name carries the content key.
        box_file: The labkit.box, a plain tar.
        image_offset: Where box.img begins in it, bytes.
        image_length: Length of box.img, bytes.
        virtual_size_gib: Virtual size of the disk.
        catalog: Vagrant's metadata.json, which names `box_file`.
        sha256: Of `box_file`.
    """

    name: str
    key: str
    vagrant_name: str
    vagrant_version: str
    box_file: Path
    image_offset: int
    image_length: int
    virtual_size_gib: int
    catalog: Path
    sha256: str


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


def reason_to_build(definition: BoxDefinition, cache: Path) -> Reason | None:
    """Return why a box has to be built; None when the cache has it."""
    if cached(definition, cache) is not None:
        return None
    found = []
    for path in (cache / "boxes" / definition.name).glob("*/provenance.json"):
        try:
            found.append(Provenance.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, ValidationError):
            continue  # `cached` does not use such a build either
    if not found:
        return Reason()
    last = max(found, key=lambda known: known.built_at)
    changed = changed_inputs(last.inputs, key_inputs(definition))
    if last.key == definition.key:
        changed = ("the cached build is damaged: a file is missing or cut short",)
    elif not last.inputs:
        changed = ("that build did not record its inputs",)
    return Reason(last_build=last.built_at, changed=changed)


def changed_inputs(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Return what differs between the inputs of two builds, one line each."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old is None:
            lines.append(f"{name} is new: {new}")
        elif new is None:
            lines.append(f"{name} is gone; it was {old}")
        elif old != new:
            lines.append(f"{name} was {old} and is {new}")
    return tuple(lines)


def cache_directory(definition: BoxDefinition, cache: Path) -> Path:
    """Return where this very content of the box is kept."""
    return cache / "boxes" / definition.name / definition.key[:16]


def cached(definition: BoxDefinition, cache: Path) -> CachedBox | None:
    """Return the built box when the cache has it whole, else None; reads no image."""
    directory = cache_directory(definition, cache)
    try:
        text = (directory / "provenance.json").read_text(encoding="utf-8")
        known = Provenance.model_validate_json(text)
        size = (directory / "labkit.box").stat().st_size
    except (OSError, ValidationError):
        return None
    whole = known.key == definition.key and known.size == size
    if not whole or not (directory / "metadata.json").is_file():
        return None
    return CachedBox(
        name=definition.name,
        key=known.key,
        vagrant_name=vagrant_name(definition),
        vagrant_version=BOX_VERSION,
        box_file=directory / "labkit.box",
        image_offset=known.image_offset,
        image_length=known.image_length,
        virtual_size_gib=known.virtual_size_gib,
        catalog=directory / "metadata.json",
        sha256=known.sha256,
    )


def vagrant_name(definition: BoxDefinition) -> str:
    """Return Vagrant's name of the box: other content, other name, so none is ever stale."""
    return f"labkit-{definition.name}-{definition.key[:12]}"


def catalog_text(definition: BoxDefinition, *, box_file: Path, sha256: str) -> str:
    """Return the catalog from which `vagrant box add` learns name and version."""
    provider = {
        "name": "libvirt",
        "url": box_file.as_uri(),
        "checksum_type": "sha256",
        "checksum": sha256,
    }
    catalog = {
        "name": vagrant_name(definition),
        "description": definition.file.description,
        "versions": [{"version": BOX_VERSION, "providers": [provider]}],
    }
    return json.dumps(catalog, indent=2) + "\n"


def verify(box: CachedBox) -> tuple[str, ...]:
    """Read a cached box again and return what is wrong with it, one sentence each."""
    wrong = []
    try:
        found = file_sha256(box.box_file)
        named = box.box_file.as_uri() in box.catalog.read_text(encoding="utf-8")
    except OSError as exc:
        return (f"'{exc.filename}' cannot be read: {exc.strerror}.",)
    if found != box.sha256:
        wrong.append(
            f"'{box.box_file}' was expected to have the sha256 {box.sha256} and has {found}."
        )
    if not named:
        wrong.append(f"'{box.catalog}' was expected to name '{box.box_file}' and does not.")
    return tuple(wrong)


def remove(name: str, cache: Path) -> bool:
    """Remove every cached build of a box and say whether there was one.

    Raises:
        OperationError: Somebody is building that box right now.
    """
    directory = cache / "boxes" / name
    # '..' would be the whole cache.
    if not BOX_NAME.fullmatch(name) or not directory.is_dir():
        return False
    try:
        with box_lock(name, cache).acquire(timeout=0):
            shutil.rmtree(directory)
    except Timeout as exc:
        msg = f"The box '{name}' is being built by another labkit and cannot be removed now."
        raise OperationError(msg, hint="Try again when that build has ended.") from exc
    return True


def box_lock(name: str, cache: Path) -> FileLock:
    """Return the lock that whoever builds or removes a box has to hold."""
    locks = cache / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        msg = f"The cache directory '{cache}' cannot be used: {exc.strerror}."
        raise HostError(msg, hint="Set LABKIT_CACHE_DIR to a directory of yours.") from exc
    return FileLock(locks / f"box-{name}.lock")


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
    used = _used(file, sources)
    return BoxDefinition(name=name, file=file, sources=used, key=content_key(file, used))


def _used(file: BoxFile, sources: Mapping[str, bytes]) -> dict[str, bytes]:
    # A trim this box does not apply is no part of it.
    trims = file.trims if isinstance(file, DebianBoxFile) else {}
    return {
        path: content
        for path, content in sources.items()
        if not path.startswith("trims/") or path.removeprefix("trims/") in trims
    }


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
        # box.yaml counts by its meaning: a comment in it does not make another box.
        if path.is_file() and relative != "box.yaml":
            yield relative, path.read_bytes()
