"""How `make bench-trims` tells what a trim saves."""

from __future__ import annotations

import pytest

from labkit.boxes.definition import find_box
from tests.bench.trims import AGAIN, FULL, rows, variants
from tests.support.boxtree import without

SAMPLES = {
    FULL: [(8.0, 9.0), (7.0, 8.0), (30.0, 8.5)],
    "few-units": [(8.5, 9.5), (8.0, 9.0), (7.0, 9.25)],
    "few-files": [(10.0, 12.0), (12.0, 14.0), (11.0, 13.0)],
    AGAIN: [(7.5, 8.25), (8.0, 8.5), (8.5, 8.0)],
}


def test_rows_hold_medians_against_the_full_set_and_begin_with_what_saves_most() -> None:
    image_mb = {FULL: 370, "few-units": 370, "few-files": 800, AGAIN: 370}
    assert rows(SAMPLES, image_mb) == [
        (FULL, "8.5", "", "8.0", "", "370"),
        ("few-files", "13.0", "+4.5", "11.0", "+3.0", "800"),
        ("few-units", "9.2", "+0.8", "8.0", "+0.0", "370"),
        (AGAIN, "8.2", "-0.2", "8.0", "+0.0", "370"),
    ]


def test_variants_boot_the_full_set_twice_and_leave_out_each_named_trim() -> None:
    box = find_box("rehearsal")
    found = variants(box, ["few-files", "few-units,quick-logins"])
    assert found == {
        FULL: box,
        "few-files": without(box, "few-files"),
        "few-units,quick-logins": without(box, "few-units", "quick-logins"),
        AGAIN: box,
    }


def test_variants_of_an_unknown_trim_end_with_its_name() -> None:
    with pytest.raises(SystemExit, match="has no trim few-flies"):
        variants(find_box("rehearsal"), ["few-units,few-flies"])
