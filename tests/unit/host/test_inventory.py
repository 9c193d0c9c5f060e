"""What a lab sees of a host, on libvirt's own in-process test driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.host.inventory import POOL, look
from labkit.host.libvirt.connection import Hypervisor, connect

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
