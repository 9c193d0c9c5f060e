"""A cached box and the real Vagrant: from a cache that was moved, and from a damaged one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.cache import cached
from labkit.boxes.definition import find_box
from labkit.boxes.pool import ensure, forget
from labkit.errors import OperationError
from labkit.host.vagrant import box_directory
from tests.fakes.libvirt import FakeHost
from tests.support.boxtree import CHECKOUT, put_in_cache

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.boxes.cache import CachedBox

pytestmark = pytest.mark.integration


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CachedBox:
    """A box whose cache lies elsewhere than where it was built."""
    if shutil.which("vagrant") is None:
        pytest.skip("not installed: vagrant; run 'make setup'")
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "vagrant.d"))
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "af ter"))
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


def put(host: FakeHost, box: CachedBox, log: Path) -> str:
    with host.connect() as hypervisor:
        return ensure(hypervisor, box, pool="default", overlays=1, log_file=log, progress=print)


def test_box_of_a_moved_cache_is_taken_by_vagrant_and_forgotten_again(
    host: FakeHost, moved: CachedBox, tmp_path: Path
) -> None:
    assert put(host, moved, tmp_path / "log") == "uploaded"
    place = box_directory(moved.vagrant_name, moved.vagrant_version)
    assert (place / "box.img").read_bytes() == b"QFI\xfb" * 500
    told = forget(find_box("rehearsal", CHECKOUT), connect=host.connect)
    assert told[-1] == f"removed {moved.vagrant_name} from Vagrant's boxes"
    assert not place.exists()


def test_box_of_a_damaged_cache_is_refused_before_it_reaches_the_pool(
    host: FakeHost, moved: CachedBox, tmp_path: Path
) -> None:
    with moved.box_file.open("r+b") as stream:
        stream.seek(moved.image_offset)
        stream.write(b"X")
    with pytest.raises(OperationError, match="is damaged, and Vagrant refuses it") as caught:
        put(host, moved, tmp_path / "log")
    assert moved.sha256 in caught.value.details[0]
    assert host.calls == []
