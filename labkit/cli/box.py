"""The `labkit box` verbs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli import completion
from labkit.cli.documents import print_json, print_judged
from labkit.cli.options import LAB_FILE, DryRunOption, JsonOption, LabOption, beside
from labkit.cli.output import answer, notice, print_table
from labkit.errors import LabFileError, LabkitError, OperationError, UsageError
from labkit.host.files import cache_root

if TYPE_CHECKING:
    from labkit.boxes.cache import CachedBox, Reason
    from labkit.boxes.definition import BoxDefinition

box_app = typer.Typer(
    help="Build, list, render, explain, verify and remove boxes.", no_args_is_help=True
)

NameArgument = Annotated[
    str,
    typer.Argument(help="The box; 'labkit box list' names them.", autocompletion=completion.boxes),
]


IsoOption = Annotated[
    Path | None,
    typer.Option(
        "--iso", metavar="PATH", help="Your copy of the box's ISO, in place of a download."
    ),
]


@box_app.command("build")
def build(
    name: NameArgument,
    *,
    lab: LabOption = LAB_FILE,
    iso: IsoOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build a box, or say that it is cached. LABKIT_ISO=PATH does what --iso PATH does."""
    from labkit.boxes import build as box_build
    from labkit.boxes import cache
    from labkit.boxes.definition import find_box

    definition = find_box(name, beside=beside(lab))
    reason = cache.reason_to_build(definition, cache_root())
    if dry_run:
        known = cache.cached(definition, cache_root())
    else:
        known = box_build.build(definition, cache_root(), progress=notice, own_iso=iso)
    if as_json:
        file = str(known.box_file) if known else None
        print_json({"dry_run": dry_run, "name": name, "built": reason is not None, "file": file})
    elif dry_run:
        sys.stdout.write("\n".join(_reason_lines(name, reason)) + "\n")
    elif known is not None:
        notice(f"{name}: {known.box_file}")


@box_app.command("render")
def render(
    name: NameArgument,
    directory: Annotated[Path, typer.Argument(help="Where the files go.", metavar="DIR")],
    *,
    lab: LabOption = LAB_FILE,
) -> None:
    """Write the kickstart, the installing domain and its kernel line into DIR, nothing else."""
    from labkit.boxes import centos
    from labkit.boxes.definition import find_box

    names = centos.render(find_box(name, beside=beside(lab)), directory)
    notice(f"wrote {', '.join(names)} to '{directory}'")


@box_app.command("why")
def why(
    name: NameArgument,
    *,
    lab: LabOption = LAB_FILE,
    as_json: JsonOption = False,
) -> None:
    """Say whether a box has to be built, and which of its inputs changed since the last build."""
    from labkit.boxes import cache
    from labkit.boxes.definition import find_box

    definition = find_box(name, beside=beside(lab))
    reason = cache.reason_to_build(definition, cache_root())
    if as_json:
        data = {
            "name": name,
            "key": definition.key,
            "cached": reason is None,
            "last_build": reason.last_build if reason else None,
            "changed": list(reason.changed) if reason else [],
        }
        print_json(data)
        return
    sys.stdout.write("\n".join(_reason_lines(name, reason)) + "\n")


