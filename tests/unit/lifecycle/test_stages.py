from __future__ import annotations

import errno
from typing import NoReturn

import pytest

from labkit.errors import OperationError, TimeOver
from labkit.lifecycle.stages import Stages, told


def fail() -> NoReturn:
    message = "It broke."
    raise OperationError(message, details=("because",), hint="mend it")


def test_stage_keeps_its_result_or_its_error_and_raises_it() -> None:
    stages = Stages()
    stages.run("up", lambda: "changed")
    with pytest.raises(OperationError):
        stages.run("deploy", fail)
    first, second = stages.ended
    assert (first.name, first.result, first.error) == ("up", "changed", "")
    assert second.error == "It broke.\nbecause\nhint: mend it"
    assert first.seconds >= 0
    assert (stages.failed, Stages().failed) == (True, False)
    assert [(name, text) for name, _, text in stages.rows()] == [
        ("up", "changed"),
        ("deploy", "It broke."),
        ("total", ""),
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (TimeOver(OperationError("It took too long.")), "It took too long."),
        (ValueError("x"), "ValueError('x')"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space is left for what labkit"),
    ],
)
def test_error_of_a_stage_is_told_whatever_it_is(error: BaseException, text: str) -> None:
    assert told(error).startswith(text)
