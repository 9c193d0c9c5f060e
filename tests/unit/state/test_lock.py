from __future__ import annotations

import json
import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock, Timeout

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


def test_lock_on_a_full_disk_is_held_all_the_same(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    directory.path.mkdir()
    (directory.path / "lock.holder").symlink_to("/dev/full")
    with (
        lab_lock(directory, "destroy"),
        pytest.raises(Timeout),
        FileLock(directory.lock, timeout=0),
    ):
        pass


def test_lock_of_a_lab_of_which_nothing_is_left_leaves_nothing(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / ".labkit" / "demo")
    with pytest.raises(ValueError, match="refused"), lab_lock(directory, "snapshot"):
        raise ValueError("refused")  # noqa: EM101 -- whatever ends the verb
    assert list(tmp_path.iterdir()) == []


def test_lock_of_a_lab_that_is_there_leaves_it(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / ".labkit" / "demo")
    with lab_lock(directory, "up"):
        directory.create()
    assert directory.lock.exists()
    assert directory.keys.is_dir()


def test_lock_is_made_anew_when_the_lab_before_goes_meanwhile(tmp_path: Path) -> None:
    class Vanishing(LabDirectory):
        """As if another labkit removed `.labkit` while this one made its lab in there."""

        def make(self) -> None:
            made.append(self.path)
            if len(made) < 3:
                raise FileNotFoundError(self.path)
            super().make()

    made: list[Path] = []
    directory = Vanishing(tmp_path / ".labkit" / "demo")
    with lab_lock(directory, "up"):
        assert directory.lock.exists()
    assert len(made) == 3


def test_lock_that_may_not_be_opened_is_an_error_of_its_file(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    directory.lock.mkdir(parents=True)
    with pytest.raises(IsADirectoryError), lab_lock(directory, "up"):
        pass
