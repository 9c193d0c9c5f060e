"""The verbs that only read the lab file: `labkit validate`, `render`, `graph` and `schema`."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 -- typer reads the annotations
from typing import Annotated

import typer

from labkit.cli.options import LAB_FILE, BoxOption, LabOption, print_json
from labkit.cli.output import notice
from labkit.cli.session import looking


def validate(*, lab: LabOption = LAB_FILE) -> None:
    """Check the lab file and print every problem with its line and column."""
    from labkit.lab.file import load

    checked = load(lab)
    notice(f"{lab}: valid; lab '{checked.name}' with {_count(len(checked.nodes), 'node')}")


def render(
    directory: Annotated[Path, typer.Argument(help="Where the files go.", metavar="DIR")],
    *,
    lab: LabOption = LAB_FILE,
    box: BoxOption = None,
) -> None:
    """Write every file that 'up' and Packstack would use into DIR, and change nothing else."""
    from labkit.lifecycle.rendering import write_preview

    count = write_preview(looking(lab, box=box), directory)
    notice(f"wrote {_count(count, 'file')} to '{directory}'")


def graph(
    *,
    lab: LabOption = LAB_FILE,
    svg: Annotated[
        bool, typer.Option("--svg", help="An SVG image instead of Mermaid's text.")
    ] = False,
) -> None:
    """Print a picture of the lab: networks, nodes with their cards, and the tunnels."""
    from uuid import UUID

    from labkit.lab.file import load
    from labkit.lab.graph import mermaid
    from labkit.lab.graph_svg import svg as image
    from labkit.lab.resolve import resolve

    drawn = resolve(load(lab), lab_id=UUID(int=0))
    sys.stdout.write(image(drawn) if svg else mermaid(drawn))


def schema() -> None:
    """Print the JSON schema of the lab file."""
    from labkit.lab.file import json_schema

    print_json(json_schema())


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
