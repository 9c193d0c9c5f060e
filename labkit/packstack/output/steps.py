"""The steps and manifests Packstack is going to work through, in order, for given answers."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATA = "queens-steps.tsv"
_SEPARATORS = re.compile(r"[\s,]+")


def expected_steps(answers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the titles of the steps that a run is going to print, in order.

    Source: the sequences of packstack/plugins, stable/queens cfffafa9; 51 of the 52 titles
    were seen printed by that code.

    Args:
        answers: The effective answers: every key the conditions name, defaults included. A
            missing key counts as an empty value.
    """
    return tuple(title for condition, title in _table() if _holds(condition, answers))


def _table() -> tuple[tuple[str, str], ...]:
    text = files(__package__).joinpath(_DATA).read_text(encoding="utf-8")
    rows = (line.partition("\t") for line in text.splitlines() if not line.startswith("#"))
    return tuple((condition, title) for condition, _, title in rows)


def _holds(condition: str, answers: Mapping[str, str]) -> bool:
    return condition == "-" or all(_term(term, answers) for term in condition.split(" "))


def _term(term: str, answers: Mapping[str, str]) -> bool:
    if term.endswith("!"):
        return bool(answers.get(term[:-1], "").strip())
    key, sign, value = re.split(r"([=~])", term, maxsplit=1)
    given = answers.get(key, "").strip()
    if sign == "~":
        return value in _SEPARATORS.split(given)
    return given == value
