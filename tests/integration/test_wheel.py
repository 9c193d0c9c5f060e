"""The wheel, installed in an environment of its own outside the tree, does what the checkout does."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import environment, run
from tests.support import wheels
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and return its `labkit`."""
    return wheels.install(wheel, tmp_path_factory.mktemp("installed") / "venv")


def files_under(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_wheel_carries_every_shipped_file_and_no_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {
        f"labkit/data/{path.relative_to(ROOT).as_posix()}"
        for name in ("boxes", "kickstart")
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped
    assert shipped | {"labkit/data/Vagrantfile.j2", "labkit/data/lab.yaml"} <= names
    beside = {
        path.relative_to(ROOT).as_posix()
        for kind in ("*.sh", "*.tsv", "*.yaml")
        for path in (ROOT / "labkit").rglob(kind)
    }
    assert "labkit/packstack/guest/start.sh" in beside
    assert beside | {"labkit/py.typed"} <= names
    assert not [name for name in names if name.startswith("tests/")]


def test_installed_labkit_renders_what_the_checkout_renders(
    installed: Path, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "lab.yaml", tmp_path / "lab.yaml")
    commands: dict[str, list[str | Path]] = {
        "wheel": [installed],
        "checkout": [sys.executable, "-m", "labkit"],
    }
    for name, command in commands.items():
        run(
            [*command, "render", name, "--box", "rehearsal"],
            cwd=tmp_path,
            env=environment(**({"PYTHONPATH": str(ROOT)} if name == "checkout" else {})),
            timeout=60,
        )
    rendered = files_under(tmp_path / "wheel")
    assert "Vagrantfile" in rendered
    assert "compute/etc/sysconfig/network-scripts/ifcfg-enp0s8" in rendered
    assert rendered == files_under(tmp_path / "checkout")


def test_wheel_says_what_it_is_and_brings_the_command_labkit(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (place,) = {Path(name).parts[0] for name in archive.namelist() if ".dist-info/" in name}
        told = message_from_bytes(archive.read(f"{place}/METADATA"))
        scripts = archive.read(f"{place}/entry_points.txt").decode()
    assert (told["Name"], told["License-Expression"]) == ("labkit-openstack", "Apache-2.0")
    assert "Environment :: OpenStack" in (told.get_all("Classifier") or [])
    assert told["Keywords"]
    assert "labkit = labkit.cli.app:main" in scripts


def test_installed_manual_page_is_where_man_looks(installed: Path) -> None:
    # man-db takes share/man beside each bin of PATH: manpath(5).
    page = installed.parent.parent / "share" / "man" / "man1" / "labkit.1"
    assert page.read_bytes() == (ROOT / "docs" / "labkit.1").read_bytes()


def test_installed_labkit_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    python = installed.with_name("python")
    code = "import labkit, labkit.resources as r; print(labkit.__file__); print(r.root())"
    for line in run([python, "-c", code], cwd=tmp_path, timeout=60).stdout.splitlines():
        assert Path(line).is_relative_to(installed.parent.parent)


def test_installed_labkit_knows_the_boxes_by_the_same_key(installed: Path, tmp_path: Path) -> None:
    def keys(command: Sequence[str | Path], place: Path) -> dict[str, str]:
        listed = run([*command, "box", "list", "--json"], cwd=place, timeout=60).stdout
        return {box["name"]: box["key"] for box in json.loads(listed)["boxes"]}

    found = keys([installed], tmp_path)
    assert "rehearsal" in found
    assert found == keys([sys.executable, "-m", "labkit"], ROOT)
