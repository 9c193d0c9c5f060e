"""The XML readers against documents shaped as libvirt 9.0 and vagrant-libvirt 0.11 make them."""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest

from labkit.host.libvirt.xml import (
    DiskInfo,
    DomainInfo,
    DomainState,
    NetworkInfo,
    NicInfo,
    VolumeInfo,
    parse_domain,
    parse_network,
    parse_offers_kvm,
    parse_pool,
    parse_volume,
    pool_xml,
    volume_xml,
)

DOMAIN = """
<domain type='qemu' id='7'>
  <name>demo_controller</name>
  <uuid>11111111-2222-3333-4444-555555555555</uuid>
  <description>lab 'demo' &amp; more</description>
  <memory unit='KiB'>8388608</memory>
  <currentMemory unit='KiB'>8388608</currentMemory>
  <vcpu placement='static'>4</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/demo_controller.img' index='2'/>
      <backingStore type='file' index='3'>
        <format type='qcow2'/>
        <source file='/var/lib/libvirt/images/box.img'/>
        <backingStore/>
      </backingStore>
      <target dev='vda' bus='virtio'/>
      <alias name='ua-box-volume-0'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='/labs/a b/controller.iso' index='1'/>
      <backingStore/>
      <target dev='sdb' bus='sata'/>
      <readonly/>
    </disk>
    <disk type='file' device='cdrom'><target dev='sdc' bus='sata'/><readonly/></disk>
    <interface type='bridge'>
      <mac address='52:54:00:AA:BB:01'/>
      <source bridge='br-lab0'/>
      <target dev='vnet3'/>
      <model type='virtio'/>
      <alias name='ua-net-0'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
    </interface>
    <interface type='network'>
      <mac address='52:54:00:aa:bb:02'/>
      <source network='demo_data' portid='a' bridge='virbr9'/>
      <target dev='vnet4'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x10' function='0x0'/>
    </interface>
    <serial type='file'>
      <source path='/labs/console.log'/>
      <target type='isa-serial' port='0'/>
    </serial>
    <console type='file'><source path='/labs/other.log'/><target type='serial'/></console>
    <channel type='file'>
      <source path='/labs/firstboot.log'/>
      <target type='virtio' name='labkit.firstboot.0' state='disconnected'/>
    </channel>
    <channel type='unix'>
      <source mode='bind' path='/run/agent.sock'/>
      <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
    </channel>
    <channel type='spicevmc'><target type='virtio'/></channel>
  </devices>
</domain>
"""


def parsed(text: str, bridges: dict[str, str] | None = None) -> DomainInfo:
    return parse_domain(
        text,
        state=DomainState.RUNNING,
        has_managed_save=False,
        snapshots=2,
        bridges=bridges or {},
    )


def test_domain_running_with_two_nics_is_read_completely() -> None:
    assert parsed(DOMAIN) == DomainInfo(
        name="demo_controller",
        uuid=UUID("11111111-2222-3333-4444-555555555555"),
        state=DomainState.RUNNING,
        vcpus=4,
        memory_mib=8192,
        domain_type="qemu",
        description="lab 'demo' & more",
        nics=(
            NicInfo(
                mac="52:54:00:aa:bb:01",
                bridge="br-lab0",
                pci="0000:00:03.0",
            ),
            NicInfo(
                mac="52:54:00:aa:bb:02",
                bridge="virbr9",
                pci="0000:00:10.0",
            ),
        ),
        disks=(
            DiskInfo(
                path=Path("/var/lib/libvirt/images/demo_controller.img"),
                device="disk",
            ),
            DiskInfo(path=Path("/labs/a b/controller.iso"), device="cdrom"),
            DiskInfo(path=None, device="cdrom"),
        ),
        agent_connected=True,
        has_managed_save=False,
        snapshots=2,
    )


def test_agent_connected_only_when_its_own_port_is_open() -> None:
    silent = DOMAIN.replace("state='connected'", "state='disconnected'")
    elsewhere = silent.replace(
        "'labkit.firstboot.0' state='disconnected'", "'x' state='connected'"
    )

    assert parsed(DOMAIN).agent_connected
    assert not parsed(silent).agent_connected
    assert not parsed(elsewhere).agent_connected


