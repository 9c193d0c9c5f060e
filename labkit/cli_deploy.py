"""The verbs around Packstack; `labkit.cli` registers them."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def list_scenarios(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False
) -> None:
    """List the ways a lab can be deployed, and what each does."""
    from labkit.output import print_table
    from labkit.scenarios import all_scenarios

    found = all_scenarios()
    if as_json:
        data = [
            {
                "name": each.name,
                "summary": each.summary,
                "asks": each.asks,
                "forms": [form.value for form in each.forms],
                "verb": each.verb,
            }
            for each in found
        ]
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return
    rows = [(each.name, ", ".join(each.forms) or "-", each.summary) for each in found]
    print_table(("scenario", "form", "what it does"), rows)
