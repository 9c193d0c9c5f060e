"""A cached box whose cache was moved, and a damaged one, on their way into the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.boxes.cache import cached
from labkit.boxes.definition import find_box
from labkit.boxes.pool import ensure
from labkit.errors import OperationError
from tests.fakes.libvirt import FakeHost
from tests.support.boxtree import CHECKOUT, put_in_cache

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.boxes.cache import CachedBox


@pytest.fixture
def moved(tmp_path: Path) -> CachedBox:
    """A box whose cache lies elsewhere than where it was built."""
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "af ter")
    found = cached(definition, tmp_path / "af ter")
    assert found is not None
    return found


@pytest.fixture
def host() -> FakeHost:
    found = FakeHost()
    found.pools.add("default")
    return found


def put(host: FakeHost, box: CachedBox) -> str:
    with host.connect() as hypervisor:
        return ensure(hypervisor, box, pool="default", overlays=1, progress=print)


def test_box_of_a_moved_cache_is_uploaded(host: FakeHost, moved: CachedBox) -> None:
    assert put(host, moved) == "uploaded"


def test_box_of_a_damaged_cache_is_refused_before_it_reaches_the_pool(
    host: FakeHost, moved: CachedBox
) -> None:
    with moved.box_file.open("r+b") as stream:
        stream.seek(moved.image_offset)
        stream.write(b"X")
    with pytest.raises(OperationError, match="is damaged") as caught:
        put(host, moved)
    assert moved.sha256 in caught.value.details[0]
    assert host.calls == []
