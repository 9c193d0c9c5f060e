from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from labkit.errors import HostError
from labkit.host.libvirt.xml import parse_network
from labkit.lab.render import (
    lab_mark,
    network_xml,
    node_files,
    render_all,
    ruby,
    shell_value,
    vagrantfile,
)
from tests.support.examples import EXAMPLES, ROOT, example, settings

if TYPE_CHECKING:
    from tests.support.golden import Golden

DOCUMENT = ROOT / "tests" / "data" / "document"
LABS = Path("/srv/labs")
DIRECTORIES = {
    "packstack": Path("/srv/labs/packstack"),
    "three-networks": Path("/srv/labs/trio"),
    "hostile": Path("/srv/#{exit 1} $(exit 1) `exit 1` \\ \\\\ %d ü/網"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_render_all_example_lab_equals_golden_files(name: str, golden: Golden) -> None:
    lab = example(name)
    kvm = name == "three-networks"
    golden.check(name, render_all(lab, settings(lab, DIRECTORIES.get(name, LABS / name), kvm=kvm)))


@pytest.mark.parametrize("path", sorted(DOCUMENT.glob("*-enp*")), ids=lambda path: path.name)
def test_ifcfg_default_lab_equals_source_document(path: Path) -> None:
    node_name, nic_name = path.name.split("-")
    lab = example("packstack")
    node = lab.node(node_name)
    assert node is not None
    wanted = f"/etc/sysconfig/network-scripts/ifcfg-{nic_name}"
    texts = [file.content for file in node_files(lab, node) if file.path == wanted]
    assert texts == [path.read_text(encoding="utf-8")]


def test_node_files_default_lab_are_world_readable_and_absolute() -> None:
    lab = example("packstack")
    files = node_files(lab, lab.nodes[0])
    assert {file.mode for file in files} == {0o644}
    assert all(file.path.startswith("/etc/") for file in files)
    assert len({file.path for file in files}) == len(files) == 8


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("plain", "'plain'"),
        ("it's", r"'it\'s'"),
        ("a\\", r"'a\\'"),
        ("\\'", r"'\\\''"),
        ("#{exit}", "'#{exit}'"),
        ("a\nb", "'a\nb'"),
        ("", "''"),
    ],
)
def test_ruby_hostile_text_gives_single_quoted_literal(value: str, literal: str) -> None:
    assert ruby(value) == literal


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("172.16.208.39", "172.16.208.39"),
        ("3052d15f-9489", "3052d15f-9489"),
        ("", ""),
        ("two words", "'two words'"),
        ("it's", r"'it'\''s'"),
        ("$(id)", "'$(id)'"),
        ("`id`", "'`id`'"),
        ("a\n", "'a\n'"),
        ("ü", "'ü'"),
        ("~", "'~'"),
    ],
)
def test_shell_value_hostile_text_is_quoted(value: str, word: str) -> None:
    assert shell_value(value) == word


@pytest.mark.parametrize("character", ["<", ">", "&", "'", '"'])
@pytest.mark.parametrize("kind", ["seed", "console", "firstboot"])
def test_vagrantfile_xml_special_path_raises_host_error(character: str, kind: str) -> None:
    lab = example("packstack")
    bad = Path(f"/srv/a{character}b")
    paths = {node.name: bad for node in lab.nodes}
    good = settings(lab, Path("/srv"))
    changed = {
        "seed": replace(good, seed_paths=paths),
        "console": replace(good, console_paths=paths),
        "firstboot": replace(good, firstboot_paths=paths),
    }
    with pytest.raises(HostError) as caught:
        vagrantfile(lab, changed[kind])
    assert f"'{bad}' has {character} in it" in caught.value.message


def test_network_xml_nat_network_is_read_back_by_the_libvirt_adapter() -> None:
    lab = example("packstack")
    info = parse_network(
        network_xml(lab, lab.networks[0]),
        active=True,
    )
    assert info.name == "packstack_lan"
    assert info.uuid == lab.networks[0].uuid
    assert info.bridge == lab.networks[0].bridge
    assert info.forward == "nat"
    assert [str(address) for address in info.addresses] == ["172.16.208.254/24"]


def test_network_xml_isolated_network_has_no_way_out_and_no_dnsmasq() -> None:
    lab = example("hostile")
    root = ET.fromstring(network_xml(lab, lab.networks[0]))  # noqa: S314 -- our own text
    assert root.find("forward") is None
    dns = root.find("dns")
    assert dns is not None
    assert dns.get("enable") == "no"
    assert root.find(".//dhcp") is None


def test_network_xml_host_bridge_raises() -> None:
    lab = example("three-networks")
    with pytest.raises(ValueError, match="bridge of the host"):
        network_xml(lab, lab.networks[0])


def test_lab_mark_example_labs_needs_no_xml_escape() -> None:
    for name in EXAMPLES:
        assert not set("<>&'\"") & set(lab_mark(example(name)))
