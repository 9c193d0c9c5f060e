"""What a lab sees of a host, on libvirt's own in-process test driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError
from labkit.host.inventory import POOL, look
from labkit.host.libvirt.connection import Hypervisor, connect
from labkit.host.libvirt.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def hypervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hypervisor]:
    (tmp_path / "bin").mkdir()
    address = tmp_path / "bin" / "ip"
    address.write_text("#!/bin/sh\necho '[]'\n")
    address.chmod(0o755)
    monkeypatch.setenv("PATH", f"{address.parent}:/usr/bin:/bin")
    host = tmp_path / "host.xml"
    host.write_text("<node/>", encoding="utf-8")
    with connect(f"test://{host}") as connection:
        yield connection


def test_host_without_the_pool_is_looked_at_and_left_without(hypervisor: Hypervisor) -> None:
    for _ in range(2):
        seen = look(hypervisor, define_pool=False)
        assert (seen.pool(POOL), dict(seen.volumes)) == (None, {})


def test_host_whose_pool_is_not_active_is_looked_at_and_left_so(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    (tmp_path / "pool").mkdir()
    hypervisor.storage.ensure_pool(POOL, tmp_path / "pool")
    assert not look(hypervisor, define_pool=False).unseen(POOL)
    hypervisor._connection.storagePoolLookupByName(POOL).destroy()
    for _ in range(2):
        seen = look(hypervisor, define_pool=False)
        assert (seen.unseen(POOL), dict(seen.volumes)) == (True, {})
    assert not look(hypervisor).unseen(POOL)


def test_case_16_pool_whose_directory_is_gone_is_seen_so_and_not_started(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    hypervisor.storage.ensure_pool(POOL, tmp_path / "gone")
    hypervisor._connection.storagePoolLookupByName(POOL).destroy()

    seen = look(hypervisor, define_pool=False)

    (pool,) = seen.pools
    assert (pool.kind, pool.active, pool.present) == ("dir", False, False)
    with pytest.raises(HostError, match=r"gone' of the storage pool 'default' is gone") as caught:
        look(hypervisor)
    assert "virsh pool-build default" in caught.value.hint


def test_case_15_pool_of_another_name_is_looked_into_and_never_made(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    hypervisor.storage.ensure_pool("images", tmp_path / "images")
    seen = look(hypervisor, "images", define_pool=False)
    assert (seen.unseen("images"), seen.pool(POOL)) == (False, None)
    with pytest.raises(NotFoundError):
        look(hypervisor, "fast")
