"""`make bench` measures at all: each of its parts once; what it measures is for an idle machine to say."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.build import build
from labkit.boxes.definition import find_box
from labkit.host.files import cache_root
from labkit.host.process import run
from tests.bench.__main__ import PARTS
from tests.support import sandboxes
from tests.support.driver import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 1800.0

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(SECONDS + 60)]


@pytest.fixture(scope="module")
def _boxes() -> None:
    if missing := sandboxes.missing():
        pytest.skip(missing)
    for name in ("rehearsal", "rehearsal-untrimmed"):
        build(find_box(name), cache_root(), lambda _line: None)


@pytest.mark.usefixtures("_boxes")
@pytest.mark.parametrize("part", PARTS)
def test_part_of_the_bench_measures_and_judges_every_figure(part: str, tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    words: list[str | Path] = ["--rounds", "1", "--only", part, "--report", report]
    done = run(
        [sys.executable, "-m", "tests.bench", *words], cwd=ROOT, timeout=SECONDS, check=False
    )
    assert done.returncode in {0, 1}, done.tail()
    assert json.loads(report.read_text(encoding="utf-8"))["figures"]
