"""The `labkit verify` verb."""

from __future__ import annotations

import os
import sys
from pathlib import Path  # noqa: TC003 -- typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.documents import print_json
from labkit.cli.hiding import keep_secrets
from labkit.cli.options import LAB_FILE, JsonOption, LabOption, require_writable
from labkit.cli.session import working

if TYPE_CHECKING:
    from labkit.verify.report import Report


def verify(
    *,
    lab: LabOption = LAB_FILE,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Judge the outputs in DIR/NODE/FILE instead of asking the nodes.",
        ),
    ] = None,
    as_json: JsonOption = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit XML here.")
    ] = None,
) -> None:
    """Check that the deployed lab is what it should be; exit 1 when a check fails."""
    from labkit.verify import report as reports

    require_writable(junit)
    report = _asked(lab) if source is None else _kept(lab, source)
    if junit is not None:
        junit.write_text(reports.junit(report), encoding="utf-8")
    if as_json:
        print_json(reports.as_json(report))
    else:
        sys.stdout.write(reports.table(report))
    if not report.passed:
        raise typer.Exit(1)


def _asked(lab: Path) -> Report:
    from labkit.verify.run import verify as ask

    with working(lab, "verify", changes=False) as session:
        return ask(session).report


def _kept(lab: Path, source: Path) -> Report:
    """Judge kept outputs without a session: a session knows libvirt."""
    from uuid import UUID

    from labkit.lab.file import load
    from labkit.lab.resolve import resolve
    from labkit.state.directory import lab_directory
    from labkit.verify.run import from_directory

    resolved = resolve(load(lab), lab_id=UUID(int=0))
    hide = keep_secrets(resolved, lab_directory(lab, resolved.name, os.environ))
    return from_directory(resolved, source).without(hide)
