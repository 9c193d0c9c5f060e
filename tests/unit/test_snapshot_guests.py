from __future__ import annotations

import math

import pytest

from labkit.snapshots.guests import read_probe


@pytest.mark.parametrize(
    ("clock", "off"),
    [
        ("1000.5", 0.0),
        ("1000,5", 0.0),  # bash writes EPOCHREALTIME with the locale's separator
        ("998.0", 2.0),
        ("1004.25", 3.25),
        ("827200.0", 826199.0),
    ],
)
def test_probe_clock_is_compared_with_before_and_after(clock: str, off: float) -> None:
    answer = f"nonce old\nnonce 674131e3-cddc\nclock {clock}\n"

    assert read_probe(answer, before=1000.0, after=1001.0) == (("old", "674131e3-cddc"), off)


@pytest.mark.parametrize("answer", ["", "clock\n", "clock soon\n"])
def test_probe_without_an_answer_is_infinitely_off(answer: str) -> None:
    assert read_probe(answer, before=1000.0, after=1001.0) == ((), math.inf)
