"""How measured figures are held against what is promised."""

from __future__ import annotations

import pytest

from tests.bench.figures import PROMISES, judge

SAMPLES = {"pause per GiB of four": [2.0, 3.0], "pause per GiB of two": [2.0, 2.0]}


@pytest.mark.parametrize(
    ("fours", "kept"), [([2.0, 2.0], True), ([2.0, 9.0], False), ([9.0, 2.0], False)]
)
def test_ratio_is_one_of_medians_and_held_against_its_bound(
    fours: list[float], *, kept: bool
) -> None:
    (figure,) = judge({**SAMPLES, "pause per GiB of four": fours}, cores=4)
    assert figure.value == sum(fours) / 4
    assert figure.kept is kept


def test_promise_that_needs_more_processors_is_shown_and_not_judged() -> None:
    (figure,) = judge(SAMPLES, cores=2)
    assert figure.kept is None
    assert figure.row()[1:4] == ("1.25", "<= 1.25", "not judged: fewer than 4 processors")


def test_absolute_figure_is_the_best_sample() -> None:
    (figure,) = judge({"up again": [9.0, 2.5]}, cores=1)
    assert (figure.value, figure.kept) == (2.5, True)


def test_promises_have_names_of_their_own() -> None:
    assert len({promise.what for promise in PROMISES}) == len(PROMISES)
