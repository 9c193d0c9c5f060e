"""Labs whose time is over, and labs that lost their directory, beside one that is to stay."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from labkit.state.directory import LabDirectory
from labkit.state.lock import lab_lock
from labkit.state.registry import user_registry
from tests.support.driver import (
    UP_SECONDS,
    Inventory,
    Lab,
    domain_state,
    inventory,
    up_at_once,
    write_lab,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(UP_SECONDS)]


@pytest.fixture(scope="module")
def labs(before: Inventory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Lab]]:
    assert not before.domains
    directory = tmp_path_factory.mktemp("labs")
    timed, lasting = write_lab(directory, "timed", 21), write_lab(directory, "lasting", 22)
    text = timed.file.read_text().replace("box: rehearsal", "box: rehearsal\nexpires: 2h")
    timed.file.write_text(text)
    up_at_once(timed, lasting)
    yield timed, lasting
    for lab in (timed, lasting):
        lab.run("destroy")


def swept(lab: Lab, *options: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """Sweep, and return what it says of each lab; which lab asks does not matter."""
    said = json.loads(lab.run("sweep", "--json", *options, code=code).stdout)["labs"]
    return {each["lab"]: each for each in said}


def let_time_pass(lab: Lab) -> None:
    """Set the end of the lab's time into the past."""
    directory = LabDirectory(lab.directory)
    state = directory.load(lab.name)
    directory.save(state.model_copy(update={"expires": datetime.now(UTC)}))


def test_labs_whose_time_is_not_over_are_kept(labs: tuple[Lab, Lab]) -> None:
    timed, lasting = labs
    running = inventory()

    said = swept(lasting, "--orphans")

    assert {name: each["verdict"] for name, each in said.items()} == {
        "timed": "kept",
        "lasting": "kept",
    }
    assert said["lasting"]["expires"] is None
    left = datetime.fromisoformat(said["timed"]["expires"]) - datetime.now(UTC)
    assert timedelta(hours=1) < left < timedelta(hours=2)
    assert json.loads(timed.run("status", "--json").stdout)["expires"] == said["timed"]["expires"]
    assert inventory() == running


def test_second_up_counts_the_time_anew(labs: tuple[Lab, Lab]) -> None:
    timed, _ = labs
    let_time_pass(timed)

    timed.up()

    said = swept(timed)["timed"]
    assert said["verdict"] == "kept"
    assert datetime.fromisoformat(said["expires"]) > datetime.now(UTC) + timedelta(hours=1)


def test_up_of_a_lab_that_no_longer_expires_takes_its_end_away(labs: tuple[Lab, Lab]) -> None:
    timed, _ = labs
    text = timed.file.read_text()
    let_time_pass(timed)
    timed.file.write_text(text.replace("expires: 2h\n", ""))

    timed.up()

    assert swept(timed)["timed"]["expires"] is None
    timed.file.write_text(text)


def test_expired_lab_that_another_labkit_works_on_is_left_alone(labs: tuple[Lab, Lab]) -> None:
    timed, lasting = labs
    let_time_pass(timed)
    running = inventory().domains

    with lab_lock(LabDirectory(timed.directory), "deploy"):
        said = swept(lasting)["timed"]

    assert (said["verdict"], said["removed"], said["failed"]) == ("expired", False, False)
    assert "'labkit deploy', process " in said["result"]
    assert inventory().domains == running


def test_dry_run_says_what_a_sweep_then_does(labs: tuple[Lab, Lab]) -> None:
    timed, lasting = labs
    let_time_pass(timed)
    running = inventory()

    asked = swept(lasting, "--dry-run")["timed"]
    assert inventory() == running
    table = lasting.run("sweep").stdout

    assert asked["result"] == "would remove 4 things"
    (line,) = (line for line in table.splitlines() if line.startswith("timed"))
    assert line.endswith("removed 4 things")
    assert inventory().domains == {"lasting_one"}
    assert not [each for each in inventory().volumes if each.startswith("timed")]
    assert not timed.directory.exists()
    assert domain_state("lasting_one") == "running"
    assert set(swept(lasting)) == {"lasting"}


def test_record_that_cannot_be_read_is_named_and_hinders_no_other(labs: tuple[Lab, Lab]) -> None:
    _, lasting = labs
    damaged = user_registry().path / "damaged.json"
    damaged.write_text("{")

    ended = lasting.run("sweep", "--json")

    damaged.unlink()
    assert [each["lab"] for each in json.loads(ended.stdout)["labs"]] == ["lasting"]
    assert ended.stderr.startswith(f"'{damaged}' cannot be read; remove it")
    assert len(ended.stderr.splitlines()) == 1


def test_lab_without_its_directory_is_removed_only_when_asked(
    labs: tuple[Lab, Lab], before: Inventory
) -> None:
    timed, lasting = labs
    shutil.rmtree(lasting.directory)

    said = swept(timed)["lasting"]
    assert (said["verdict"], said["removed"]) == ("orphaned", False)
    assert "--orphans" in said["result"]
    assert domain_state("lasting_one") == "running"
    assert swept(timed, "--orphans", "--dry-run")["lasting"]["removed"] is True
    assert domain_state("lasting_one") == "running"
    assert swept(timed, "--orphans")["lasting"]["result"] == "removed 4 things"

    assert inventory() == before
    assert not lasting.directory.exists()
    assert swept(timed) == {}
