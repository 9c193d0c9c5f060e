from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from labkit.lab import graph, graph_svg
from tests.support import labs
from tests.support.examples import EXAMPLES, ROOT, example

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab
    from tests.support.golden import Golden

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "end\"] --- x; <b>`touch`</b> #35; & ' %% {{}} | --> ]]>"
IMAGE = ROOT / "docs" / "lab.svg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Where a text is drawn, by the widest of the fonts that are asked for."""

    text: str
    left: float
    right: float
    top: float
    bottom: float

    def meets(self, other: Extent) -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not beside and self.top < other.bottom and other.top < self.bottom


def extents(image: str) -> tuple[list[Extent], float, float]:
    root = ET.fromstring(image)  # noqa: S314 -- our own text
    texts = [
        Extent(
            text=each.text or "",
            left=float(each.attrib["x"]),
            right=float(each.attrib["x"]) + 0.602 * 13 * len(each.text or ""),
            top=float(each.attrib["y"]) - 0.76 * 13,
            bottom=float(each.attrib["y"]) + 0.24 * 13,
        )
        for each in root.iter(f"{SVG}text")
    ]
    return texts, float(root.attrib["width"]), float(root.attrib["height"])


def large() -> ResolvedLab:
    """Return a lab of eight networks and thirty nodes with a card in each."""
    networks = [labs.network(f"network-{number}") for number in range(8)]
    names = ["controller", *(f"compute-{number}" for number in range(29))]
    nodes = [labs.node(name, number, networks[0]) for number, name in enumerate(names)]
    return replace(
        labs.lab("controller"),
        networks=tuple(networks),
        nodes=tuple(
            replace(
                node,
                nics=tuple(replace(node.nics[0], network=network) for network in networks),
            )
            for node in nodes
        ),
    )


def hostile() -> ResolvedLab:
    lab = example("packstack")
    nodes = tuple(replace(node, name=f"{HOSTILE}{node.name}") for node in lab.nodes)
    return replace(lab, name=HOSTILE, nodes=nodes)


@pytest.mark.parametrize("name", EXAMPLES)
def test_graph_of_an_example_lab_equals_golden_files(name: str, golden: Golden) -> None:
    lab = example(name)

    golden.check(f"graph/{name}", {"lab.mmd": graph.mermaid(lab), "lab.svg": graph_svg.svg(lab)})


def test_image_in_the_documentation_is_the_default_lab(request: pytest.FixtureRequest) -> None:
    expected = graph_svg.svg(example("packstack"))
    if request.config.getoption("--regenerate"):
        IMAGE.write_text(expected, encoding="utf-8")

    assert IMAGE.read_text(encoding="utf-8") == expected, "see 'pytest --regenerate'"


def test_graph_of_the_default_lab_names_every_address_bridge_and_tunnel() -> None:
    lab = example("packstack")

    for picture in (graph.mermaid(lab), graph_svg.svg(lab)):
        cards = {str(nic.address.ip) for node in lab.nodes for nic in node.nics}
        assert cards <= set(re.findall(r"[0-9.]+[0-9]", picture))
        assert len(re.findall(r"enp0s3 .*br-ex", picture)) == 1
        assert "VXLAN" in picture
    assert graph.tunnel_cards(lab) == {("controller", "enp0s8"), ("compute", "enp0s8")}


@pytest.mark.parametrize("name", ["one-card", "plain-allinone", "hostile"])
def test_graph_of_a_lab_deployed_on_one_node_has_no_tunnel(name: str) -> None:
    lab = example(name)

    assert "VXLAN" not in graph.mermaid(lab)
    assert "VXLAN" not in graph_svg.svg(lab)


def test_graph_of_a_lab_that_cannot_be_deployed_shows_what_up_makes_alone() -> None:
    unfit = replace(example("packstack"), obstacles=example("three-networks").obstacles)

    for picture in (graph.mermaid(unfit), graph_svg.svg(unfit)):
        assert "172.16.208.138" in picture
        assert "br-ex" not in picture
        assert "VXLAN" not in picture


@pytest.mark.parametrize("lab", [*map(example, EXAMPLES), large()], ids=[*EXAMPLES, "large"])
def test_svg_texts_stay_inside_and_clear_of_each_other(lab: ResolvedLab) -> None:
    texts, width, height = extents(graph_svg.svg(lab))

    outside = [each for each in texts if each.right > width or each.bottom > height]
    assert texts
    assert outside == []
    assert [pair for pair in combinations(texts, 2) if pair[0].meets(pair[1])] == []


def test_svg_line_of_each_card_joins_its_network_and_its_node() -> None:
    lab = example("three-networks")
    root = ET.fromstring(graph_svg.svg(lab))  # noqa: S314 -- our own text
    bars = {
        float(each.attrib["x"]) + float(each.attrib["width"]) / 2: each.attrib["fill"]
        for each in root.findall(f"{SVG}rect")
        if each.attrib["width"] == "10"
    }

    joined = [
        bars[float(each.attrib["x1"])] == each.attrib["stroke"]
        for each in root.findall(f"{SVG}line")
    ]

    assert len(bars) == len(lab.networks)
    assert joined == [True] * sum(len(node.nics) for node in lab.nodes)


def test_svg_hostile_text_stays_text() -> None:
    lab = hostile()
    root = ET.fromstring(graph_svg.svg(lab))  # noqa: S314 -- our own text

    texts = [each.text for each in root.iter(f"{SVG}text")]

    assert lab.name in texts
    assert {node.name for node in lab.nodes} <= set(texts)
    assert {each.tag.removeprefix(SVG) for each in root.iter()} == {
        "svg", "title", "desc", "rect", "line", "text", "circle",
    }  # fmt: skip


def test_mermaid_hostile_text_stays_inside_its_quotes() -> None:
    plain, spoilt = graph.mermaid(example("packstack")), graph.mermaid(hostile())

    labels = re.compile(r'"[^"]*"')

    assert labels.sub("", spoilt) == labels.sub("", plain)
    inside = " ".join(labels.findall(spoilt))
    assert "end#quot;] --- x; #lt;b#gt;#96;touch#96;" in inside
    assert not re.search(r"[<>`]|#(?!quot;|lt;|gt;|96;|35;)", inside)


def test_mermaid_node_called_by_a_word_of_mermaid_is_only_named_in_quotes() -> None:
    lab = labs.lab("controller", "end")

    bare = re.sub(r'"[^"]*"', "", graph.mermaid(lab))

    assert len(re.findall(r"\bend\b", bare)) == bare.count("subgraph") == 2
