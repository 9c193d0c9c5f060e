"""The libvirt adapter on a real libvirtd and real QEMU, inside the sandbox."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from labkit.host.process import run

pytestmark = pytest.mark.e2e


@pytest.mark.skipif(os.geteuid() != 0, reason="the sandbox needs root: run 'sudo make test'")
@pytest.mark.skipif(
    shutil.which("libvirtd") is None, reason="libvirtd is missing: run 'make setup'"
)
@pytest.mark.parametrize("name", ["hypervisor_inside.py", "pool_inside.py", "hanging_inside.py"])
def test_hypervisor_on_a_real_libvirtd_passes_every_case(name: str) -> None:
    pytest_inside = [sys.executable, "-m", "pytest", "-m", "e2e", "-p", "no:cacheprovider"]
    result = run(
        [
            sys.executable,
            "-m",
            "labkit",
            "sandbox",
            "--",
            *pytest_inside,
            Path(__file__).with_name(name),
        ],
        cwd=Path(__file__).parents[2],
        timeout=110,
        check=False,
    )

    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert " passed" in result.stdout
    assert " skipped" not in result.stdout
