from __future__ import annotations

from pathlib import Path, PosixPath
from uuid import uuid4

import pytest

from labkit.errors import OperationError
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
    for each in (first, second):
        each.create()
        each.clear()
    first.remove_if_bare()
    assert second.path.is_dir()
    second.remove_if_bare()
    assert list(tmp_path.iterdir()) == []


class Racing(PosixPath):
    """As if another labkit came between the look into `.labkit` and its removal."""

    __slots__ = ()

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 -- pathlib's own
        if self.name == ".gitignore":
            LabDirectory(Path(self.with_name("b"))).create()
        super().unlink(missing_ok)


def test_removal_leaves_what_another_labkit_is_just_making(tmp_path: Path) -> None:
    first = LabDirectory(Racing(tmp_path / ".labkit" / "a"))
    first.create()
    first.clear()

    first.remove_if_bare()

    assert not first.path.exists()
    assert (tmp_path / ".labkit" / "b" / "keys").is_dir()
    assert (tmp_path / ".labkit" / ".gitignore").read_text(encoding="utf-8") == "*\n"


def test_removal_leaves_a_directory_with_anything_in_it(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / ".labkit" / "a")
    directory.create()
    directory.lock.touch()
    directory.remove_if_bare()
    assert directory.lock.exists()


def test_clearing_leaves_the_lock_to_whoever_holds_it(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / ".labkit" / "a")
    directory.create()
    directory.lock.touch()
    (directory.path / "link").symlink_to(tmp_path)
    directory.save(LabState(lab="a", lab_id=uuid4()))
    directory.clear()
    assert list(directory.path.iterdir()) == [directory.lock]
    assert tmp_path.is_dir()


def test_clearing_goes_on_where_something_stays_and_says_what(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "a")
    directory.create()
    gone = directory.path / "gone"
    gone.touch()

    class Stubborn(LabDirectory):
        def _content(self) -> set[Path]:
            # The kernel takes no name as long as this one.
            return {directory.path / ("a" * 300), *super()._content()}

    with pytest.raises(OSError, match="too long"):
        Stubborn(directory.path).clear()
    assert not gone.exists()


def test_directory_the_user_named_is_not_told_what_git_is_to_ignore(tmp_path: Path) -> None:
    LabDirectory(tmp_path / "demo").create()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