def test_domain_minimal_and_off_leaves_unknown_things_out() -> None:
    info = parsed(
        "<domain type='kvm'><name>a</name><uuid>11111111222233334444555555555555</uuid>"
        "<memory unit='KiB'>1048576</memory><vcpu current='1'>8</vcpu><devices>"
        "<interface type='network'><mac address='52:54:00:00:00:01'/>"
        "<source network='demo_data'/></interface>"
        "<serial type='pty'><source path='/dev/pts/1'/></serial>"
        "</devices></domain>",
        {"demo_data": "br-data"},
    )

    assert (info.vcpus, info.memory_mib, info.domain_type) == (1, 1024, "kvm")
    assert (info.description, info.disks) == ("", ())
    assert info.nics == (NicInfo(mac="52:54:00:00:00:01", bridge="br-data", pci=None),)


def test_pci_address_with_every_part_is_written_as_lspci_does() -> None:
    text = DOMAIN.replace(
        "domain='0x0000' bus='0x00' slot='0x03' function='0x0'",
        "domain='0x0001' bus='0x0a' slot='0x1f' function='0x7'",
    )

    assert parsed(text).nics[0].pci == "0001:0a:1f.7"


def network(text: str) -> NetworkInfo:
    return parse_network(text, active=True)


def test_network_nat_with_metadata_is_read_completely() -> None:
    text = """
    <network xmlns:l='urn:lab'>
      <name>demo_public</name><uuid>aaaaaaaa-0000-0000-0000-000000000001</uuid>
      <metadata><l:lab id='bbbbbbbb-0000-0000-0000-000000000002' name='demo'/></metadata>
      <forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>
      <bridge name='br-demo0' stp='off' delay='0'/>
      <mtu size='9000'/>
      <ip address='172.16.208.254' netmask='255.255.255.0'/>
      <ip family='ipv6' address='fd00::1' prefix='64'/>
    </network>"""

    assert network(text) == NetworkInfo(
        name="demo_public",
        uuid=UUID("aaaaaaaa-0000-0000-0000-000000000001"),
        bridge="br-demo0",
        active=True,
        forward="nat",
        addresses=(ip_interface("172.16.208.254/24"), ip_interface("fd00::1/64")),
        mtu=9000,
    )


def test_network_isolated_has_neither_forward_nor_bridge() -> None:
    info = network(
        "<network><name>n</name><uuid>aaaaaaaa000000000000000000000001</uuid></network>"
    )

    assert (info.forward, info.bridge, info.addresses) == (None, None, ())


def test_volume_with_backing_is_read_completely() -> None:
    text = """
    <volume type='file'>
      <name>demo.img</name><key>/pool/demo.img</key>
      <capacity unit='bytes'>3221225472</capacity>
      <allocation unit='bytes'>200704</allocation>
      <physical unit='bytes'>196656</physical>
      <target><path>/pool/demo.img</path><format type='qcow2'/></target>
      <backingStore><path>/pool/box.img</path><format type='qcow2'/></backingStore>
    </volume>"""

    assert parse_volume(text, pool="p") == VolumeInfo(
        name="demo.img",
        path=Path("/pool/demo.img"),
        pool="p",
        allocation_bytes=200704,
        physical_bytes=196656,
        format="qcow2",
        backing_path=Path("/pool/box.img"),
    )


def tree(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 -- written by the code under test


def test_pool_definition_with_odd_names_reads_back() -> None:
    text = pool_xml("a & <b>", Path("/pool's/a & b"))

    assert parse_pool(text) == ("dir", Path("/pool's/a & b"))
    assert tree(text).findtext("name") == "a & <b>"
    assert parse_pool("<pool type='logical'><name>x</name></pool>") == ("logical", None)


def test_volume_definition_starts_empty_with_octal_mode() -> None:
    root = tree(volume_xml("a & b", mode=0o600))

    assert root.findtext("name") == "a & b"
    assert root.findtext("capacity") == "0"
    assert root.findtext("target/permissions/mode") == "0600"


@pytest.mark.parametrize(("kind", "has_kvm"), [("kvm", True), ("qemu", False)])
def test_capabilities_of_a_domain_type_tell_kvm(kind: str, *, has_kvm: bool) -> None:
    text = (
        "<domainCapabilities><path>/usr/bin/qemu</path>"
        f"<domain>{kind}</domain><machine>pc-q35-7.2</machine><arch>x86_64</arch>"
        "<vcpu max='288'/></domainCapabilities>"
    )

    assert parse_offers_kvm(text) is has_kvm
