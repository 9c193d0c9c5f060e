"""Golden files: the expected text of everything labkit generates, reviewed as a diff."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Compares generated files with a text under tests/data/golden that has them all.

    Attributes:
        regenerate: Write the text instead of comparing (`pytest --regenerate`).
    """

    regenerate: bool

    def check(self, name: str, texts: Mapping[str, str]) -> None:
        """Assert that exactly these files are in a golden text; equal ones are there once."""
        paths: dict[str, list[str]] = {}
        for path, text in texts.items():
            paths.setdefault(text, []).append(f"==== {path}\n")
        found = "".join("".join(headings) + text for text, headings in paths.items())
        file = GOLDEN / f"{name}.txt"
        if self.regenerate:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(found.encode())
        assert found == file.read_bytes().decode(), f"{file} differs; see 'pytest --regenerate'"
