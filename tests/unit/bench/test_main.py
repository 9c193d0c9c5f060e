from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from labkit.host.process import run
from tests.support.documentation import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_picture_of_another_part_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    argv = [sys.executable, "-P", "-m", "tests.bench", "--only", "host", "--picture", "a.svg"]
    env = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}
    done = run(argv, timeout=30, cwd=tmp_path, env=env, check=False)
    assert done.returncode == 2
    assert "say --only nodes" in done.stderr
    assert list(tmp_path.iterdir()) == []
