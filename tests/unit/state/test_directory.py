from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from labkit.errors import OperationError
from labkit.host.files import write_atomically
from labkit.state.directory import LabDirectory, LabState, NodeState, lab_directory, path_lab_id


def test_directory_lies_beside_the_lab_file(tmp_path: Path) -> None:
    found = lab_directory(tmp_path / "lab.yaml", "demo", {})
    assert found.path == tmp_path / ".labkit" / "demo"


def test_directory_follows_the_environment(tmp_path: Path) -> None:
    found = lab_directory(tmp_path / "lab.yaml", "demo", {"LABKIT_STATE_DIR": "/elsewhere"})
    assert found.path == Path("/elsewhere/demo")


def test_state_survives_saving_and_loading(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    directory.create()
    state = LabState(lab="demo", lab_id=uuid4(), volumes=("a",)).with_node(
        "controller", NodeState(created=True, spec="s", seed="i")
    )
    directory.save(state)
    assert directory.load("demo") == state


def test_state_when_lost_still_has_the_same_lab_id(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    assert directory.load("demo").lab_id == directory.load("demo").lab_id
    assert directory.load("demo").lab_id == path_lab_id(tmp_path / "demo")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 9}', "\x00"])
def test_state_when_damaged_is_named_with_a_remedy(tmp_path: Path, text: str) -> None:
    directory = LabDirectory(tmp_path / "demo")
    directory.create()
    directory.state_file.write_text(text, encoding="utf-8")
    with pytest.raises(OperationError) as caught:
        directory.load("demo")
    assert str(directory.state_file) in caught.value.message
    assert "Remove" in caught.value.hint


def test_keys_directory_is_for_the_owner_alone(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    directory.create()
    assert directory.keys.stat().st_mode & 0o777 == 0o700


def test_removal_takes_the_last_lab_s_parent_too(tmp_path: Path) -> None:
    first, second = (LabDirectory(tmp_path / ".labkit" / name) for name in ("a", "b"))
    first.create()
    second.create()
    first.remove()
    assert second.path.is_dir()
    second.remove()
    assert list(tmp_path.iterdir()) == []


def test_atomic_write_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(target, "\udc80")
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_atomic_write_sets_the_mode(tmp_path: Path) -> None:
    write_atomically(tmp_path / "secret", "x", mode=0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
