from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.boxes.definition import BoxDefinition, find_box
from labkit.lifecycle.up import up
from labkit.state.directory import LabDirectory
from tests.support.bringup import World, executable, put_in_cache, write_keys

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def box() -> BoxDefinition:
    return find_box("rehearsal")


@pytest.fixture
def world(box: BoxDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    tools_of_host = tmp_path / "bin"
    tools_of_host.mkdir()
    executable(tools_of_host / "ip", "echo '[]'")
    monkeypatch.setenv("PATH", f"{tools_of_host}:/usr/bin:/bin")
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "vagrant.d"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("LABKIT_BOOT_SECONDS", raising=False)
    put_in_cache(box, tmp_path / "cache")
    found = World(directory=LabDirectory(tmp_path / "labs" / "demo"))
    found.directory.create()
    write_keys(found.directory)
    return found


@pytest.fixture
def running(world: World) -> World:
    """A lab that is up."""
    up(world.session)
    world.host.calls.clear()
    return world
