from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.packstack import TRANSCRIPTS

if TYPE_CHECKING:
    from tests.support.commandline import Run

OUTPUT = str(TRANSCRIPTS / "keystone-auth" / "output.log")


def test_known_failure_is_told_with_cause_remedy_and_words(run: Run) -> None:
    ended = run("explain", OUTPUT)
    assert ended.code == 0
    assert ended.out.startswith("Cause: Keystone refuses Packstack's own credentials")
    assert "  Remedy: 'labkit restore pre-packstack'" in ended.out
    assert "Known: on 172.16.208.39; why, as mostly; 'keystone-auth' from" in ended.out
    assert "Could not authenticate" in ended.out.split("Its words:\n")[1]
    assert "172.16.208.39_controller.pp.log on the controller; give labkit that file" in ended.err


def test_unknown_failure_exits_with_1_and_shows_its_words(run: Run) -> None:
    ended = run("explain", str(TRANSCRIPTS / "unknown-script" / "output.log"))
    assert ended.code == 1
    assert "something that nobody has seen before" in ended.out


@pytest.mark.parametrize(("name", "words"), [("allinone", "no failure is in it; it was taken for Packstack's output"), ("killed", "the output ends before Packstack does, at 'Preparing Keystone entries'")])  # fmt: skip
def test_text_without_a_failure_says_so_and_exits_with_0(run: Run, name: str, words: str) -> None:
    ended = run("explain", str(TRANSCRIPTS / name / "output.log"))
    assert ended.code == 0
    assert words in ended.err


def test_json_has_every_failure_with_what_is_known_of_it(run: Run) -> None:
    ended = run("explain", OUTPUT, "--json")
    (found,) = json.loads(ended.out)["failures"]
    assert (found["id"], found["host"]) == ("keystone-auth", "172.16.208.39")
    assert set(found) >= {"cause", "remedy", "certainty", "source", "seen"}


def test_standard_input_is_read_for_a_dash(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.TextIOWrapper(io.BytesIO(Path(OUTPUT).read_bytes()))
    monkeypatch.setattr(sys, "stdin", piped)
    assert "Keystone refuses" in run("explain", "-").out


def test_files_that_cannot_be_read_are_all_named(run: Run) -> None:
    Path("directory").mkdir()
    ended = run("explain", "missing.log", "directory", OUTPUT)
    assert (ended.code, ended.out) == (2, "")
    assert "missing.log: No such file or directory" in ended.err
    assert "directory: Is a directory" in ended.err


def test_explain_without_a_file_is_a_wrong_command_line(run: Run) -> None:
    assert run("explain").code == 2


def test_end_of_a_huge_file_is_what_counts(run: Run) -> None:
    noise = (b"x" * 99_999 + b"\n") * 60
    Path("huge.log").write_bytes(noise + Path(OUTPUT).read_bytes())
    assert "Keystone refuses" in run("explain", "huge.log").out
