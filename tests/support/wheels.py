"""labkit's wheel, built from a copy of the tree and installed in an environment of its own."""

from __future__ import annotations

import shutil
import site
import sys
import venv
from typing import TYPE_CHECKING

from labkit.host.process import run
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = ("labkit", "boxes", "docs", "kickstart", "Vagrantfile.j2", "lab.yaml", "pyproject.toml")
TEXTS = ("README.md", "LICENSE")


def build(place: Path) -> Path:
    """Build from a copy, so that nothing is written into the tree and nothing left there counts."""
    source = place / "source"
    source.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "data")
    for name in (*SOURCES, *TEXTS):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place],
        cwd=source,
        timeout=100,
    )
    (built,) = place.glob("labkit_openstack-*.whl")
    return built


def install(wheel: Path, place: Path) -> Path:
    """Install the wheel, with this environment's packages beside it; return its `labkit`."""
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    run(
        [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel],
        timeout=100,
    )
    (packages,) = place.glob("lib/python*/site-packages")
    # Behind the wheel on the path, and without the tree that an editable install adds.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return place / "bin" / "labkit"
