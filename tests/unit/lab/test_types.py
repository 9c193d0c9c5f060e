from __future__ import annotations

import pytest

from labkit.lab.types import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("1h30m", 5400),
        ("45s", 45),
        ("3d", 259_200),
        ("1d2h3m4s", 93_784),
    ],
)
def test_duration_is_the_sum_of_its_parts(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "12", "30m1h", "1h1h", "1h 30m", "0h", "1w", "-1h", "1.5h", "1H"]
)
def test_duration_of_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="^" + text.replace(".", "[.]") + "$"):
        duration(text)
