from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from labkit.box_places import box_names
from labkit.cli.completion import LOGS
from labkit.host.process import run
from labkit.packstack.logs import JOBS
from labkit.snapshots.record import Shelf
from labkit.state.directory import LabState, lab_directory
from tests.support import labs
from tests.support.boxtree import add_box
from tests.support.documentation import ROOT
from tests.support.snapshot_records import record

if TYPE_CHECKING:
    from pathlib import Path


def offered(line: str, directory: Path) -> list[str]:
    """Return what bash is offered at the end of a line, as its own completion asks for it."""
    words = line.split(" ")
    env = {
        "_LABKIT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
    }
    script = "from labkit.cli.app import main; import sys; sys.argv[0] = 'labkit'; main()"
    argv = [sys.executable, "-P", "-c", script]
    return run(argv, timeout=20, cwd=directory, env=env).stdout.split()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    lab = tmp_path / "lab.yaml"
    lab.write_text((ROOT / "lab.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    shelf = Shelf(lab_directory(lab, "packstack", {}).snapshots)
    for name in ("pre-packstack", "later"):
        shelf.publish(record(labs.lab(), name))
    below = tmp_path / "below"
    below.mkdir()
    return below


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("labkit ssh ", ["compute", "controller"]),
        ("labkit console con", ["controller"]),
        ("labkit recreate compute con", ["controller"]),
        ("labkit logs --node comp", ["compute"]),
        ("labkit restore ", ["later", "pre-packstack"]),
        ("labkit run --from p", ["pre-packstack"]),
        ("labkit up --box ", sorted(box_names())),
        ("labkit init --scenario mu", ["multinode"]),
        ("labkit logs ", ["deploy", "prepare"]),
        ("labkit snapsh", ["snapshot", "snapshots"]),
    ],
)
def test_names_are_offered_in_a_directory_below_the_labs(
    directory: Path, line: str, expected: list[str]
) -> None:
    assert offered(line, directory) == expected


def test_boxes_beside_the_lab_file_are_offered(directory: Path) -> None:
    add_box(directory.parent, "mine")
    for line in ("labkit up --box m", "labkit box build m", "labkit init --box m"):
        assert offered(line, directory) == ["mine"], line


def test_labs_whose_file_is_gone_are_offered_for_their_removal(directory: Path) -> None:
    gone = lab_directory(directory.parent / "lab.yaml", "gone", {})
    gone.create()
    gone.save(LabState(lab="gone", lab_id=labs.LAB_ID))
    assert offered("labkit destroy --name ", directory) == ["gone"]


def test_nothing_is_offered_and_nothing_printed_without_a_lab_file(tmp_path: Path) -> None:
    assert offered("labkit ssh ", tmp_path) == []


def test_offered_logs_are_those_there_are() -> None:
    assert tuple(JOBS) == LOGS
