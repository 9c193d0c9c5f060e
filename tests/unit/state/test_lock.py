from __future__ import annotations

import json
import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest

from labkit.state.directory import LabDirectory
from labkit.state.lock import LabInUseError, lab_lock

if TYPE_CHECKING:
    from pathlib import Path


def test_lock_when_held_names_the_holder(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    with (
        lab_lock(directory, "up"),
        pytest.raises(LabInUseError) as caught,
        lab_lock(directory, "destroy"),
    ):
        pass
    assert f"'labkit up', process {os.getpid()}" in caught.value.details[0]


def test_lock_when_its_holder_file_is_damaged_still_refuses(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    with lab_lock(directory, "up"):
        (directory.path / "lock.holder").write_text(json.dumps([1]), encoding="utf-8")
        with pytest.raises(LabInUseError) as caught, lab_lock(directory, "up"):
            pass
    assert str(directory.path / "lock") in caught.value.details[0]


def _take_and_die(path: Path) -> None:
    with lab_lock(LabDirectory(path), "up"):
        os._exit(9)


def test_lock_of_a_killed_process_is_free_again(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_take_and_die, args=(tmp_path / "demo",))
    child.start()
    child.join(timeout=30)
    assert child.exitcode == 9
    assert (tmp_path / "demo" / "lock.holder").exists()
    with lab_lock(LabDirectory(tmp_path / "demo"), "up"):
        pass
