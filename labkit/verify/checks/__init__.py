"""The checks of `labkit verify`, one module per area, found by listing this package.

A check is a function under `labkit.verify.check.check`; a new one needs no list edited.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from labkit.verify.check import Check


@cache
def all_checks() -> tuple[Check, ...]:
    """Return every check: modules in order of name, checks in order of definition."""
    modules = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return tuple(
        value
        for name in modules
        for value in vars(importlib.import_module(f"{__name__}.{name}")).values()
        if isinstance(value, Check)
    )
