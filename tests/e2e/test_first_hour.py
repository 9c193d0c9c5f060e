"""The first hour of somebody who has a wheel, is not root, and stands in an empty directory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import libvirt_user, wheels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.host.process import CommandResult

SECONDS = 420
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(SECONDS + 120)]

# PYTHONPATH would lead to the checkout.
SCRIPT = """\
set -e
unset PYTHONPATH
command -v labkit
mkdir first
cd first
labkit init --box rehearsal
ls
labkit doctor
labkit up
labkit ssh controller hostname
labkit console --log controller
labkit destroy
ls -A
"""


def test_new_user_with_a_wheel_gets_from_an_empty_directory_to_a_lab_and_back(
    in_sandbox: Callable[..., CommandResult], rehearsal_box: None, tmp_path: Path
) -> None:
    del rehearsal_box
    # tmp_path itself lets nobody else in.
    place = tmp_path / "place"
    place.mkdir()
    labkit = wheels.install(wheels.build(place), place / "venv")
    script = f"PATH={labkit.parent}:$PATH\n{SCRIPT}"

    words = (libvirt_user.__file__, place, "--", "bash", "-c", script)
    done = in_sandbox(sys.executable, *words, timeout=SECONDS, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{labkit}\nlab.schema.json\nlab.yaml\n")
    assert done.stdout.endswith("lab.schema.json\nlab.yaml\n")
    assert "controller.first.test\n" in done.stdout
    assert "login:" in done.stdout
    assert "next: 'labkit doctor', 'labkit up'" in done.stderr
    assert "make setup" not in done.stdout + done.stderr
