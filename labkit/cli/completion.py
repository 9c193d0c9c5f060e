"""What the shell is offered for an argument: names of this lab and of this installation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer  # noqa: TC002 -- typer reads the annotations

from labkit.errors import LabkitError

if TYPE_CHECKING:
    from collections.abc import Iterable

LOGS = ("deploy", "prepare")


def nodes(context: typer.Context, incomplete: str) -> list[str]:
    """Return the lab's nodes."""
    found = _lab(context).get("nodes")
    return _beginning(found if isinstance(found, dict) else (), incomplete)


def snapshots(context: typer.Context, incomplete: str) -> list[str]:
    """Return the lab's snapshots."""
    from labkit.snapshots.record import Shelf
    from labkit.state.directory import lab_directory

    name = _lab(context).get("name")
    if not isinstance(name, str):
        return []
    try:
        directory = lab_directory(_file(context), name, os.environ)
        names = [record.name for record in Shelf(directory.snapshots).records()]
    except (LabkitError, OSError):
        return []
    return _beginning(names, incomplete)


def kept_labs(context: typer.Context, incomplete: str) -> list[str]:
    """Return the labs with a directory beside the lab file, whether that still names them or not."""
    from labkit.state.directory import lab_directory

    place = lab_directory(_file(context), "any", os.environ).path.parent
    try:
        names = [each.name for each in place.iterdir() if (each / "state.json").is_file()]
    except OSError:
        return []
    return _beginning(names, incomplete)


def boxes(context: typer.Context, incomplete: str) -> list[str]:
    """Return the boxes there are, those beside the lab file too."""
    from labkit.box_places import box_names

    file = _file(context)
    return _beginning(box_names(file.parent if file.is_file() else None), incomplete)


def first_scenarios(incomplete: str) -> list[str]:
    """Return the scenarios that a lab can begin with."""
    from labkit.lab import scenarios

    return _beginning(scenarios.deployable(), incomplete)


def logs(incomplete: str) -> list[str]:
    """Return the logs of the runs in a guest; `labkit.packstack.logs` itself loads too long."""
    return _beginning(LOGS, incomplete)


def _beginning(names: Iterable[object], incomplete: str) -> list[str]:
    return sorted(str(name) for name in names if str(name).startswith(incomplete))


def _file(context: typer.Context) -> Path:
    from labkit.cli.options import nearest_lab_file

    named = context.params.get("lab")
    return named if isinstance(named, Path) else nearest_lab_file(Path.cwd())


def _lab(context: typer.Context) -> dict[str, object]:
    """Return the lab file as it stands; a wrong one still names its nodes."""
    from labkit.lab.yaml import read

    try:
        data = read(_file(context)).data
    except LabkitError:
        return {}
    return dict(data) if isinstance(data, dict) else {}
