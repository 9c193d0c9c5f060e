from __future__ import annotations

import pytest

from labkit.host.http import HttpAnswer
from labkit.lifecycle.repositories import RepositoryAnswer, chosen_place, nothing_answers, problem

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


def test_nothing_answers_only_when_nobody_does() -> None:
    silent = answer("a", usable=False, said="no answer: refused")
    assert nothing_answers([silent, silent])
    assert not nothing_answers([silent, answer("a", usable=False, said="answered 404")])
