from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from labkit.errors import HostError
from labkit.host.libvirt.xml import parse_network
from labkit.lab.render import (
    lab_mark,
    lab_texts,
    network_xml,
    node_files,
    vagrantfile,
)
from labkit.lab.templates import ruby, shell_value
from labkit.lab.topology import LAB_NAMESPACE
from tests.support.examples import EXAMPLES, ROOT, example, settings

if TYPE_CHECKING:
    from tests.support.golden import Golden

DOCUMENT = ROOT / "tests" / "data" / "document"
LABS = Path("/srv/labs")
# Of the others, what differs: that begins with Vagrant.configure.
WHOLE_VAGRANTFILES = {"packstack", "three-networks"}
HOSTILE = "x'\" <b> &amp; ]]> $(id) `id` #{exit} \\ \\' {{ 7 * 7 }} ü"
DIRECTORIES = {
    "packstack": Path("/srv/labs/packstack"),
    "three-networks": Path("/srv/labs/trio"),
    "hostile": Path("/srv/#{exit 1} $(exit 1) `exit 1` \\ \\\\ %d ü/網"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_rendered_example_lab_equals_golden_files(name: str, golden: Golden) -> None:
    lab = example(name)
    kvm = name == "three-networks"
    chosen = settings(lab, DIRECTORIES.get(name, LABS / name), kvm=kvm)
    texts = {"Vagrantfile": vagrantfile(lab, chosen), **lab_texts(lab).files()}
    if name not in WHOLE_VAGRANTFILES:
        _same, start, own = texts["Vagrantfile"].partition("Vagrant.configure(")
        texts["Vagrantfile"] = start + own
    golden.check(f"files/{name}", texts)


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


@pytest.mark.parametrize("field", ["box_name", "box_version", "storage_pool"])
def test_vagrantfile_hostile_setting_stays_one_ruby_literal(field: str) -> None:
    lab = example("packstack")
    plain = settings(lab, Path("/srv"), kvm=True)
    change: Any = {field: HOSTILE}
    spoilt = replace(plain, **change)
    was, now = vagrantfile(lab, plain), vagrantfile(lab, spoilt)
    assert now.replace(ruby(HOSTILE), ruby(getattr(plain, field))) == was != now


def test_network_xml_hostile_names_are_read_back_unchanged() -> None:
    lab = replace(example("packstack"), name=HOSTILE)
    plain = network_xml(lab, lab.networks[0])
    network = replace(lab.networks[0], libvirt_name=HOSTILE, bridge=HOSTILE)
    root = ET.fromstring(network_xml(lab, network))  # noqa: S314 -- our own text
    mark = root.find(f"metadata/{{{LAB_NAMESPACE}}}lab")
    bridge = root.find("bridge")
    assert mark is not None
    assert bridge is not None
    assert (root.findtext("name"), mark.get("name"), bridge.get("name")) == (HOSTILE,) * 3
    assert len(list(root.iter())) == len(list(ET.fromstring(plain).iter()))  # noqa: S314 -- as above


def test_node_files_hostile_ifcfg_value_stays_on_its_line() -> None:
    lab = example("packstack")
    nic = lab.nodes[0].nics[0]
    spoilt = replace(nic, ifcfg=(*nic.ifcfg, ("EVIL", HOSTILE)))
    node = replace(lab.nodes[0], nics=(spoilt,))
    text = node_files(lab, node)[0].content
    assert text == f"{node_files(lab, lab.nodes[0])[0].content}EVIL={shell_value(HOSTILE)}\n"
    assert shlex.split(text)[-1] == f"EVIL={HOSTILE}"
