from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from labkit.errors import HostError, OperationError, joined
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

LOST = HostError("libvirtd does not answer.", details=("refused",), hint="Start it.")


def test_joined_single_error_stays_as_it_is() -> None:
    assert joined([LOST], "labkit could not resume every node.") is LOST


def test_joined_errors_of_one_kind_stay_that_kind_and_are_all_told() -> None:
    error = joined([LOST, LOST], "labkit could not resume every node.")

    # A wait for libvirtd tries again on this kind alone.
    assert type(error) is HostError
    assert error.message == "labkit could not resume every node."
    assert error.details == ("libvirtd does not answer.", "  refused") * 2
    assert error.hint == "Start it."


def test_joined_errors_of_different_kinds_are_a_failed_operation() -> None:
    assert type(joined([LOST, OperationError("b.")], "c.")) is OperationError


def hints(source: str) -> Iterator[str]:
    """Yield the texts that a module gives to errors as their hints, and to findings as their fixes."""
    for node in ast.walk(ast.parse(source)):
        if (isinstance(node, ast.keyword) and node.arg in {"hint", "fix"}) or (
            isinstance(node, ast.Assign) and "hint" in ast.unparse(node.targets[0]).lower()
        ):
            yield ast.unparse(node.value)


def test_hint_never_sends_to_a_description_of_everything() -> None:
    found = {
        f"{path.name}: {hint}"
        for path in (ROOT / "labkit").rglob("*.py")
        for hint in hints(path.read_text(encoding="utf-8"))
    }
    assert len(found) > 150
    evasive = re.compile(r"labkit schema|--help|see (the|docs)|documentation", re.IGNORECASE)
    # What typer tells people of a word it does not know, told to programs.
    own = "app.py: f\"Run '{verb} --help'.\""
    assert [hint for hint in found if evasive.search(hint)] == [own]
