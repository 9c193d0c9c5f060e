"""Modules and files that programs in strings, comments and pages name are there.

A move of modules changes imports; what a text says of a module nothing else would notice.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMPORT = re.compile(r"\bfrom ((?:labkit|tests)[\w.]*) import (\w+)")
MODULE = re.compile(r"-m ((?:labkit|tests)\.[\w.]+\w)")
FILE = re.compile(r"(?<![\w/])(?:labkit|tests)/[\w/]+\.py\b")
# A page's word for any scenario.
PLACEHOLDERS = ("labkit/lab/scenarios/NAME.py",)


def texts() -> Iterator[Path]:
    for top, suffix in (("labkit", ".py"), ("tests", ".py"), ("docs", ".md")):
        yield from (ROOT / top).rglob(f"*{suffix}")
    yield from (ROOT / name for name in ("README.md", "Makefile", "pyproject.toml"))


def missing(text: str) -> list[str]:
    """Return what a text names and is not there."""
    names = [f"{module}.{name}" for module, name in IMPORT.findall(text)]
    wrong = [name for name in (*names, *MODULE.findall(text)) if not found(name)]
    files = [name for name in FILE.findall(text) if name not in PLACEHOLDERS]
    return wrong + [name for name in files if not (ROOT / name).is_file()]


def found(name: str) -> bool:
    """Return whether there is such a module, or such a name in one."""
    module, _, last = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), last) or bool(
            importlib.import_module(name)
        )
    except ImportError:
        return False


@pytest.mark.parametrize(
    "text",
    [
        "from labkit.hypervisor import connect",
        "from labkit.host.libvirt.connection import disconnect",
        "python -m tests.bench.engines",
        "see `labkit/bzimage.py`",
    ],
)
def test_what_is_not_there_is_found(text: str) -> None:
    assert missing(text)


def test_every_text_names_what_is_there() -> None:
    here = ROOT / "tests/unit/test_names_in_texts.py"
    wrong = {
        str(path.relative_to(ROOT)): names
        for path in texts()
        if path != here and (names := missing(path.read_text(encoding="utf-8")))
    }
    assert wrong == {}
