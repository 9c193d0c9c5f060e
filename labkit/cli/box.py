"""The `labkit box` verbs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli import completion
from labkit.cli.options import JsonOption, print_json
from labkit.cli.output import notice, print_table
from labkit.errors import OperationError
from labkit.host.files import cache_root

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
def build(name: NameArgument, *, iso: IsoOption = None) -> None:
    """Build a box, or say that it is cached. LABKIT_ISO=PATH does what --iso PATH does."""
    from labkit.boxes import build as box_build
    from labkit.boxes.definition import find_box

    definition = find_box(name)
    built = box_build.build(definition, cache_root(), progress=notice, own_iso=iso)
    notice(f"{name}: {built.box_file}")


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
    if reason is None:
        lines = [f"{name}: cached, nothing changed since it was built"]
    elif reason.last_build is None:
        lines = [f"{name}: to be built, it never was"]
    else:
        lines = [f"{name}: to be built, changed since {reason.last_build}:"]
        lines += [f"  {line}" for line in reason.changed]
    sys.stdout.write("\n".join(lines) + "\n")


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
        print_json(data)
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
def verify(name: NameArgument) -> None:
    """Read a cached box again and compare it with its recorded checksum."""
    from labkit.boxes import cache
    from labkit.boxes.definition import find_box

    box = cache.cached(find_box(name), cache_root())
    if box is None:
        message = f"The box '{name}' is not built, so there is nothing to verify."
        raise OperationError(message, hint=f"Run 'labkit box build {name}'.")
    problems = cache.verify(box)
    if problems:
        message = f"The cached box '{name}' is damaged."
        raise OperationError(
            message,
            details=problems,
            hint=f"Run 'labkit box remove {name}' and 'labkit box build {name}'.",
        )
    notice(f"{name}: {box.box_file} is as it was built")


@box_app.command("remove")
def remove(name: NameArgument) -> None:
    """Free the cache of a box, and its volumes in the pool that no lab uses."""
    from labkit.boxes import cache, centos
    from labkit.boxes.definition import find_box
    from labkit.boxes.pool import forget
    from labkit.state.tools import real_tools

    definition = find_box(name)
    downloaded = centos.downloaded_iso(definition, cache_root())
    for line in forget(definition, connect=real_tools().connect):
        notice(line)
    if not cache.remove(name, cache_root()):
        notice(f"{name}: nothing was cached")
    else:
        notice(f"{name}: removed from the cache")
    if downloaded is not None:
        notice(f"{name}: its ISO '{downloaded}' stays for the next build")