def _reason_lines(name: str, reason: Reason | None) -> list[str]:
    if reason is None:
        return [f"{name}: cached, nothing changed since it was built"]
    if reason.last_build is None:
        return [f"{name}: to be built, it never was"]
    lines = [f"{name}: to be built, changed since {reason.last_build}:"]
    return [*lines, *(f"  {line}" for line in reason.changed)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """A box for the list.

    Attributes:
        name: Its name.
        place: The directory of its box.yaml.
        own: Whether it is one of labkit's own.
        definition: None when it cannot be used.
        cached: None when it is not built.
        problem: Why it cannot be used.
    """

    name: str
    place: Path
    own: bool
    definition: BoxDefinition | None = None
    cached: CachedBox | None = None
    problem: LabkitError | None = None

    def as_json(self) -> dict[str, object]:
        known = self.definition
        return {
            "name": self.name,
            "description": known.file.description if known else None,
            "stand_in": known.file.stand_in if known else None,
            "key": known.key if known else None,
            "cached": str(self.cached.box_file) if self.cached else None,
            "directory": str(self.place.absolute()),
            "problem": self.problem.message if self.problem else None,
        }

    def row(self, *, whence: bool) -> tuple[str, ...]:
        known = self.definition
        place = "labkit" if self.own else f"'{self.place.parent}'"
        line = f"\nfrom {place}" if whence else ""
        if known is None:
            why = f"cannot be used; 'labkit box why {self.name}' says why"
            return self.name, "-", "-", "-", why + line
        size = "not built"
        if self.cached is not None:
            size = f"{self.cached.box_file.stat().st_size // 2**20} MiB"
        stand_in = "yes" if known.file.stand_in else "no"
        return self.name, size, stand_in, known.key[:12], known.file.description + line


@box_app.command("list")
def list_boxes(*, lab: LabOption = LAB_FILE, as_json: JsonOption = False) -> None:
    """List the boxes labkit knows, those beside the lab file too, and which of them are built."""
    from labkit.box_places import box_places
    from labkit.boxes.cache import built_names

    place = beside(lab)
    places = box_places(place)
    found = [_listed(name, place) for name in places.names]
    if as_json:
        print_json({"boxes": [item.as_json() for item in found]})
        return
    rows = [item.row(whence=bool(places.beside)) for item in found]
    columns = ("box", "cached", "stand-in", "key", "what it is")
    print_table(columns, rows, spare=("key", "stand-in"))
    for line in places.obstacles:
        notice(line)
    others = [name for name in built_names(cache_root()) if name not in places.names]
    if others:
        notice(f"the cache also has boxes of labs elsewhere: {', '.join(others)}")


def _listed(name: str, place: Path | None) -> _Listed:
    from labkit.box_places import box_places
    from labkit.boxes import cache
    from labkit.boxes.definition import find_box

    places = box_places(place)
    directory = places.beside.get(name) or places.own[name]
    own = name not in places.beside
    try:
        definition = find_box(name, beside=place)
    except LabFileError as exc:
        return _Listed(name=name, place=directory, own=own, problem=exc)
    return _Listed(
        name=name,
        place=directory,
        own=own,
        definition=definition,
        cached=cache.cached(definition, cache_root()),
    )


@box_app.command("verify")
def verify(name: NameArgument, *, lab: LabOption = LAB_FILE, as_json: JsonOption = False) -> None:
    """Read a cached box again and compare it with its recorded checksum."""
    from labkit.boxes import cache
    from labkit.boxes.definition import find_box

    box = cache.cached(find_box(name, beside=beside(lab)), cache_root())
    if box is None:
        message = f"The box '{name}' is not built, so there is nothing to verify."
        raise OperationError(message, hint=f"Run 'labkit box build {name}'.")
    problems = cache.verify(box)
    message = f"The cached box '{name}' is damaged."
    hint = f"Run 'labkit box remove {name}' and 'labkit box build {name}'."
    error = OperationError(message, details=problems, hint=hint) if problems else None
    if as_json:
        print_judged({"name": name, "file": str(box.box_file), "intact": error is None}, error)
        return
    if error is not None:
        raise error
    notice(f"{name}: {box.box_file} is as it was built")


@box_app.command("remove")
def remove(
    name: NameArgument,
    *,
    lab: LabOption = LAB_FILE,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Free the cache of a box, and its volumes in the pool that no lab uses."""
    from labkit.boxes import cache, centos, image
    from labkit.boxes.definition import find_box
    from labkit.boxes.pool import forget
    from labkit.state.tools import real_tools

    place, downloaded = beside(lab), None
    try:
        definition = find_box(name, beside=place)
        downloaded = centos.downloaded_iso(definition, cache_root()) or image.downloaded(
            definition, cache_root()
        )
    except (UsageError, LabFileError):
        # Its lab may be gone, or its box.yaml broken; what was built of it is there to be freed.
        if name not in cache.built_names(cache_root()):
            raise
    in_pool = forget(name, connect=real_tools().connect, dry_run=dry_run)
    was_cached = cache.remove(name, cache_root(), dry_run=dry_run)
    if as_json:
        kept = str(downloaded) if downloaded else None
        data = {"dry_run": dry_run, "name": name, "cache": was_cached, "pool": list(in_pool)}
        print_json({**data, "kept_download": kept})
        return
    tell = answer if dry_run else notice
    for line in in_pool:
        tell(line)
    if not was_cached:
        tell(f"{name}: nothing {'is' if dry_run else 'was'} cached")
    else:
        tell(f"{name}: {'would be removed' if dry_run else 'removed'} from the cache")
    if downloaded is not None:
        tell(f"{name}: its download '{downloaded}' stays for the next build")
