"""The picture of cost against nodes: how long a lab takes to come up, the floor's line and labkit's."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.figures import Samples

# Lengths are pixels.
WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 160, 24, 48
INK, FAINT = "#1b1f24", "#d0d7de"
# Okabe and Ito's colours, which colour-blind people can tell apart.
LINES = {"floor": ("libvirt alone", "#0072b2"), "up": ("labkit up", "#d55e00")}
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
MOST_LINES = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """Where a number of nodes and of seconds lies in the picture.

    Attributes:
        widest: The most nodes.
        step: Seconds from one line across to the next.
        ceiling: Seconds at the top.
    """

    widest: int
    step: int
    ceiling: int

    def x(self, nodes: float) -> float:
        """Return how far to the right."""
        return LEFT + (WIDTH - LEFT - RIGHT) * nodes / self.widest

    def y(self, seconds: float) -> float:
        """Return how far down."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * seconds / self.ceiling


def cost(samples: Samples) -> str:
    """Return an SVG image of the medians of `floor of N` and `up of N` in seconds, N nodes.

    Raises:
        ValueError: One of the two was not measured.
    """
    lines = {name: _medians(samples, name) for name in LINES}
    nodes = sorted({nodes for line in lines.values() for nodes in line})
    most = max(seconds for line in lines.values() for seconds in line.values())
    step = next((each for each in STEPS if most / each <= MOST_LINES), STEPS[-1])
    scale = _Scale(widest=nodes[-1], step=step, ceiling=step * (int(most / step) + 1))
    root = _root()
    _axes(root, scale, nodes)
    # The two may end close together: the lower one's name goes below its end.
    by_height = sorted(lines, key=lambda name: lines[name][max(lines[name])])
    for name, below in zip(by_height, (14, -4), strict=True):
        _series(root, scale, name, lines[name], below)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _axes(root: ET.Element, scale: _Scale, nodes: Sequence[int]) -> None:
    for seconds in range(0, scale.ceiling + 1, scale.step):
        height = f"{scale.y(seconds):.1f}"
        across = {"x1": str(LEFT), "x2": str(WIDTH - RIGHT), "y1": height, "y2": height}
        ET.SubElement(root, "line", {**across, "stroke": FAINT})
        _text(root, LEFT - 8, scale.y(seconds) + 4, f"{seconds} s", anchor="end")
    for number in nodes:
        _text(root, scale.x(number), HEIGHT - BOTTOM + 20, str(number), anchor="middle")
    _text(root, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "nodes", anchor="middle")


def _series(
    root: ET.Element, scale: _Scale, name: str, line: Mapping[int, float], below: float
) -> None:
    title, colour = LINES[name]
    points = sorted(line.items())
    path = " ".join(f"{scale.x(nodes):.1f},{scale.y(seconds):.1f}" for nodes, seconds in points)
    stroke = {"points": path, "fill": "none", "stroke": colour, "stroke-width": "2"}
    ET.SubElement(root, "polyline", stroke)
    for nodes, seconds in points:
        middle = {"cx": f"{scale.x(nodes):.1f}", "cy": f"{scale.y(seconds):.1f}"}
        dot = ET.SubElement(root, "circle", {**middle, "r": "4", "fill": colour})
        ET.SubElement(dot, "title").text = f"{title}, {nodes} nodes: {seconds:.1f} s"
    nodes, seconds = points[-1]
    end = (scale.x(nodes) + 10, scale.y(seconds) + below)
    _text(root, *end, f"{title}, {seconds:.0f} s", fill=colour)


def _medians(samples: Samples, name: str) -> dict[int, float]:
    found = {
        int(match[1]): statistics.median(values)
        for key, values in samples.items()
        if (match := re.fullmatch(rf"{name} of (\d+)", key))
    }
    if not found:
        msg = f"'{name} of N' was not measured"
        raise ValueError(msg)
    return found


def _root() -> ET.Element:
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "width": str(WIDTH),
            "height": str(HEIGHT),
            "role": "img",
            "font-family": "system-ui, sans-serif",
            "font-size": "13",
        },
    )
    ET.SubElement(root, "title").text = "Seconds until a lab is up, against its nodes"
    ET.SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    return root


def _text(
    root: ET.Element, x: float, y: float, text: str, *, anchor: str = "start", fill: str = INK
) -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "fill": fill}
    ET.SubElement(root, "text", place).text = text
