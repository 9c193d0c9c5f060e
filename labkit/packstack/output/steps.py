"""The steps and manifests Packstack is going to work through, in order, for given answers."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from labkit.lab import conditions

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATA = "queens-steps.tsv"


def expected_steps(answers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the titles of the steps that a run is going to print, in order.

    Source: the sequences of packstack/plugins, stable/queens cfffafa9; 51 of the 52 titles
    were seen printed by that code.

    Args:
        answers: The effective answers: every key the conditions name, defaults included. A
            missing key counts as an empty value.
    """

    def value(key: str) -> str:
        return answers.get(key, "")

    return tuple(title for condition, title in _table() if conditions.holds(condition, value))


def _table() -> tuple[tuple[str, str], ...]:
    text = files(__package__).joinpath(_DATA).read_text(encoding="utf-8")
    rows = (line.partition("\t") for line in text.splitlines() if not line.startswith("#"))
    return tuple((condition, title) for condition, _, title in rows)
