"""Reads an ifcfg file as bash would source it, without ever running it."""

from __future__ import annotations

import re
import shlex

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What bash would do with these outside single quotes, this reader does not do.
_ACTIVE = re.compile(r"[$`]")
# Single quotes and a backslash take that meaning from them; a double quote shields the single ones.
_SHIELDED = re.compile(r"""(?P<double>"(?:\\.|[^"\\])*")|'[^']*'|\\.""")


def parse(text: str) -> dict[str, str]:
    """Return the keys and values; the last of several equal keys counts, as in bash.

    Raises:
        ValueError: A line is no plain assignment: a command, a substitution, an open quote.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as exc:
            msg = f"line {number} has a quote that does not end"
            raise ValueError(msg) from exc
        for word in words[1:] if words[:1] == ["export"] else words:
            key, equals, value = word.partition("=")
            if not equals or not _NAME.fullmatch(key):
                msg = f"line {number} is no assignment: {line.strip()}"
                raise ValueError(msg)
            if _ACTIVE.search(value) and _ACTIVE.search(_bare(line)):
                msg = f"line {number} has a value that only a shell knows: {line.strip()}"
                raise ValueError(msg)
            values[key] = value
    return values


def _bare(line: str) -> str:
    """Return a line without what quotes and backslashes keep from the shell."""
    return _SHIELDED.sub(
        lambda found: re.sub(r"\\.", "", found["double"]) if found["double"] else "", line
    )
