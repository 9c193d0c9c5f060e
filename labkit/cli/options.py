"""Options that several verbs have, written once."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli import completion
from labkit.errors import UsageError

LAB_FILE = Path("lab.yaml")


def _nearest(context: typer.Context, parameter: typer.CallbackParam, value: Path) -> Path:
    """Return the lab file that is meant where none was named: as git finds its repository."""
    source = context.get_parameter_source(parameter.name or "")
    named = source is not None and source.name != "DEFAULT"
    return value if named else nearest_lab_file(Path.cwd())


def nearest_lab_file(directory: Path) -> Path:
    """Return the lab.yaml of a directory, or of the nearest one above it; that name where none is.

    The search ends at a directory that everybody may write to, such as /tmp: a lab file in it
    could be anybody's.
    """
    for place in (directory, *directory.parents):
        try:
            if place != directory and place.stat().st_mode & stat.S_IWOTH:
                break
            if (place / LAB_FILE).is_file():
                return LAB_FILE if place == directory else place / LAB_FILE
        except OSError:
            break
    return LAB_FILE


def beside(lab: Path) -> Path | None:
    """Return the directory of the lab file, for what needs that alone; None where there is no lab.

    Raises:
        UsageError: Another file was named, and does not exist.
    """
    if lab.is_file():
        return lab.parent
    if lab == LAB_FILE:
        return None
    message = f"The lab file '{lab}' does not exist."
    raise UsageError(message, hint="'--lab' or LABKIT_LAB named it.")


LabOption = Annotated[
    Path,
    typer.Option(
        "--lab",
        "-l",
        envvar="LABKIT_LAB",
        help="The lab file, when it is not 'lab.yaml' here or in a directory above.",
        metavar="FILE",
        callback=_nearest,
    ),
]
BoxOption = Annotated[
    str | None,
    typer.Option(
        "--box",
        help="Use this box instead of the lab file's.",
        metavar="NAME",
        autocompletion=completion.boxes,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
ParallelOption = Annotated[
    int | None,
    typer.Option(
        "--parallel",
        metavar="N",
        min=1,
        help="Boot at most N nodes at the same time, instead of what the host carries.",
    ),
]


def require_writable(*files: Path | None) -> None:
    """Refuse a file that a report could not be written to; asked before the work, not after it.

    Raises:
        UsageError: Its directory does not exist or cannot be written, or it is a directory itself.
    """
    for file in files:
        if file is None:
            continue
        directory = file.absolute().parent
        if not directory.is_dir():
            message = f"The directory of '{file}' does not exist."
        elif file.is_dir():
            message = f"'{file}' is a directory; expected a file to write to."
        elif not os.access(file if file.exists() else directory, os.W_OK):
            message = f"'{file}' cannot be written by this user."
        else:
            continue
        raise UsageError(message)


def utc(when: datetime) -> str:
    """Return a moment for people, to the minute."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
