"""The libvirt adapter on a real libvirtd and real QEMU."""

from __future__ import annotations

import os
import sys
from ipaddress import ip_interface
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from labkit.errors import HostError, OperationError
from labkit.host.libvirt.connection import Hypervisor, connect
from labkit.host.libvirt.errors import ConflictError
from labkit.host.libvirt.xml import DomainState
from labkit.host.links import links
from labkit.host.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

MIB = 2**20
KILLED_UPLOAD = """
import os, signal, sys
from pathlib import Path
from labkit.host.libvirt.connection import connect

def progress(sent: int) -> None:
    if sent >= 8 * 2**20:
        os.kill(os.getpid(), signal.SIGKILL)

with connect() as hypervisor:
    hypervisor.storage.upload_volume(sys.argv[1], "killed", Path(sys.argv[2]), progress=progress)
"""


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    with connect() as connection:
        yield connection


@pytest.fixture
def pool(hypervisor: Hypervisor, tmp_path: Path) -> Iterator[str]:
    """Return a pool on a file system of 64 MiB of its own."""
    name = f"pool-{uuid4().hex[:8]}"
    target = tmp_path / "pool"
    target.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", target], timeout=10)
    hypervisor.storage.ensure_pool(name, target)
    yield name
    handle = hypervisor._connection.storagePoolLookupByName(name)
    handle.destroy()
    handle.undefine()
    run(["umount", target], timeout=10)


def image(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def boot_disk(tmp_path: Path) -> Path:
    """Return a qcow2 whose boot sector halts the CPU for ever: the smallest running guest."""
    raw = tmp_path / "boot.raw"
    raw.write_bytes(b"\xfa\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
    qcow2 = tmp_path / "boot.qcow2"
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2], timeout=20)
    return qcow2


def domain_xml(name: str, uuid: UUID, disk: Path, network: str | None) -> str:
    card = (
        ""
        if network is None
        else f"""
        <interface type='network'>
          <mac address='52:54:00:00:00:01'/><source network='{network}'/><model type='virtio'/>
          <address type='pci' domain='0' bus='0' slot='0x03' function='0'/>
        </interface>"""
    )
    return f"""
    <domain type='qemu'>
      <name>{name}</name><uuid>{uuid}</uuid><description>{name} of a test</description>
      <memory unit='MiB'>64</memory><vcpu>2</vcpu>
      <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os>
      <features><acpi/></features>
      <devices>
        <disk type='file' device='disk'>
          <driver name='qemu' type='qcow2'/><source file='{disk}'/><target dev='vda' bus='virtio'/>
        </disk>
        {card}
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
        <controller type='usb' model='none'/><memballoon model='none'/>
      </devices>
    </domain>"""


def network_xml(name: str, uuid: UUID, bridge: str, address: str, *, nat: bool) -> str:
    return f"""
    <network><name>{name}</name><uuid>{uuid}</uuid>{"<forward mode='nat'/>" if nat else ""}
      <bridge name='{bridge}' stp='off' delay='0'/><dns enable='no'/>
      <ip address='{address}' prefix='24'/>
    </network>"""


