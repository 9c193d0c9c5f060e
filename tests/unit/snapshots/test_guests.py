from __future__ import annotations

import pytest

from labkit.errors import OperationError
from labkit.snapshots.guests import ProbeAnswer, read_probe


@pytest.mark.parametrize(
    ("clock", "off", "shift"),
    [
        ("1000.5", 0.0, 0.0),
        ("1000,5", 0.0, 0.0),  # bash writes EPOCHREALTIME with the locale's separator
        ("998.0", 2.0, 2.5),
        ("1004.25", 3.25, -3.75),
        ("827200.0", 826199.0, -826199.5),
    ],
)
def test_probe_clock_is_compared_with_before_and_after(
    clock: str, off: float, shift: float
) -> None:
    told = f"nonce old\nnonce 674131e3-cddc\nclock {clock}\n"

    assert read_probe(told, node="one", before=1000.0, after=1001.0) == ProbeAnswer(
        nonces=("old", "674131e3-cddc"), off=off, shift=shift
    )


@pytest.mark.parametrize("told", ["", "clock\n", "nonce x\nclock soon\n"])
def test_probe_without_a_time_is_an_error(told: str) -> None:
    with pytest.raises(OperationError, match="should have told its time"):
        read_probe(told, node="one", before=1000.0, after=1001.0)
