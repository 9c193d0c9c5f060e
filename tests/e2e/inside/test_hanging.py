"""A libvirtd and a QEMU that hang."""

from __future__ import annotations

import os
import signal
import subprocess  # noqa: TID251 -- the labkit that Ctrl-C is meant for
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from labkit.errors import HostError, OperationError
from labkit.host.libvirt.calls import Patience
from labkit.host.libvirt.connection import connect
from labkit.host.process import environment, run
from labkit.waiting import Deadline, NotYet, wait_until
from tests.e2e.inside.test_hypervisor import boot_disk
from tests.support.driver import LABKIT, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

LIBVIRTD_PID = Path("/run/libvirtd.pid")
SHORT = Patience(quiet=1, answer=3, call=3)


@contextmanager
def stopped(pid_file: Path) -> Iterator[None]:
    pid = int(pid_file.read_text(encoding="ascii"))
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def status(tmp_path: Path) -> list[str]:
    """Return a command that asks libvirt from the main thread."""
    lab = tmp_path / "lab.yaml"
    lab.write_bytes((ROOT / "lab.yaml").read_bytes())
    return [*LABKIT, "status", "--lab", str(lab)]


def test_verb_with_a_libvirtd_that_hangs_ends_with_3_and_says_so(status: list[str]) -> None:
    with stopped(LIBVIRTD_PID):
        result = run(status, timeout=60, check=False)

    assert result.returncode == 3
    assert "libvirtd hangs" in result.stderr
    assert "systemctl restart libvirtd" in result.stderr
    assert run(status, timeout=60).returncode == 0


@pytest.fixture
def _ctrl_c_not_ignored() -> Iterator[None]:
    """Let a verb hear Ctrl-C also where a shell started these tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_not_ignored")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_verb_with_a_libvirtd_that_hangs_hears_an_interrupt(
    status: list[str], number: signal.Signals
) -> None:
    with (
        stopped(LIBVIRTD_PID),
        subprocess.Popen(status, env=environment(), stderr=subprocess.PIPE, text=True) as verb,
    ):
        tasks = Path("/proc", str(verb.pid), "task")

        def asks() -> None:
            if len(list(tasks.iterdir())) < 2:
                raise NotYet

        wait_until(asks, what="the call to libvirtd", deadline=Deadline.after(20))
        began = time.monotonic()
        verb.send_signal(number)
        _, said = verb.communicate(timeout=20)

    assert verb.returncode == 130
    assert "interrupted" in said
    assert time.monotonic() - began < 3


def test_connection_to_a_libvirtd_that_stops_raises_and_a_new_one_works() -> None:
    with connect(patience=SHORT) as hypervisor:
        assert hypervisor.domains() == ()
        with stopped(LIBVIRTD_PID), pytest.raises(HostError, match="libvirtd hangs"):
            hypervisor.domains()

    with connect() as hypervisor:
        assert hypervisor.domains() == ()


def test_upload_to_a_libvirtd_that_stops_raises(tmp_path: Path) -> None:
    source = tmp_path / "image"
    source.write_bytes(os.urandom(64 * 2**20))
    stop = stopped(LIBVIRTD_PID)

    def progress(sent: int) -> None:
        if sent == 8 * 2**20:
            stop.__enter__()

    try:
        with connect(patience=SHORT) as hypervisor, pytest.raises(HostError, match="hangs"):
            hypervisor.storage.upload_volume("default", "v", source, progress=progress)
    finally:
        stop.__exit__(None, None, None)

    with connect() as hypervisor:
        hypervisor.storage.delete_volume("default", "v")


def test_qemu_that_hangs_fails_the_call_and_leaves_the_connection(tmp_path: Path) -> None:
    identity, name = uuid4(), "hangs"
    xml = f"""
    <domain type='qemu'><name>{name}</name><uuid>{identity}</uuid>
      <memory unit='MiB'>64</memory><os><type machine='q35'>hvm</type></os>
      <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
        <source file='{boot_disk(tmp_path)}'/><target dev='vda' bus='virtio'/></disk></devices>
    </domain>"""
    with connect() as hypervisor:
        hypervisor.run_while_connected(xml)
        with connect(patience=SHORT) as impatient, stopped(Path("/run/libvirt/qemu/hangs.pid")):
            with pytest.raises(OperationError, match="could not pause") as caught:
                impatient.snapshots.suspend(identity)
            assert len(impatient.networks.listed()) == 0

        assert "QEMU or the storage may hang" in caught.value.details[0]
        hypervisor.power_off(identity)
