from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from tests.bench.picture import HEIGHT, WIDTH, cost

SVG = "{http://www.w3.org/2000/svg}"
SAMPLES = {
    "floor of 3": [26.0, 30.0],
    "up of 3": [30.0, 31.0],
    "floor of 9": [105.0],
    "up of 9": [115.0],
    "status of 9": [0.5],
}


def points(line: ET.Element) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for x, y in (each.split(",") for each in line.attrib["points"].split())
    ]


def test_cost_has_a_line_for_the_floor_and_one_for_labkit() -> None:
    root = ET.fromstring(cost(SAMPLES))  # noqa: S314 -- our own
    floor, labkit = (points(line) for line in root.iter(f"{SVG}polyline"))
    assert len(floor) == len(labkit) == 2
    assert [x for x, _ in floor] == [x for x, _ in labkit]
    # What takes longer is higher up, which is nearer to 0.
    assert all(dear < cheap for (_, dear), (_, cheap) in zip(labkit, floor, strict=True))
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in (*floor, *labkit))
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert "libvirt alone, 3 nodes: 28.0 s" in titles
    assert "labkit up, 9 nodes: 115.0 s" in titles


def test_cost_without_a_line_is_no_picture() -> None:
    with pytest.raises(ValueError, match="'floor of N' was not measured"):
        cost({"up of 3": [30.0]})
