"""Renders the shipped templates: one Jinja environment, with a filter for each language's quotes."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache

from jinja2 import Environment, FunctionLoader, StrictUndefined

from labkit.resources import read_text

# bash and the ifcfg readers of udev, puppet and NetworkManager agree on these without quotes.
PLAIN_SHELL = re.compile(r"[A-Za-z0-9_./:@%+-]*")


def render(template: str, **values: object) -> str:
    """Return a template's text with values in it.

    Raises:
        HostError: The template is missing from this installation.
    """
    return _environment().get_template(template).render(**values)


def ruby(value: object) -> str:
    """Return a value's text as a Ruby string literal that Ruby reads back unchanged."""
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def shell_value(value: object) -> str:
    """Return a value's text as one shell word, quoted only where it has to be."""
    text = str(value)
    if PLAIN_SHELL.fullmatch(text):
        return text
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


def one_line(text: str) -> str:
    """Return a text whose line ends and control characters are blanks, for a comment."""
    return "".join(char if char.isprintable() else " " for char in text)


@cache
def _environment() -> Environment:
    environment = Environment(  # noqa: S701 -- config files, not HTML; filters quote each language
        loader=FunctionLoader(read_text),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "ruby": ruby,
        "shell_value": shell_value,
        "one_line": one_line,
        "base64": lambda content: base64.encodebytes(content).decode("ascii"),
        "sha256": lambda content: hashlib.sha256(content).hexdigest(),
    }
    return environment