def test_volume_uploaded_is_the_image_and_intact(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    source = image(tmp_path / "image", 10 * MIB + 77)
    seen: list[int] = []

    made = hypervisor.storage.upload_volume(
        pool, "v", source, offset=1000, length=9 * MIB + 5, mode=0o600, progress=seen.append
    )

    assert made.path.read_bytes() == source.read_bytes()[1000 : 1000 + 9 * MIB + 5]
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert made.physical_bytes == 9 * MIB + 5
    assert seen == [4 * MIB, 8 * MIB, 9 * MIB + 5]
    assert made == hypervisor.storage.volume(pool, "v")
    assert hypervisor.storage.volumes(pool) == (made,)
    intact = hypervisor.storage.volume_intact
    assert intact(pool, "v", source, offset=1000, length=9 * MIB + 5)
    assert not intact(pool, "v", source, offset=1001, length=9 * MIB + 5)
    assert not intact(pool, "v", source, offset=1000, length=9 * MIB + 6)
    assert not intact(pool, "absent", source)
    with pytest.raises(ConflictError, match=r"create the volume 'v' .* the name is taken"):
        hypervisor.storage.upload_volume(pool, "v", source)
    assert intact(pool, "v", source, offset=1000, length=9 * MIB + 5)


def test_volume_of_another_length_or_tail_is_not_intact(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    source = image(tmp_path / "image", 2 * MIB)
    path = hypervisor.storage.upload_volume(pool, "v", source).path
    data = source.read_bytes()

    path.write_bytes(data[:-1])
    assert not hypervisor.storage.volume_intact(pool, "v", source)
    path.write_bytes(data + b"x")
    assert not hypervisor.storage.volume_intact(pool, "v", source)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert not hypervisor.storage.volume_intact(pool, "v", source)
    path.write_bytes(data)
    assert hypervisor.storage.volume_intact(pool, "v", source)


def test_volume_made_or_removed_behind_libvirt_is_noticed_after_refresh(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    source = image(tmp_path / "image", 1)
    storage = hypervisor.storage
    path = storage.upload_volume(pool, "v", source).path

    path.unlink()
    assert not storage.volume_intact(pool, "v", source)
    assert storage.volumes(pool) == ()
    path.write_bytes(source.read_bytes())
    assert storage.volume_intact(pool, "v", source)
    path.unlink()
    storage.delete_volume(pool, "v")
    assert storage.volumes(pool) == ()


def test_upload_killed_leaves_a_partial_volume_that_is_recognised_and_replaced(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    source = image(tmp_path / "image", 20 * MIB)

    killed = run([sys.executable, "-c", KILLED_UPLOAD, pool, source], timeout=30, check=False)

    assert killed.returncode == -9
    assert not hypervisor.storage.volume_intact(pool, "killed", source)
    assert hypervisor.storage.delete_volume(pool, "killed") is True
    hypervisor.storage.upload_volume(pool, "killed", source)
    assert hypervisor.storage.volume_intact(pool, "killed", source)


def test_upload_interrupted_leaves_no_volume(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    def interrupt(_sent: int) -> None:
        raise KeyboardInterrupt

    source = image(tmp_path / "image", 10 * MIB)

    with pytest.raises(KeyboardInterrupt):
        hypervisor.storage.upload_volume(pool, "v", source, progress=interrupt)

    assert hypervisor.storage.volume(pool, "v") is None
    # The connection is still good for the next one.
    hypervisor.storage.upload_volume(pool, "v", source)
    assert hypervisor.storage.volume_intact(pool, "v", source)


def test_upload_of_a_file_that_shrinks_leaves_no_volume(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    source = image(tmp_path / "image", 10 * MIB)

    with pytest.raises(OperationError, match="became shorter while it was uploaded"):
        hypervisor.storage.upload_volume(
            pool, "v", source, progress=lambda _: os.truncate(source, 5 * MIB)
        )

    assert hypervisor.storage.volume(pool, "v") is None


def test_upload_larger_than_the_pool_is_refused_with_both_figures(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    source = image(tmp_path / "image", 70 * MIB)

    with pytest.raises(HostError) as raised:
        hypervisor.storage.upload_volume(pool, "v", source)

    assert raised.value.message == (
        f"The storage pool '{pool}' has too little space for the volume 'v': "
        "70.0 MiB are needed, 64.0 MiB were free."
    )
    assert hypervisor.storage.volumes(pool) == ()


def test_upload_into_a_pool_that_fills_up_meanwhile_leaves_no_volume(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    source = image(tmp_path / "image", 40 * MIB)
    other = tmp_path / "pool" / "other"

    def fill(_sent: int) -> None:
        if not other.exists():
            other.write_bytes(bytes(45 * MIB))

    with pytest.raises(HostError, match=r"ran full .* 40\.0 MiB are needed, 64\.0 MiB") as raised:
        hypervisor.storage.upload_volume(pool, "v", source, progress=fill)

    assert raised.value.exit_code == 3
    hypervisor.storage.refresh(pool)
    assert [item.name for item in hypervisor.storage.volumes(pool)] == ["other"]


def test_pool_on_a_directory_of_another_pool_is_refused_and_not_left_defined(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    with pytest.raises(OperationError, match="define the storage pool 'second'") as raised:
        hypervisor.storage.ensure_pool("second", tmp_path / "pool")

    assert pool in raised.value.details[0]
    names = [item.name() for item in hypervisor._connection.listAllStoragePools(0)]
    assert "second" not in names


def test_pool_that_cannot_be_built_is_not_left_defined(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    blocker = tmp_path / "file"
    blocker.touch()

    with pytest.raises(OperationError, match=r"directory '.*file/pool' of the storage pool"):
        hypervisor.storage.ensure_pool("blocked", blocker / "pool")

    names = [item.name() for item in hypervisor._connection.listAllStoragePools(0)]
    assert "blocked" not in names


def test_network_nat_has_its_bridge_up_with_the_gateway_address(hypervisor: Hypervisor) -> None:
    uuid = uuid4()
    xml = network_xml("t_nat", uuid, "br-tnat", "10.77.1.254", nat=True)

    made = hypervisor.networks.ensure(xml)

    assert (made.active, made.forward) == (True, "nat")
    assert links()["br-tnat"].addresses == (ip_interface("10.77.1.254/24"),)
    assert hypervisor.networks.ensure(xml) == made
    hypervisor._connection.networkLookupByName("t_nat").destroy()
    assert "br-tnat" not in links()
    assert hypervisor.networks.ensure(xml) == made
    assert hypervisor.networks.remove(uuid) is True
    assert hypervisor.networks.remove(uuid) is False
    assert "br-tnat" not in links()


def test_network_half_removed_is_removed_the_rest_of_the_way(hypervisor: Hypervisor) -> None:
    stopped, transient = uuid4(), uuid4()
    for index, uuid in enumerate((stopped, transient)):
        hypervisor.networks.ensure(
            network_xml(f"t_{index}", uuid, f"br-t{index}", f"10.78.{index}.1", nat=False)
        )
    hypervisor._connection.networkLookupByName("t_0").destroy()
    hypervisor._connection.networkLookupByName("t_1").undefine()

    assert hypervisor.networks.remove(stopped) is True
    assert hypervisor.networks.remove(transient) is True
    assert not {"br-t0", "br-t1"} & links().keys()
    assert not {stopped, transient} & {item.uuid for item in hypervisor.networks.listed()}


def test_network_on_a_bridge_the_host_has_already_is_refused_and_not_left_defined(
    hypervisor: Hypervisor,
) -> None:
    uuid = uuid4()
    run(["ip", "link", "add", "br-host", "type", "bridge"], timeout=10)

    try:
        with pytest.raises(ConflictError, match="network 't_clash' on bridge 'br-host'"):
            hypervisor.networks.ensure(
                network_xml("t_clash", uuid, "br-host", "10.79.0.1", nat=False)
            )
        assert "br-host" in links()
        assert uuid not in {item.uuid for item in hypervisor.networks.listed()}
    finally:
        run(["ip", "link", "delete", "br-host"], timeout=10)


def test_domain_with_snapshot_is_started_powered_off_and_undefined(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    disk = hypervisor.storage.upload_volume(pool, "boot.img", boot_disk(tmp_path))
    assert disk.format == "qcow2"
    network, mine, foreign = uuid4(), uuid4(), uuid4()
    hypervisor.networks.ensure(network_xml("t_dom", network, "br-tdom", "10.80.0.1", nat=False))
    for name, uuid in (("t_mine", mine), ("t_foreign", foreign)):
        hypervisor._connection.defineXML(domain_xml(name, uuid, disk.path, "t_dom"))
    untouched = hypervisor.domain_by_uuid(foreign)

    off = hypervisor.domain_by_uuid(mine)
    assert off is not None
    assert (off.state, off.vcpus, off.memory_mib) == (DomainState.SHUTOFF, 2, 64)
    assert off.nics[0].bridge == "br-tdom"

    hypervisor.start(mine)
    running = hypervisor.domain_by_uuid(mine)
    assert running is not None
    assert (running.state, running.domain_type) == (DomainState.RUNNING, "qemu")
    assert (running.nics[0].bridge, running.nics[0].pci) == ("br-tdom", "0000:00:03.0")
    assert running.disks[0].path == disk.path
    assert not running.agent_connected
    assert hypervisor.agent_interfaces(mine) is None

    handle = hypervisor._connection.lookupByUUIDString(str(mine))
    handle.suspend()
    assert hypervisor.domain_state(mine) is DomainState.PAUSED
    hypervisor.resume(mine)
    handle.snapshotCreateXML("<domainsnapshot><name>s1</name></domainsnapshot>", 0)
    hypervisor.shutdown(mine)  # this guest ignores its power button
    with pytest.raises(OperationError, match="'t_mine' should be off"):
        hypervisor.undefine(mine)
    hypervisor.power_off(mine)
    kept = hypervisor.domain_by_uuid(mine)
    assert kept is not None
    assert (kept.state, kept.snapshots) == (DomainState.SHUTOFF, 1)
    hypervisor.shutdown(mine)
    hypervisor.undefine(mine)
    hypervisor.undefine(mine)
    assert hypervisor.domain_by_uuid(mine) is None
    assert hypervisor.domain_by_uuid(foreign) == untouched
    assert disk.path.exists()
    hypervisor.undefine(foreign)
    hypervisor.networks.remove(network)


def test_domain_with_managed_save_is_undefined(
    hypervisor: Hypervisor, pool: str, tmp_path: Path
) -> None:
    disk = hypervisor.storage.upload_volume(pool, "boot.img", boot_disk(tmp_path))
    uuid = uuid4()
    domain = hypervisor._connection.defineXML(domain_xml("t_saved", uuid, disk.path, None))
    hypervisor.start(uuid)
    domain.managedSave(0)
    saved = hypervisor.domain_by_uuid(uuid)
    assert saved is not None
    assert saved.has_managed_save

    hypervisor.undefine(uuid)

    assert hypervisor.domain_by_uuid(uuid) is None


def test_kvm_is_asked_about_machines_that_exist(hypervisor: Hypervisor) -> None:
    assert isinstance(hypervisor.offers_kvm(), bool)
    with pytest.raises(OperationError, match="'toaster' machines on 'x86_64'"):
        hypervisor.offers_kvm(machine="toaster")
