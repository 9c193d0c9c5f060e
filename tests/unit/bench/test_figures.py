"""How measured figures are held against what is promised."""

from __future__ import annotations

import pytest

from tests.bench.figures import PROMISES, exit_code, judge

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


@pytest.mark.parametrize(("seconds", "code"), [(2.9, 0), (3.1, 1)])
def test_exit_code_is_1_when_one_promise_is_broken(seconds: float, code: int) -> None:
    figures = judge({"up again": [seconds], "seed": [0.1]}, cores=1)
    assert exit_code(figures) == code


def test_exit_code_of_a_promise_that_is_not_judged_here_is_0() -> None:
    assert exit_code(judge(SAMPLES, cores=2)) == 0


def test_sample_nobody_asked_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing is promised about it: idle"):
        judge({"up again": [2.5], "idle": [1.0]}, cores=1)
