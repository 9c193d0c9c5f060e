"""A storage pool that is busy."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt  # noqa: TID251 -- makes the pool busy as another program would
import pytest

from labkit.errors import OperationError
from labkit.host.inventory import POOL, POOL_PATH
from labkit.host.libvirt.connection import Hypervisor, connect
from labkit.host.libvirt.pool import refresh
from labkit.waiting import Deadline, NotYet, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

# A file with nothing in it: libvirt reads it all and writes nothing, for some seconds.
GIB = 24
COPY = f"""
<volume><name>copy</name><capacity unit='GiB'>{GIB}</capacity><allocation>0</allocation>
<target><format type='raw'/></target></volume>"""


@pytest.fixture
def hypervisor() -> Iterator[Hypervisor]:
    with connect() as connection:
        connection.storage.ensure_pool()
        yield connection


def handle(hypervisor: Hypervisor) -> libvirt.virStoragePool:
    return hypervisor._connection.storagePoolLookupByName(POOL)


def clone() -> None:
    with connect() as other:
        pool = handle(other)
        pool.createXMLFrom(COPY, pool.storageVolLookupByName("source"), 0)


@contextmanager
def busy(hypervisor: Hypervisor) -> Iterator[threading.Thread]:
    """Clone a volume; the pool is seen to be busy when the body starts."""
    source = Path(POOL_PATH) / "source"
    with source.open("wb") as file:
        file.truncate(GIB * 2**30)
    hypervisor.storage.refresh(POOL)
    cloning = threading.Thread(target=clone)
    cloning.start()

    def check() -> None:
        try:
            handle(hypervisor).refresh(0)
        except libvirt.libvirtError as exc:
            assert "asynchronous jobs" in str(exc)  # noqa: PT017 -- the other outcome is awaited
            return
        raise NotYet

    try:
        wait_until(check, what="the pool to be busy", deadline=Deadline.after(10))
        yield cloning
    finally:
        cloning.join()
        for name in ("copy", "source"):
            hypervisor.storage.delete_volume(POOL, name)


def test_refresh_of_a_busy_pool_waits_until_the_volume_is_made(hypervisor: Hypervisor) -> None:
    with busy(hypervisor) as cloning:
        hypervisor.storage.refresh(POOL)
        cloning.join(timeout=0.5)
        assert not cloning.is_alive()


def test_refresh_of_a_pool_that_stays_busy_says_so_and_what_to_do(hypervisor: Hypervisor) -> None:
    with busy(hypervisor) as cloning:
        with pytest.raises(OperationError, match="The storage pool 'default' was busy") as raised:
            refresh(handle(hypervisor), patience=0.1)
        assert cloning.is_alive()
    assert "virsh pool-refresh default" in str(raised.value.hint)
    assert "asynchronous jobs" in str(raised.value.details)
