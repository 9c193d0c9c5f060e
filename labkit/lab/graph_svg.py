"""The picture of the lab as SVG: networks as bars, nodes as boxes, a line per card; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from labkit.lab import graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.lab.topology import ResolvedLab, ResolvedNetwork, ResolvedNic, ResolvedNode

# Lengths are pixels. A character of the usual monospace fonts is 0.6 of its size wide.
SIZE = 13
CHARACTER = 0.6 * SIZE + 0.2
LINE = 20
MARGIN = 24
GAP = 28
BAR = 10
CARD = 26
PORT = 5
TUNNEL = 44
CAPTIONS = MARGIN + 2 * LINE

INK = "#1b1f24"
FAINT = "#59636e"
TUNNEL_INK = "#8250df"
# Okabe and Ito's colours, which colour-blind people can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where everything goes.

    Attributes:
        bars: The middle of each network's bar, by the network's name.
        colours: Its colour, by the network's name.
        top: Where bars begin.
        tops: Where each node's box begins, by the node's name.
        left: Where the boxes begin.
        right: Where they end.
        bottom: Where the last box ends.
        width: The whole picture's.
    """

    bars: dict[str, float]
    colours: dict[str, str]
    top: float
    tops: dict[str, float]
    left: float
    right: float
    bottom: float
    width: float

    def row(self, node: ResolvedNode, nic: ResolvedNic) -> float:
        """Return the height at which a card's line runs."""
        return self.tops[node.name] + 2 * LINE + CARD * (node.nics.index(nic) + 0.5) + 6


def svg(lab: ResolvedLab) -> str:
    """Return the lab as an SVG image with a white ground, for a browser or a document."""
    place = _place(lab)
    height = place.bottom + MARGIN
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {place.width:g} {height:g}",
            "width": f"{place.width:g}",
            "height": f"{height:g}",
            "role": "img",
            "font-family": "ui-monospace, Menlo, 'DejaVu Sans Mono', Consolas, monospace",
            "font-size": f"{SIZE}",
        },
    )
    ET.SubElement(root, "title").text = f"The lab '{lab.name}'"
    ET.SubElement(root, "desc").text = _spoken(lab)
    _box(root, (0, 0), (place.width, height), fill="white")
    _text(root, (MARGIN, MARGIN + SIZE), lab.name, **{"font-weight": "bold"})
    for node in lab.nodes:
        _cables(root, place, node)
    for network in lab.networks:
        _network(root, place, network)
    for node in lab.nodes:
        _node(root, place, lab, node)
    _tunnels(root, place, lab)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _place(lab: ResolvedLab) -> _Place:
    bars: dict[str, float] = {}
    left = float(MARGIN)
    for network in lab.networks:
        bars[network.name] = left + BAR / 2
        left += _wide(_captions(network)) + GAP
    top = CAPTIONS + LINE * max(len(_captions(each)) for each in lab.networks)
    tops: dict[str, float] = {}
    bottom = float(top)
    for node in lab.nodes:
        tops[node.name] = bottom + LINE
        bottom = tops[node.name] + 2 * LINE + CARD * len(node.nics) + 12
    inside = [line for node in lab.nodes for line in (*_titles(node), *_rows(lab, node))]
    right = left + _wide(inside) + GAP
    beside = TUNNEL + _wide(["VXLAN"]) if graph.tunnel_cards(lab) else 0
    title = MARGIN + _wide([lab.name])
    return _Place(
        bars=bars,
        colours={
            network.name: COLOURS[index % len(COLOURS)]
            for index, network in enumerate(lab.networks)
        },
        top=top,
        tops=tops,
        left=left,
        right=right,
        bottom=bottom,
        width=max(right + beside, title) + MARGIN,
    )


def _captions(network: ResolvedNetwork) -> tuple[str, ...]:
    return (network.name, str(network.cidr), *graph.way_out(network).split(", "))


def _titles(node: ResolvedNode) -> tuple[str, str]:
    return node.name, f"{graph.hardware(node)}; {', '.join(node.roles)}"


def _rows(lab: ResolvedLab, node: ResolvedNode) -> list[str]:
    outer = graph.external_cards(lab)
    return [
        f"{nic.name:<8} {nic.address}"
        + (f"  {lab.deployment.external_bridge}" if (node.name, nic.name) in outer else "")
        for nic in node.nics
    ]


def _wide(lines: list[str] | tuple[str, ...]) -> float:
    return round(CHARACTER * max(len(line) for line in lines))


