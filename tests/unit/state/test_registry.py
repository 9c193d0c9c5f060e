from __future__ import annotations

import logging
import platform
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from labkit.state.directory import LabDirectory, LabState, NodeState
from labkit.state.registry import Record, Registry, user_registry
from tests.support.labs import LAB_ID

DIRECTORY = LabDirectory(Path("/srv/labs/.labkit/demo"))
STATE = LabState(
    lab="demo",
    lab_id=LAB_ID,
    nodes={"controller": NodeState()},
    networks=("lan",),
    volumes=("demo_controller.img",),
)


def test_registry_entered_lab_is_found_with_all_it_has_claimed(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "state" / "labs")

    registry.enter(DIRECTORY, STATE)

    found = registry.find(LAB_ID)
    assert found is not None
    assert (found.directory, found.state) == (DIRECTORY.path, STATE)
    assert registry.records() == ((found,), ())
    assert registry.path.stat().st_mode & 0o777 == 0o700


def test_registry_lab_entered_again_has_its_latest_state(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    renewed = STATE.model_copy(update={"expires": datetime(2027, 1, 1, tzinfo=UTC)})
    registry.enter(DIRECTORY, STATE)

    registry.enter(DIRECTORY, renewed)

    assert [each.state for each in registry.records()[0]] == [renewed]


def test_registry_forgotten_lab_is_gone_and_forgetting_again_does_no_harm(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.enter(DIRECTORY, STATE)
    other = STATE.model_copy(update={"lab_id": uuid4()})
    registry.enter(DIRECTORY, other)

    registry.forget(LAB_ID)
    registry.forget(LAB_ID)

    assert [each.state for each in registry.records()[0]] == [other]


def test_registry_never_used_has_no_records(tmp_path: Path) -> None:
    assert Registry(tmp_path / "none").records() == ((), ())
    assert Registry(tmp_path / "none").find(uuid4()) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 9}', "\x00", '{"version": 1, "directory": 3}']
)
def test_registry_damaged_record_is_named_and_hides_no_other(tmp_path: Path, text: str) -> None:
    registry = Registry(tmp_path)
    registry.enter(DIRECTORY, STATE)
    damaged = tmp_path / f"{uuid4()}.json"
    damaged.write_text(text, encoding="utf-8")

    records, files = registry.records()

    assert [each.state for each in records] == [STATE]
    assert files == (damaged,)


def test_registry_that_cannot_be_written_is_logged_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    registry = Registry(blocked / "labs")

    with caplog.at_level(logging.WARNING, logger="labkit"):
        registry.enter(DIRECTORY, STATE)
        registry.forget(LAB_ID)

    assert "is not on record" in caplog.text
    assert registry.records() == ((), ())


def test_registry_lends_a_lab_without_directory_one_with_its_state(tmp_path: Path) -> None:
    record = Record(directory=Path("/gone/demo"), state=STATE)

    lent = Registry(tmp_path).stand_in_directory(record)

    assert lent.load("demo") == STATE
    assert tmp_path in lent.path.parents
    assert not Path("/gone").exists()


def test_registry_of_the_user_follows_the_environment_and_is_this_host_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    assert user_registry().path == tmp_path / "labkit" / "labs" / platform.node()
