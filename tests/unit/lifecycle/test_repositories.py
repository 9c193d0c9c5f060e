from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from labkit.cli.app import add_verbs, app
from labkit.cli.documents import ReportedError
from labkit.errors import HostError
from labkit.host.http import HttpAnswer
from labkit.lab.topology import Release
from labkit.lifecycle.repositories import (
    IN_THE_BOX,
    RepositoryAnswer,
    ask_all,
    chosen_place,
    nothing_answers,
    problem,
)
from tests.fakes.mirror import mirroring
from tests.support import examples

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://vault.example/7.9.2009/os/x86_64/repodata/repomd.xml"


def answer(place: str, *, usable: bool, said: str = "ok") -> RepositoryAnswer:
    return RepositoryAnswer(
        place=place, repository="base", url=URL, usable=usable, said=said, seconds=0.1
    )


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (HttpAnswer(status=200, body=b"<?xml?><repomd/>"), ""),
        (HttpAnswer(status=200, body=b"<html>"), "answered something that is no repomd.xml"),
        (HttpAnswer(status=404), "answered 404"),
        (HttpAnswer(status=None, error="refused"), "no answer: refused"),
        (
            HttpAnswer(status=301, location="https://u:p@h.example/x"),
            "301 to https://***@h.example/x, which yum does not follow",
        ),
    ],
)
def test_answer_is_judged_as_yum_would(got: HttpAnswer, expected: str) -> None:
    assert problem(URL, got) == expected


def test_chosen_place_is_the_first_with_everything() -> None:
    answers = [
        answer("a", usable=True),
        answer("a", usable=False),
        answer("b", usable=True),
        answer("c", usable=True),
    ]
    assert chosen_place(answers) == "b"
    assert chosen_place(answers[:2]) is None


@pytest.fixture
def stand_in_lab(tmp_path: Path) -> Path:
    file = tmp_path / "lab.yaml"
    text = (examples.ROOT / "lab.yaml").read_text(encoding="utf-8")
    file.write_text(f"{text}\nrepos:\n  base: http://127.0.0.1:9/nobody\n  fallbacks: []\n")
    return file


def test_doctor_asks_nobody_for_what_a_stand_in_box_brings(stand_in_lab: Path) -> None:
    add_verbs()
    words = ["doctor", "--repos", "--json", "--lab", str(stand_in_lab)]
    done = CliRunner().invoke(app, [*words, "--box", "rehearsal"])
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["chosen"] == "http://127.0.0.1:8088/centos/7.9.2009"
    assert {item["said"] for item in told["repositories"]} == {IN_THE_BOX}
    with pytest.raises(ReportedError, match="Not a single server answers") as caught:
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert isinstance(caught.value.error, HostError)


def test_nothing_answers_only_when_nobody_does() -> None:
    silent = answer("a", usable=False, said="no answer: refused")
    assert nothing_answers([silent, silent])
    assert not nothing_answers([silent, answer("a", usable=False, said="answered 404")])


def test_every_file_of_a_place_is_asked_for_once() -> None:
    with mirroring() as mirror:
        wanted = replace(examples.example("packstack").repositories, bases=(mirror.url,))
        answers = ask_all(wanted, Release.QUEENS)
    assert all(each.usable for each in answers)
    assert len(answers) == len(mirror.requests) == len({*mirror.requests})
    assert any(path.endswith("primary.xml.gz") for path in mirror.requests)
