"""What several tests of boxes begin with."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.boxtree import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what boxes are made from, to be changed at will."""
    for name in ("boxes", "kickstart"):
        shutil.copytree(CHECKOUT / name, tmp_path / "tree" / name)
    return tmp_path / "tree"
