from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from labkit.lab.file import json_schema, load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commandline import Run


def test_init_writes_a_lab_file_and_its_schema(run: Run, tmp_path: Path) -> None:
    ended = run("init", "demo", "--computes", "3", "--box", "rehearsal")
    assert ended.code == 0, ended.err
    assert [*load(tmp_path / "demo" / "lab.yaml").nodes][1:] == [
        "compute1",
        "compute2",
        "compute3",
    ]
    schema = json.loads((tmp_path / "demo" / "lab.schema.json").read_text(encoding="utf-8"))
    assert schema == json_schema()
    assert "next: 'cd demo', 'labkit doctor', 'labkit up'" in ended.err


@pytest.mark.parametrize("name", ["lab.yaml", "lab.schema.json"])
def test_init_leaves_a_file_that_is_there(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    ended = run("init")
    assert ended.code == 2
    assert f"'{name}' exists already" in ended.err
    assert [(file.name, file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [
        (name, "mine")
    ]


def test_init_leaves_a_link_that_leads_nowhere(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").symlink_to("nowhere")
    assert run("init").code == 2
    assert [file.name for file in tmp_path.iterdir()] == ["lab.yaml"]


def test_init_in_a_dry_run_prints_the_file_alone(run: Run, tmp_path: Path) -> None:
    ended = run("init", "demo", "--dry-run")
    assert "name: demo\n" in ended.out
    assert list(tmp_path.iterdir()) == []


def test_lab_file_is_looked_for_in_the_directories_above(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("init")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert f"{tmp_path}/lab.yaml: valid" in run("validate").out
    assert "'lab.yaml' does not exist" in run("validate", "--lab", "lab.yaml").err


@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_lab_file_of_a_directory_that_is_everybodys_is_not_taken(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    run("init")
    below = tmp_path / "a"
    below.mkdir()
    tmp_path.chmod(mode)
    monkeypatch.chdir(below)
    ended = run("validate")
    assert ended.code == 2
    assert "does not exist" in ended.err
