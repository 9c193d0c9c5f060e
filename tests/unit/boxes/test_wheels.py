"""What is said of Python packages that could not be had; the words are pip's."""

from __future__ import annotations

import pytest

from labkit.boxes import wheels
from labkit.errors import CommandError, HostError


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/usr/bin/python3: No module named pip", "this Python has no pip"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "another file",
        ),
        ("OSError: [Errno 28] No space left on device", "disk ran full"),
        ("ERROR: No matching distribution found; Max retries exceeded", "could not be downloaded"),
    ],
)
def test_failure_of_pip_is_a_sentence_with_a_way_out(line: str, told: str) -> None:
    found = wheels.explain_failure("some", CommandError("'pip' exited with 1.", details=(line,)))
    assert isinstance(found, HostError)
    assert told in found.message
    assert found.hint


def test_failure_of_pip_that_is_not_known_keeps_its_words() -> None:
    found = wheels.explain_failure("some", CommandError("'pip' exited with 2.", details=("odd",)))
    assert isinstance(found, CommandError)
    assert "'pip' exited with 2." in found.message
    assert found.details == ("odd",)
