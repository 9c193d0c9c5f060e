"""Runs the tests of this directory in a sandbox each module has for itself; see tests/support/reentry.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit.boxes.build import build
from labkit.boxes.definition import find_box
from labkit.host import sandbox
from labkit.host.files import cache_root
from tests.support import sandboxes
from tests.support.driver import Inventory, Lab, inventory, write_lab
from tests.support.reentry import PIPE, Reentry, Sender


def pytest_configure(config: pytest.Config) -> None:
    if not sandbox.inside(os.environ):
        here = Path(__file__).parent
        config.pluginmanager.register(Reentry(here, prepare=prepare, enter=sandboxes.argv))
    elif PIPE in os.environ:
        config.pluginmanager.register(Sender(config, Path(os.environ[PIPE])))


def prepare() -> None:
    """Skip where no sandbox can be; build the box outside of it, which has no way to packages."""
    if missing := sandboxes.missing():
        pytest.skip(missing)
    build(find_box("rehearsal"), cache_root(), progress=lambda _line: None)


@pytest.fixture(scope="module")
def before() -> Inventory:
    """Return what the host had before the module's first test."""
    return inventory()


@pytest.fixture
def lab(before: Inventory, tmp_path: Path) -> Lab:
    """Write the file of a lab of one node, on a host on which nothing was left behind."""
    seen = inventory()
    assert seen == before, f"the test before this one left something: {seen}"
    return write_lab(tmp_path, "small", 1)
