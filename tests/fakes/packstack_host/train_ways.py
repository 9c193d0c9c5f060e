"""What Packstack 15.1.0 finds otherwise on a Python of today than on the Python 2 of CentOS 7.

It is written for both Pythons; left are a parser that reads answer files differently and a module
that is gone. Imported before Packstack.
"""

from __future__ import annotations

import configparser
import shlex
import sys
import types

import python2_ways


class ConfigParser(python2_ways.ConfigParser):  # type: ignore[misc]  # mypy does not see it
    """Python 2's RawConfigParser, with which `%(` is text (installer/run_setup.py)."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **{"interpolation": configparser.Interpolation(), **options})


def install() -> None:
    """Give Python these ways."""
    configparser.RawConfigParser = ConfigParser  # type: ignore[misc]  # for those who import it
    # Gone in Python 3.13 (installer/utils/shell.py).
    pipes = types.ModuleType("pipes")
    pipes.quote = shlex.quote  # type: ignore[attr-defined]  # made just now
    sys.modules["pipes"] = pipes
