"""The verbs around the lab file: `labkit init`, `validate`, `render`, `graph` and `schema`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli import completion
from labkit.cli.documents import print_json
from labkit.cli.options import LAB_FILE, BoxOption, DryRunOption, JsonOption, LabOption
from labkit.cli.output import answer, notice
from labkit.cli.session import looking
from labkit.errors import UsageError


def init(
    directory: Annotated[Path, typer.Argument(help="Where to.", metavar="[DIR]")] = Path(),
    *,
    scenario: Annotated[
        str,
        typer.Option(
            "--scenario",
            metavar="NAME",
            help="allinone, external-network or multinode.",
            autocompletion=completion.first_scenarios,
        ),
    ] = "multinode",
    computes: Annotated[
        int | None,
        typer.Option("--computes", metavar="N", min=0, max=99, help="Compute nodes of their own."),
    ] = None,
    bridge: Annotated[
        str | None,
        typer.Option(
            "--bridge",
            metavar="BR",
            help="A bridge of this host for the nodes, instead of a network of their own.",
        ),
    ] = None,
    cidr: Annotated[
        str, typer.Option("--cidr", metavar="NET", help="The nodes' network.")
    ] = "172.16.208.0/24",
    box: Annotated[
        str,
        typer.Option(
            "--box",
            metavar="NAME",
            help="What the nodes are made from.",
            autocompletion=completion.boxes,
        ),
    ] = "centos7",
    dry_run: DryRunOption = False,
) -> None:
    """Write a first lab.yaml, with comments, and the schema that editors complete it by."""
    from labkit.box_places import box_names
    from labkit.lab import initial

    wish = initial.Wish(
        name=initial.name_from(directory.resolve().name),
        scenario=scenario,
        computes=int(scenario == initial.MULTINODE) if computes is None else computes,
        network=initial.network(cidr),
        bridge=bridge,
        box=box,
    )
    text = initial.lab_text(wish, boxes=box_names(directory))
    if dry_run:
        sys.stdout.write(text)
        return
    file, schema_file = _write_new(directory, text)
    away = directory.resolve() != Path.cwd()
    enter = f"'cd {shlex.quote(str(directory))}', " if away else ""
    notice(f"wrote '{file}' and '{schema_file}'; next: {enter}'labkit doctor', 'labkit up'")


def _write_new(directory: Path, text: str) -> tuple[Path, Path]:
    """Write a lab file and the schema beside it into a directory that has neither."""
    from labkit.host.files import write_atomically
    from labkit.lab.initial import SCHEMA_FILE

    file, schema_file = directory / LAB_FILE, directory / SCHEMA_FILE
    for each in (file, schema_file):
        if os.path.lexists(each):
            message = f"'{each}' exists already, and is left as it is."
            raise UsageError(message, hint="Name another directory: 'labkit init DIR'.")
    directory.mkdir(parents=True, exist_ok=True)
    # The lab file last: where it is there, all of it is.
    write_atomically(schema_file, _schema_text())
    write_atomically(file, text)
    return file, schema_file


def validate(*, lab: LabOption = LAB_FILE, as_json: JsonOption = False) -> None:
    """Check the lab file and print every problem with its line and column."""
    from labkit.boxes.definition import find_box
    from labkit.lab.file import load

    checked = load(lab)
    # A box of the user's own is a part of what is checked.
    find_box(checked.box, beside=lab.parent)
    if as_json:
        print_json({"file": str(lab), "lab": checked.name, "nodes": list(checked.nodes)})
        return
    answer(f"{lab}: valid; lab '{checked.name}' with {_count(len(checked.nodes), 'node')}")


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
    sys.stdout.write(_schema_text())


def _schema_text() -> str:
    from labkit.lab.file import json_schema

    return json.dumps(json_schema(), indent=2) + "\n"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
