"""One controller and eight compute nodes on stand-in guests: brought up, deployed and verified."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.deployed_guest import DEPLOY_SECONDS, deploy
from tests.support.driver import UP_SECONDS, Lab
from tests.support.many_nodes import lab_text

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPUTES = 8
# A deployment's, for each node.
SECONDS = UP_SECONDS + DEPLOY_SECONDS * (COMPUTES + 1)
pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(SECONDS)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    file = tmp_path_factory.mktemp("many") / "lab.yaml"
    file.write_text(lab_text("many", COMPUTES, number=8), encoding="utf-8")
    found = Lab(file=file, name="many")
    yield found
    found.run("destroy")


def test_nine_nodes_come_up_are_deployed_and_every_check_of_them_is_green(lab: Lab) -> None:
    lab.up()
    assert {node["state"] for node in lab.status()} == {"running"}

    report = deploy(lab, "--no-snapshot", seconds=SECONDS)

    assert report["verification"]["passed"]
    counts = json.loads(lab.run("verify", "--json", timeout=DEPLOY_SECONDS).stdout)["counts"]
    assert (counts["failed"], counts["not judged"]) == (0, 0)
    assert counts["ok"] > 100
