"""The `labkit box` verbs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli import completion
from labkit.cli.documents import print_json, print_judged
from labkit.cli.options import DryRunOption, JsonOption  # noqa: TC001 -- typer reads the annotations
from labkit.cli.output import answer, notice, print_table
from labkit.errors import OperationError
from labkit.host.files import cache_root

if TYPE_CHECKING:
    from labkit.boxes.cache import Reason

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
    iso: IsoOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build a box, or say that it is cached. LABKIT_ISO=PATH does what --iso PATH does."""
    from labkit.boxes import build as box_build
    from labkit.boxes import cache
    from labkit.boxes.definition import find_box

    definition = find_box(name)
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
) -> None:
    """Write the kickstart, the installing domain and its kernel line into DIR, nothing else."""
    from labkit.boxes import centos
    from labkit.boxes.definition import find_box

    names = centos.render(find_box(name), directory)
    notice(f"wrote {', '.join(names)} to '{directory}'")


@box_app.command("why")
def why(
    name: NameArgument,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say whether a box has to be built, and which of its inputs changed since the last build."""
    from labkit.boxes import cache
    from labkit.boxes.definition import find_box

    definition = find_box(name)
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


@box_app.command("list")
def list_boxes(*, as_json: JsonOption = False) -> None:
    """List the boxes labkit knows, and which of them are built."""
    from labkit.boxes import cache
    from labkit.boxes.definition import known_boxes

    found = [(item, cache.cached(item, cache_root())) for item in known_boxes()]
    if as_json:
        data = [
            {
                "name": item.name,
                "description": item.file.description,
                "stand_in": item.file.stand_in,
                "key": item.key,
                "cached": str(box.box_file) if box else None,
            }
            for item, box in found
        ]
        print_json({"boxes": data})
        return
    rows = [
        (
            item.name,
            f"{box.box_file.stat().st_size // 2**20} MiB" if box else "not built",
            "yes" if item.file.stand_in else "no",
            item.key[:12],
            item.file.description,
        )
        for item, box in found
    ]
    print_table(("box", "cached", "stand-in", "key", "what it is"), rows)


@box_app.command("verify")
def verify(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Read a cached box again and compare it with its recorded checksum."""
    from labkit.boxes import cache
    from labkit.boxes.definition import find_box

    box = cache.cached(find_box(name), cache_root())
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
    name: NameArgument, *, dry_run: DryRunOption = False, as_json: JsonOption = False
) -> None:
    """Free the cache of a box, and its volumes in the pool that no lab uses."""
    from labkit.boxes import cache, centos
    from labkit.boxes.definition import find_box
    from labkit.boxes.pool import forget
    from labkit.state.tools import real_tools

    definition = find_box(name)
    kept_iso = centos.downloaded_iso(definition, cache_root())
    in_pool = forget(definition, connect=real_tools().connect, dry_run=dry_run)
    was_cached = cache.remove(name, cache_root(), dry_run=dry_run)
    if as_json:
        iso = str(kept_iso) if kept_iso else None
        data = {"dry_run": dry_run, "name": name, "cache": was_cached, "pool": list(in_pool)}
        print_json({**data, "kept_iso": iso})
        return
    tell = answer if dry_run else notice
    for line in in_pool:
        tell(line)
    if not was_cached:
        tell(f"{name}: nothing {'is' if dry_run else 'was'} cached")
    else:
        tell(f"{name}: {'would be removed' if dry_run else 'removed'} from the cache")
    if kept_iso is not None:
        tell(f"{name}: its ISO '{kept_iso}' stays for the next build")
