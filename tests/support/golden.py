"""Golden files: the expected text of everything labkit generates, reviewed as a diff."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Compares generated files with those under tests/data/golden.

    Attributes:
        regenerate: Write the files instead of comparing (`pytest --regenerate`).
    """

    regenerate: bool

    def check(self, directory: str, texts: Mapping[str, str]) -> None:
        """Assert that a directory holds exactly these files with exactly these texts."""
        root = GOLDEN / directory
        if self.regenerate:
            shutil.rmtree(root, ignore_errors=True)
            for name, text in texts.items():
                target = root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(text.encode())
        held = {
            path.relative_to(root).as_posix(): path.read_bytes().decode()
            for path in root.rglob("*")
            if path.is_file()
        }
        assert sorted(held) == sorted(texts), f"other files than expected in {root}"
        for name, text in texts.items():
            assert text == held[name], f"{root / name} differs; see 'pytest --regenerate'"
