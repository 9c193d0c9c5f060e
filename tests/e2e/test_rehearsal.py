"""The main job, as the README's first command runs it: `labkit rehearsal` in a sandbox."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.documentation import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.host.process import CommandResult

SECONDS = 900
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(SECONDS + 300)]
STAGES = [
    "up",
    "up again",
    "status",
    "ssh",
    "ping",
    "snapshot",
    "deploy",
    "versions",
    "tunnel",
    "restore",
    "deploy again",
    "verify",
    "destroy",
]


def test_rehearsal_goes_from_up_to_destroy_and_writes_its_figures(
    in_sandbox: Callable[..., CommandResult], rehearsal_box: None, tmp_path: Path
) -> None:
    del rehearsal_box
    report = tmp_path / "rehearsal.json"
    lab = ROOT / "lab.yaml"
    words = ("rehearsal", "--lab", lab, "--report", report)

    done = in_sandbox(sys.executable, "-m", "labkit", *words, timeout=SECONDS, cwd=ROOT)

    told = json.loads(report.read_text(encoding="utf-8"))
    assert list(told["seconds"]) == STAGES
    assert told["stand_in"] is True
    results = told["results"]
    assert re.fullmatch(r"\d+ ok, 0 failed, 0 not judged", results["deploy"])
    assert results["deploy again"] == results["verify"] == results["deploy"]
    assert results["versions"].startswith("openstack-packstack-12.0.2-1")
    assert "puppet-4.8.2-0.stand_in" in results["versions"]
    assert "3 packets through each of 1 tunnels" in results["tunnel"]
    assert "memory kept, br-ex gone" in results["restore"]
    assert results["destroy"].endswith("nothing left")
    assert all(stage in done.stdout for stage in STAGES)
    assert "stand-in guests, not CentOS and not OpenStack" in done.stderr
