from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.errors import UsageError
from labkit.lifecycle.teardown import destroy_by_name
from labkit.state.directory import LabDirectory, LabState, path_lab_id
from labkit.state.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

from tests.fakes.tools import tools


def test_destroy_by_an_unknown_name_says_which_labs_are_on_record(tmp_path: Path) -> None:
    known = LabDirectory(tmp_path / "packstack")
    known.create()
    known.save(LabState(lab="packstack", lab_id=path_lab_id(known.path)))
    with pytest.raises(UsageError, match=r"No lab 'other' is on record in .*; found 'packstack'"):
        destroy_by_name(
            "other",
            LabDirectory(tmp_path / "other"),
            lambda _event: None,
            registry=Registry(tmp_path / "records"),
            tools=tools(),
        )


@pytest.mark.parametrize("name", ["..", ".", "a/b", "Big", ""])
def test_destroy_by_a_name_no_lab_can_have_touches_nothing(tmp_path: Path, name: str) -> None:
    inside = LabDirectory(tmp_path / "labs" / name)
    (tmp_path / "labs" / "a" / "b").mkdir(parents=True)
    (tmp_path / "labs" / "Big").mkdir()
    inside.path.mkdir(parents=True, exist_ok=True)
    inside.state_file.write_text("{}")
    with pytest.raises(UsageError):
        destroy_by_name(
            name,
            inside,
            lambda _event: None,
            registry=Registry(tmp_path / "records"),
            tools=tools(),
        )
    assert inside.state_file.exists()
