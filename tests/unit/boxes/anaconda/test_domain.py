"""The domain that installs; tests/integration/boxes/test_kickstart.py has libvirt's own opinion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from labkit.boxes.anaconda.domain import LOG_PORT, InstallDomain, install_domain_xml
from labkit.boxes.kickstart import RESULT_PORT
from labkit.host.libvirt.xml import DomainState, parse_domain
from tests.support.kickstarts import DOMAIN

if TYPE_CHECKING:
    from tests.support.golden import Golden


def root_of(domain: InstallDomain) -> ET.Element:
    return ET.fromstring(install_domain_xml(domain))  # noqa: S314 -- our own text


def test_xml_of_an_installing_domain_is_the_reviewed_text(golden: Golden) -> None:
    emulated = replace(DOMAIN, domain_type="qemu", description="")
    texts = {"kvm.xml": install_domain_xml(DOMAIN), "qemu.xml": install_domain_xml(emulated)}
    golden.check("install-domain", texts)


def test_xml_is_read_back_as_it_was_meant() -> None:
    info = parse_domain(
        install_domain_xml(DOMAIN),
        state=DomainState.SHUTOFF,
        has_managed_save=False,
        snapshots=0,
        bridges={},
    )
    assert (info.name, info.uuid) == (DOMAIN.name, DOMAIN.uuid)
    assert (info.vcpus, info.memory_mib, info.domain_type) == (2, 2048, "kvm")
    assert info.description == DOMAIN.description
    assert info.nics == ()
    assert [(disk.device, disk.path) for disk in info.disks] == [
        ("disk", DOMAIN.disk),
        ("cdrom", DOMAIN.iso),
        ("cdrom", DOMAIN.kickstart_iso),
    ]
    ports = root_of(DOMAIN).iterfind("devices/channel/target")
    assert [port.get("name") for port in ports] == [LOG_PORT, RESULT_PORT]


def test_xml_writes_every_log_where_it_is_read() -> None:
    devices = root_of(DOMAIN).find("devices")
    assert devices is not None

    assert {
        (node.tag, source.get("path"))
        for node in devices
        if (source := node.find("source[@path]")) is not None
    } == {
        ("channel", str(DOMAIN.anaconda_log)),
        ("channel", str(DOMAIN.result_log)),
        ("serial", str(DOMAIN.serial_log)),
    }


def test_xml_never_starts_a_second_installation() -> None:
    root = root_of(DOMAIN)
    assert [root.findtext(event) for event in ("on_poweroff", "on_reboot", "on_crash")] == [
        "destroy"
    ] * 3
    # Only a direct kernel boot: with a boot device as well, the empty disk might be tried.
    assert root.find("os/boot") is None


def test_xml_installation_media_are_never_written_to() -> None:
    cdroms = root_of(DOMAIN).findall("devices/disk[@device='cdrom']")
    assert [cdrom.find("readonly") is not None for cdrom in cdroms] == [True, True]


def test_xml_has_nothing_a_guest_could_reach_the_network_or_a_screen_by() -> None:
    devices = root_of(DOMAIN).find("devices")
    assert devices is not None
    found = {device.tag for device in devices}
    assert found == {"disk", "serial", "channel", "rng", "video", "memballoon"}
    assert [model.get("type") for model in devices.findall("video/model")] == ["none"]


def test_xml_emulated_domain_takes_no_processor_of_the_host() -> None:
    assert root_of(DOMAIN).find("cpu[@mode='host-passthrough']") is not None
    assert root_of(replace(DOMAIN, domain_type="qemu")).find("cpu") is None


@pytest.mark.parametrize("text", ["a & b", "<x/>", "'\"", "ü 網", r"a\x20b", "a  b"])
def test_xml_hostile_paths_and_command_lines_are_read_back_unchanged(text: str) -> None:
    path = Path("/w") / text.replace("/", "_")
    root = root_of(replace(DOMAIN, kernel=path, disk=path, result_log=path, cmdline=text))
    source = root.find("devices/disk[@device='disk']/source")
    channel = root.find(f"devices/channel/target[@name='{RESULT_PORT}']/../source")
    assert source is not None
    assert channel is not None
    assert [source.get("file"), channel.get("path"), root.findtext("os/kernel")] == [str(path)] * 3
    assert root.findtext("os/cmdline") == text
