"""The main job, `labkit rehearsal` in a sandbox, as somebody who is not root.

The README's first command runs it as root, and so does every other test with guests.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import libvirt_user
from tests.support.documentation import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.host.process import CommandResult

SECONDS = 900
AS_USER = libvirt_user.__file__
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


def test_rehearsal_by_a_user_of_libvirts_group_goes_from_up_to_destroy(
    in_sandbox: Callable[..., CommandResult], rehearsal_box: None
) -> None:
    del rehearsal_box
    rehearse = f"{shlex.join([sys.executable, '-m', 'labkit'])} rehearsal --report told.json"
    script = f"id -u && {rehearse} && cat told.json"

    done = in_sandbox(
        sys.executable, AS_USER, "--", "bash", "-c", script, timeout=SECONDS, cwd=ROOT
    )

    uid, printed = done.stdout.split("\n", 1)
    assert int(uid) != 0
    told = json.loads(printed[printed.index("\n{") :])
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
    assert all(stage in printed for stage in STAGES)
    assert "stand-in guests, not CentOS and not OpenStack" in done.stderr
