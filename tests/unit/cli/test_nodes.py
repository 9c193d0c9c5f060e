from __future__ import annotations

import pytest

from labkit.cli.nodes import own_words


@pytest.mark.parametrize(
    ("words", "own"),
    [
        ("controller ls -l", 0),
        ("-l lab2.yaml controller ls -l", 2),
        ("--lab=x -L8080:localhost:80 controller", 1),
        ("--lab x -t controller", 2),
        ("--help", 1),
        ("-l", 1),
        ("", 0),
    ],
)
def test_own_words_end_at_the_first_that_is_not_labkits(words: str, own: int) -> None:
    assert own_words(words.split()) == own
