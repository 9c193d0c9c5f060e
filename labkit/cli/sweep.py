"""The `labkit sweep` verb."""

from __future__ import annotations

from typing import Annotated

import typer

from labkit.cli.documents import print_json
from labkit.cli.options import DryRunOption, JsonOption, utc
from labkit.cli.output import answer, notice, print_table, shown_progress
from labkit.errors import LabkitError


def sweep(
    *,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Also remove labs whose directory is gone.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the labs of yours whose time is over; 'expires' in a lab file sets it."""
    from labkit.lifecycle.sweep import sweep as remove
    from labkit.state.registry import user_registry
    from labkit.state.tools import real_tools

    registry = user_registry()
    with shown_progress() as progress:
        labs = remove(registry, progress, tools=real_tools(), orphans=orphans, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "labs": [each.as_json() for each in labs]})
    elif labs:
        rows = [
            (
                each.lab,
                str(each.directory),
                utc(each.expires) if each.expires else "never",
                each.result,
            )
            for each in labs
        ]
        print_table(("lab", "directory", "expires", "result"), rows)
    else:
        answer("no lab is on record")
    for file in registry.records()[1]:
        notice(f"'{file}' cannot be read; remove it, and 'labkit up' of its lab writes it anew")
    if any(each.failed for each in labs):
        raise typer.Exit(LabkitError.exit_code)
