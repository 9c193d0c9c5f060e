from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.snapshots.plan import HABITS, require_one_name


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["list"], "labkit snapshots"),
        (["save", "x"], "labkit snapshot x"),
        (["push"], "labkit snapshot NAME"),
        (["take", "x"], "labkit snapshot x"),
        (["delete", "x"], "labkit snapshot --delete x"),
        (["pop"], "labkit restore NAME"),
        (["restore", "x", "y"], "labkit restore x"),
    ],
)
def test_word_of_another_tool_is_answered_by_the_command_that_is_meant(
    words: list[str], command: str
) -> None:
    with pytest.raises(UsageError, match=f"'{words[0]}' is not taken") as caught:
        require_one_name(words)
    assert caught.value.hint == f"Run '{command}'."


def test_several_words_are_no_name() -> None:
    with pytest.raises(UsageError, match="one name; found 2 words: before, packstack"):
        require_one_name(["before", "packstack"])


@pytest.mark.parametrize("word", ["pre-packstack", "saved", "list-1"])
def test_other_word_is_a_name(word: str) -> None:
    assert word not in HABITS
    require_one_name([word])
