"""The cache of built boxes. Nothing in it says where it lies: a cache may be moved, copied, restored."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from labkit.box_places import BOX_NAME
from labkit.boxes.definition import key_inputs, vagrant_name
from labkit.errors import HostError
from labkit.host.files import file_sha256
from labkit.host.locks import held
from labkit.host.mounts import MOUNTINFO, remove_tree
from labkit.lab.types import Edge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from labkit.boxes.definition import BoxDefinition

BOX_VERSION = "1.0.0"
BOX_FILE = "labkit.box"
PROVENANCE = "provenance.json"
# An installation without KVM may take five hours, and its ISO a night over a slow line.
BUILD_SECONDS = 24 * 3600.0


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
    image_sha256: str = ""
    inputs: dict[str, str] = Field(default={})


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
    sha256: str


def reason_to_build(definition: BoxDefinition, cache: Path) -> Reason | None:
    """Return why a box has to be built; None when the cache has it."""
    if cached(definition, cache) is not None:
        return None
    found = []
    for path in (cache / "boxes" / definition.name).glob(f"*/{PROVENANCE}"):
        try:
            found.append(Provenance.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
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
        text = (directory / PROVENANCE).read_text(encoding="utf-8")
        known = Provenance.model_validate_json(text)
        size = (directory / BOX_FILE).stat().st_size
    except (OSError, ValueError):
        return None
    if known.key != definition.key or known.size != size:
        return None
    return CachedBox(
        name=definition.name,
        key=known.key,
        vagrant_name=vagrant_name(definition),
        vagrant_version=BOX_VERSION,
        box_file=directory / BOX_FILE,
        image_offset=known.image_offset,
        image_length=known.image_length,
        virtual_size_gib=known.virtual_size_gib,
        sha256=known.sha256,
    )


def verify(box: CachedBox) -> tuple[str, ...]:
    """Read a cached box again and return what is wrong with it, one sentence each."""
    try:
        found = file_sha256(box.box_file)
    except OSError as exc:
        return (f"'{exc.filename}' cannot be read: {exc.strerror}.",)
    if found == box.sha256:
        return ()
    return (f"'{box.box_file}' was expected to have the sha256 {box.sha256} and has {found}.",)


def built_names(cache: Path) -> tuple[str, ...]:
    """Return the names of the boxes of which the cache has something, sorted.

    Some may be of labs elsewhere, or of labs that are gone.
    """
    try:
        entries = [entry for entry in (cache / "boxes").iterdir() if entry.is_dir()]
    except OSError:
        return ()
    return tuple(sorted(each.name for each in entries if BOX_NAME.fullmatch(each.name)))


def remove(name: str, cache: Path, *, dry_run: bool = False, mountinfo: Path = MOUNTINFO) -> bool:
    """Remove every cached build of a box, if this is no dry run, and say whether there was one.

    Raises:
        HostError: Something is mounted in it, or it is not this user's.
        OperationError: Somebody is building that box right now.
    """
    directory = cache / "boxes" / name
    # '..' would be the whole cache.
    if not BOX_NAME.fullmatch(name) or not directory.is_dir():
        return False
    if dry_run:
        return True
    with build_lock(name, cache, seconds=0.0, progress=lambda _line: None):
        try:
            remove_tree(directory, mountinfo)
        except OSError as exc:
            msg = f"'{exc.filename}' cannot be removed: {exc.strerror}."
            raise HostError(msg, hint="Remove it as the user whose cache it is.") from exc
    return True


@contextmanager
def build_lock(
    name: str,
    cache: Path,
    *,
    seconds: float = BUILD_SECONDS,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[None]:
    """Hold the lock that whoever builds or removes a box has to hold; waiting is bounded.

    Raises:
        HostError: The cache cannot be used.
        OperationError: The time was up, or `cancelled` said so.
    """
    path = cache / "locks" / f"box-{name}.lock"
    doing = f"builds the box '{name}'"
    with held(path, doing=doing, seconds=seconds, progress=progress, cancelled=cancelled):
        yield
