"""Options that several verbs have, written once."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

LabOption = Annotated[
    Path,
    typer.Option("--lab", "-l", envvar="LABKIT_LAB", help="The lab file.", metavar="FILE"),
]
BoxOption = Annotated[
    str | None,
    typer.Option("--box", help="Use this box instead of the lab file's.", metavar="NAME"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
LAB_FILE = Path("lab.yaml")


def print_json(data: object) -> None:
    """Print data for machines to standard output."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n")


def utc(when: datetime) -> str:
    """Return a moment for people, to the minute."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
