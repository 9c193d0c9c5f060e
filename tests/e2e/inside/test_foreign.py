"""A host that is not ready, or that has somebody else's things where the lab's would go."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import run
from labkit.waiting import Deadline, NotYet, wait_until
from tests.support.driver import (
    POOL_PATH,
    QUICK_SECONDS,
    Inventory,
    Lab,
    inventory,
    virsh,
    wait_for_no,
    write_lab,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

DOMAIN = """\
<domain type='qemu'><name>small_one</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><disk type='file'><source file='/var/lib/libvirt/images/small_one.img'/>
<target dev='vda' bus='virtio'/></disk></devices></domain>
"""
NETWORK = "<network><name>small_lan</name><bridge name='lkforeign'/></network>"
VOLUMES = ("small_one.img", "small_one_seed.iso")


@contextmanager
def pool_of(size: str) -> Iterator[None]:
    """Put a small file system under the storage pool for a while."""
    run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tiny", POOL_PATH], timeout=10)
    try:
        virsh("pool-refresh", "default")
        yield
    finally:
        run(["umount", POOL_PATH], timeout=10)
        virsh("pool-refresh", "default")


def test_foreign_things_of_the_lab_names_are_refused_and_stay(
    lab: Lab, before: Inventory, tmp_path: Path
) -> None:
    for name, text in (("domain", DOMAIN), ("network", NETWORK)):
        (tmp_path / f"{name}.xml").write_text(text)
    for volume in VOLUMES:
        virsh("vol-create-as", "default", volume, "64K")
        (POOL_PATH / volume).write_bytes(b"somebody else's" * 100)
    virsh("define", str(tmp_path / "domain.xml"))
    virsh("net-define", str(tmp_path / "network.xml"))
    seen = (virsh("dumpxml", "small_one"), virsh("net-dumpxml", "small_lan"))
    try:
        dry = lab.up("--dry-run", code=4)
        refused = lab.up(code=4)
        after_up = (virsh("dumpxml", "small_one"), virsh("net-dumpxml", "small_lan"))
        destroyed = lab.run("destroy")
        after_destroy = (virsh("dumpxml", "small_one"), virsh("net-dumpxml", "small_lan"))
        kept = [(POOL_PATH / name).read_bytes() for name in VOLUMES]
    finally:
        virsh("undefine", "small_one")
        virsh("net-undefine", "small_lan")
        for volume in VOLUMES:
            virsh("vol-delete", volume, "default")

    for result in (dry, refused):
        assert "a domain named 'small_one' exists that is not this lab's" in result.stderr
        assert "network 'small_lan'" in result.stderr
        for volume in VOLUMES:
            assert f"the volume '{POOL_PATH / volume}' exists" in result.stderr
    assert "nothing of the lab 'small' exists" in destroyed.stdout
    assert seen == after_up == after_destroy
    assert kept == [b"somebody else's" * 100] * 2
    assert inventory() == before


def test_foreign_device_with_the_bridge_name_is_refused_and_stays(
    lab: Lab, before: Inventory
) -> None:
    lab.run("render", str(lab.file.with_suffix("")))
    xml = (lab.file.with_suffix("") / "networks" / "lan.xml").read_text()
    bridge = xml.split("bridge name=")[1][1:].split(xml.split("bridge name=")[1][0])[0]
    run(["ip", "link", "add", bridge, "type", "bridge"], timeout=10)
    try:
        result = lab.up(code=3)
        lab.run("destroy")
        assert f"a device '{bridge}' exists on this host" in result.stderr
        assert inventory().links == before.links | {bridge}
    finally:
        run(["ip", "link", "delete", bridge], timeout=10)


def test_range_in_use_on_the_host_is_refused(lab: Lab) -> None:
    run(["ip", "link", "add", "uplink", "type", "bridge"], timeout=10)
    try:
        run(["ip", "address", "add", "10.77.1.77/16", "dev", "uplink"], timeout=10)
        result = lab.up(code=3)
    finally:
        run(["ip", "link", "delete", "uplink"], timeout=10)
    assert "overlaps 10.77.1.77/16 on the host's 'uplink'" in result.stderr
    lab.run("destroy")


def test_missing_host_bridge_is_a_host_error(before: Inventory, tmp_path: Path) -> None:
    network = "{mode: bridge, bridge: br-none, cidr: 10.77.1.0/24}"
    lab = write_lab(tmp_path, "small", 1, network=network)

    result = lab.up(code=3)

    assert "the host has no bridge 'br-none'" in result.stderr
    assert "ip link add br-none type bridge" in result.stderr
    lab.run("destroy")
    assert inventory() == before


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (("route", "add", "10.77.1.0/24", "dev", "tun9"), "10.77.1.0/24 by 'tun9'; choose"),
        (
            ("route", "add", "10.77.1.8/29", "dev", "tun9", "table", "77"),
            "route 10.77.1.8/29 by 'tun9' in table 77; choose",
        ),
    ],
)
def test_case_18_route_of_a_vpn_is_refused(
    lab: Lab, before: Inventory, make: tuple[str, ...], told: str
) -> None:
    run(["ip", "tuntap", "add", "tun9", "mode", "tun"], timeout=10)
    try:
        run(["ip", "link", "set", "tun9", "up"], timeout=10)
        run(["ip", *make], timeout=10)
        results = [lab.run("doctor", "--json", code=3), lab.run("up", "--dry-run", code=3)]
        results.append(lab.up(code=3))
    finally:
        run(["ip", "link", "delete", "tun9"], timeout=10)
    assert all(told in result.stdout + result.stderr for result in results)
    lab.run("destroy")
    assert inventory() == before


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (("link", "add", "br9", "type", "veth", "peer", "name", "br8"), "a device of kind 'veth'"),
        (("tuntap", "add", "br9", "mode", "tap"), "a device of kind 'tun'"),
        (("link", "add", "br9", "type", "bridge"), "the bridge 'br9' is down"),
    ],
)
def test_case_17_and_19_device_that_is_no_bridge_or_down_is_refused(
    before: Inventory, tmp_path: Path, make: tuple[str, ...], told: str
) -> None:
    network = "{mode: bridge, bridge: br9, cidr: 10.77.1.0/24}"
    lab = write_lab(tmp_path, "small", 1, network=network)
    run(["ip", *make], timeout=10)
    try:
        results = [lab.run("doctor", "--json", code=3), lab.run("up", "--dry-run", code=3)]
        results.append(lab.up(code=3))
    finally:
        run(["ip", "link", "delete", "br9"], timeout=10)
    assert all(told in result.stdout + result.stderr for result in results)
    lab.run("destroy")
    assert inventory() == before


def test_case_15_and_16_pool_is_looked_at_before_anything_is_made(
    lab: Lab, before: Inventory
) -> None:
    defined = virsh("pool-dumpxml", "default")
    other = lab.file.with_name("pool.xml")
    virsh("pool-destroy", "default")
    try:
        off = [lab.run("doctor", "--json"), lab.run("up", "--dry-run")]
        lab.run("destroy", "--dry-run")
        virsh("pool-undefine", "default")
        other.write_text(defined.replace("<name>default<", "<name>images<"))
        virsh("pool-define", str(other))
        results = [lab.run("doctor", "--json", code=3), lab.run("up", "--dry-run", code=3)]
        results.append(lab.up(code=3))
        virsh("pool-undefine", "images")
    finally:
        other.write_text(defined)
        virsh("pool-define", str(other))
        virsh("pool-start", "default")
    assert all("'labkit up' starts it" in result.stdout + result.stderr for result in off)
    assert all("set 'pool: images'" in result.stdout + result.stderr for result in results)
    lab.run("destroy")
    assert inventory() == before


def test_pool_without_space_for_the_box_is_a_host_error(lab: Lab, before: Inventory) -> None:
    with pool_of("64M"):
        result = lab.up(code=3)
        assert list(POOL_PATH.iterdir()) == []
    assert "storage pool 'default'" in result.stderr
    assert "MiB are needed" in result.stderr
    assert "MiB were free" in result.stderr
    lab.run("destroy")
    assert inventory() == before


def test_pool_without_space_for_the_disks_is_a_host_error(lab: Lab, before: Inventory) -> None:
    listed = lab.run("box", "list", "--json").stdout
    (box,) = (
        Path(box["cached"]) for box in json.loads(listed)["boxes"] if box["name"] == "rehearsal"
    )
    room = box.stat().st_size // 2**20 + 20
    with pool_of(f"{room}M"):
        result = lab.up(code=3)
        lab.run("destroy")
        assert {path.name.split("-")[0] for path in POOL_PATH.iterdir()} == {"labkit"}
    assert "storage pool 'default'" in result.stderr
    assert inventory() == before


def test_broken_state_file_is_named_with_its_remedy(lab: Lab, before: Inventory) -> None:
    lab.directory.mkdir(parents=True)
    (lab.directory / "state.json").write_text('{"version": 1, "lab": ')
    result = lab.run("destroy", code=4)
    assert str(lab.directory / "state.json") in result.stderr
    (lab.directory / "state.json").unlink()
    lab.run("destroy")
    assert inventory() == before


def test_state_directory_that_cannot_be_made_is_a_host_error(
    lab: Lab, before: Inventory, tmp_path: Path
) -> None:
    (tmp_path / "occupied").write_text("a file")
    blocked = Lab(
        file=lab.file, name=lab.name, environment={"LABKIT_STATE_DIR": str(tmp_path / "occupied")}
    )
    result = blocked.up(code=3)
    assert "occupied" in result.stderr
    assert "LABKIT_STATE_DIR" in result.stderr
    assert inventory() == before


def test_libvirtd_that_does_not_run_is_a_host_error(lab: Lab) -> None:
    pid = int(Path("/run/libvirtd.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    wait_for_no("libvirtd")
    try:
        for verb in (["up"], ["up", "--dry-run"], ["status"], ["halt"], ["destroy"]):
            result = lab.run(*verb, code=3)
            assert "libvirtd does not answer" in result.stderr
            assert "hint: Start it with" in result.stderr
            assert "Traceback" not in result.stderr
    finally:
        run(["libvirtd", "--daemon"], timeout=QUICK_SECONDS)

        def answers() -> None:
            if run(["virsh", "hostname"], timeout=20, check=False).returncode:
                raise NotYet

        wait_until(answers, what="libvirtd", deadline=Deadline.after(QUICK_SECONDS))
    lab.run("destroy")
