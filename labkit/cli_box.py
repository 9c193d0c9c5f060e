"""The `labkit box` verbs."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from labkit.errors import OperationError

box_app = typer.Typer(help="Build, list, verify and remove boxes.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The box; 'labkit box list' names them.")]


@box_app.command("build")
def build(name: NameArgument) -> None:
    """Build a box, or say that it is cached."""
    from labkit import box_build, boxes
    from labkit.output import notice

    definition = boxes.find_box(name)
    built = box_build.build(definition, boxes.cache_root(), progress=notice)
    notice(f"{name}: {built.box_file}")


@box_app.command("list")
def list_boxes(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False
) -> None:
    """List the boxes labkit knows, and which of them are built."""
    from labkit import boxes
    from labkit.output import print_table

    found = [(item, boxes.cached(item, boxes.cache_root())) for item in boxes.known_boxes()]
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
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return
    rows = [
        (
            item.name,
            f"{box.box_file.stat().st_size // 2**20} MiB" if box else "not built",
            item.key[:12],
            item.file.description,
        )
        for item, box in found
    ]
    print_table(("box", "cached", "key", "what it is"), rows)


@box_app.command("verify")
def verify(name: NameArgument) -> None:
    """Read a cached box again and compare it with its recorded checksum."""
    from labkit import boxes
    from labkit.output import notice

    box = boxes.cached(boxes.find_box(name), boxes.cache_root())
    if box is None:
        message = f"The box '{name}' is not built, so there is nothing to verify."
        raise OperationError(message, hint=f"Run 'labkit box build {name}'.")
    problems = boxes.verify(box)
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
    from labkit import boxes
    from labkit.boxstore import forget
    from labkit.output import notice

    definition = boxes.find_box(name)
    for line in forget(definition):
        notice(line)
    if not boxes.remove(name, boxes.cache_root()):
        notice(f"{name}: nothing was cached")
    else:
        notice(f"{name}: removed from the cache")
