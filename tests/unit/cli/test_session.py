from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import pytest

from labkit.cli.session import KEPT, LogFile, start_log
from labkit.state.directory import LabDirectory
from labkit.state.lock import lab_lock


@pytest.fixture
def directory(tmp_path: Path) -> LabDirectory:
    found = LabDirectory(tmp_path / "demo")
    found.create()
    return found


def test_log_holds_debug_records_of_every_module_those_before_the_lab_was_held_too(
    directory: LabDirectory,
) -> None:
    handler = start_log(directory.logs, "up")
    logging.getLogger("labkit.host.process").debug("run: %s", "early")
    assert handler.path == ""
    with lab_lock(directory, "up"):
        logging.getLogger("labkit.host.process").debug("run: %s", "vagrant up")
    lines = Path(handler.path).read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("DEBUG MainThread labkit.host.process: run: early")
    assert lines[-1].endswith("DEBUG MainThread labkit.host.process: run: vagrant up")


def test_log_name_carries_time_and_verb(directory: LabDirectory) -> None:
    handler = start_log(directory.logs, "destroy")
    with lab_lock(directory, "destroy"):
        name = Path(handler.path).name
    assert name.endswith("-destroy.log")
    assert name[:8].isdigit()


def test_log_of_a_command_that_never_held_the_lab_is_no_file(directory: LabDirectory) -> None:
    handler = start_log(directory.logs, "up")
    logging.getLogger("labkit").warning("refused")
    assert list(directory.logs.iterdir()) == []
    assert handler.path == ""


def test_log_of_a_lab_without_directory_makes_none(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    start_log(directory.logs, "halt")
    with lab_lock(directory, "halt"):
        logging.getLogger("labkit").warning("hello")
        assert not directory.logs.exists()
    assert list(tmp_path.iterdir()) == []


def test_old_logs_are_removed_and_other_files_stay(directory: LabDirectory) -> None:
    logs = directory.logs
    other = [logs / "vagrant.log", logs / "controller.console.log"]
    old = [logs / f"20260101T0000{i:02d}Z-77-up.log" for i in range(40)]
    for path in (*other, *old):
        path.write_text("x")
    start_log(logs, "up")
    with lab_lock(directory, "up"):
        pass
    left = sorted(logs.glob("*Z-*-up.log"))
    assert left[:-1] == old[1 - KEPT :]
    assert len(left) == KEPT
    assert all(path.exists() for path in other)


def test_log_on_a_full_disk_stops_nothing_and_says_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = LogFile(Path("/dev/full"), awaited="labkit.test")
    logger = logging.getLogger("labkit.test")
    logger.addHandler(handler)
    try:
        logger.warning("hello")
        logger.warning("again")
        assert handler.path == "/dev/full", "it was never opened"
    finally:
        logger.removeHandler(handler)
        with suppress(OSError):
            handler.close()
    assert "hello" not in capsys.readouterr().err


def test_log_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.log").mkdir()
    handler = LogFile(tmp_path / "a.log", awaited="labkit.test")
    logger = logging.getLogger("labkit.test")
    logger.addHandler(handler)
    try:
        logger.warning("hello")
    finally:
        logger.removeHandler(handler)
    assert handler.path == ""


def test_log_record_that_is_a_mistake_is_not_passed_over(
    directory: LabDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = start_log(directory.logs, "up")
    wrong = logging.LogRecord("labkit", logging.INFO, "", 1, "%d", ("no number",), None)
    with lab_lock(directory, "up"):
        handler.handle(wrong)
    assert "TypeError" in capsys.readouterr().err