def _spoken(lab: ResolvedLab) -> str:
    """Return the picture in words, for those who do not see it."""
    parts = [f"{each.name} {each.cidr}, {graph.way_out(each)}" for each in lab.networks]
    for node in lab.nodes:
        cards = ", ".join(f"{nic.name} {nic.address} on {nic.network.name}" for nic in node.nics)
        parts.append(f"{node.name}, {graph.hardware(node)}: {cards}")
    ends = graph.tunnel_cards(lab)
    if ends:
        parts.append("VXLAN tunnels between " + ", ".join(sorted(name for name, _ in ends)))
    return ". ".join(parts) + "."


def _cables(root: ET.Element, place: _Place, node: ResolvedNode) -> None:
    """Draw each card's line before the bars, so that it passes behind those it does not join."""
    for nic in node.nics:
        height = place.row(node, nic)
        ends = ((place.bars[nic.network.name], height), (place.left, height))
        _line(root, *ends, place.colours[nic.network.name])


def _network(root: ET.Element, place: _Place, network: ResolvedNetwork) -> None:
    middle, colour = place.bars[network.name], place.colours[network.name]
    for index, line in enumerate(_captions(network)):
        weight = {} if index else {"font-weight": "bold", "fill": colour}
        height = CAPTIONS + LINE * index + SIZE
        _text(root, (middle - BAR / 2, height), line, **weight)
    extent = (BAR, place.bottom - place.top)
    _box(root, (middle - BAR / 2, place.top), extent, fill=colour, rx=f"{BAR / 2:g}")


def _node(root: ET.Element, place: _Place, lab: ResolvedLab, node: ResolvedNode) -> None:
    top, left = place.tops[node.name], place.left
    extent = (place.right - left, 2 * LINE + CARD * len(node.nics) + 12)
    _box(root, (left, top), extent, fill="#f6f8fa", stroke=FAINT, rx="6")
    name, about = _titles(node)
    _text(root, (left + GAP / 2, top + LINE), name, **{"font-weight": "bold"})
    _text(root, (left + GAP / 2, top + 2 * LINE), about, fill=FAINT)
    for nic, line in zip(node.nics, _rows(lab, node), strict=True):
        height, colour = place.row(node, nic), place.colours[nic.network.name]
        _dot(root, (place.bars[nic.network.name], height), "white", colour)
        _dot(root, (left, height), colour, colour)
        _text(root, (left + GAP / 2, height + SIZE / 3), line)


def _tunnels(root: ET.Element, place: _Place, lab: ResolvedLab) -> None:
    ends = graph.tunnel_cards(lab)
    rows = [
        place.row(node, nic)
        for node in lab.nodes
        for nic in node.nics
        if (node.name, nic.name) in ends
    ]
    if not rows:
        return
    middle = place.right + TUNNEL / 2
    _line(root, (middle, rows[0]), (middle, rows[-1]), TUNNEL_INK, dashed=True)
    for height in rows:
        _line(root, (place.right, height), (middle, height), TUNNEL_INK, dashed=True)
        _dot(root, (place.right, height), TUNNEL_INK, TUNNEL_INK)
    where = (middle + GAP / 2, (rows[0] + rows[-1]) / 2 + SIZE / 3)
    _text(root, where, "VXLAN", fill=TUNNEL_INK)


def _text(root: ET.Element, at: tuple[float, float], text: str, **style: str) -> None:
    # Blanks in a row are kept: addresses stand below each other.
    style = {"xml:space": "preserve", "fill": INK, **style}
    _add(root, "text", style, x=at[0], y=at[1]).text = text


def _box(
    root: ET.Element, at: tuple[float, float], extent: tuple[float, float], **style: str
) -> None:
    _add(root, "rect", style, x=at[0], y=at[1], width=extent[0], height=extent[1])


def _line(
    root: ET.Element,
    begin: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    *,
    dashed: bool = False,
) -> None:
    style = {"stroke": colour, "stroke-width": "2"}
    style |= {"stroke-dasharray": "5 4"} if dashed else {}
    _add(root, "line", style, x1=begin[0], y1=begin[1], x2=end[0], y2=end[1])


def _dot(root: ET.Element, at: tuple[float, float], fill: str, stroke: str) -> None:
    style = {"fill": fill, "stroke": stroke, "stroke-width": "2"}
    _add(root, "circle", style, cx=at[0], cy=at[1], r=PORT)


def _add(root: ET.Element, tag: str, style: Mapping[str, str], **lengths: float) -> ET.Element:
    return ET.SubElement(root, tag, {**{k: f"{v:g}" for k, v in lengths.items()}, **style})
