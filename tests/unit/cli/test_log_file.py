from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from labkit.cli import log_file as logfile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_logger() -> Iterator[None]:
    logger = logging.getLogger("labkit")
    before, level = list(logger.handlers), logger.level
    yield
    for handler in logger.handlers[:]:
        if handler not in before:
            logger.removeHandler(handler)
            handler.close()
    logger.setLevel(level)


def test_log_holds_debug_records_of_every_module(tmp_path: Path) -> None:
    path = logfile.start(tmp_path / "logs", "up")
    logging.getLogger("labkit.host.process").debug("run: %s", "vagrant up")
    text = path.read_text(encoding="utf-8")
    assert text.endswith("DEBUG MainThread labkit.host.process: run: vagrant up\n")


def test_log_name_carries_time_and_verb(tmp_path: Path) -> None:
    path = logfile.start(tmp_path, "destroy")
    assert path.name.endswith("-destroy.log")
    assert path.name[:8].isdigit()


def test_log_file_is_not_made_before_something_is_written(tmp_path: Path) -> None:
    assert not logfile.start(tmp_path, "up").exists()


def test_old_logs_are_removed_and_other_files_stay(tmp_path: Path) -> None:
    other = [tmp_path / "vagrant.log", tmp_path / "controller.console.log"]
    logs = [tmp_path / f"20260101T0000{i:02d}Z-77-up.log" for i in range(40)]
    for path in (*other, *logs):
        path.write_text("x")
    new = logfile.start(tmp_path, "up")
    logging.getLogger("labkit").debug("hello")
    left = sorted(path for path in tmp_path.glob("*Z-*-up.log") if path != new)
    assert left == logs[-logfile.KEPT :]
    assert all(path.exists() for path in other)
