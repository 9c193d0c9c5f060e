"""The conditions of the tables about Packstack: when it reads a key, when it prints a step.

All terms of a condition must hold, and of the alternatives in a term, with '|' between them, one:
KEY=value, KEY~value (a member of the list), KEY! (not empty). '-' is always.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SEPARATORS = re.compile(r"[,\s]+")


def keys(condition: str) -> tuple[str, ...]:
    """Return the keys a condition rests on, in its order."""
    return tuple(dict.fromkeys(re.findall(r"[A-Z][A-Z0-9_]+(?=[=~!])", condition)))


def holds(condition: str, value: Callable[[str], str]) -> bool:
    """Return whether a condition holds.

    Args:
        condition: As a table has it.
        value: What an answer-file key has; empty for nothing.
    """
    return condition == "-" or all(
        any(_holds(each, value) for each in term.split("|")) for term in condition.split(" ")
    )


def _holds(term: str, value: Callable[[str], str]) -> bool:
    if term.endswith("!"):
        return bool(value(term[:-1]).strip())
    key, sign, wanted = re.split(r"([=~])", term, maxsplit=1)
    given = value(key).strip()
    return wanted in SEPARATORS.split(given) if sign == "~" else given == wanted
