from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from labkit.errors import HostError, OperationError
from labkit.lab.topology import network_uuid, node_uuid
from labkit.lifecycle.sweep import Standing, Sweeping, Swept, judge, state_in_directory, sweep
from labkit.state.directory import LabDirectory, LabState, NodeState, path_lab_id
from labkit.state.lock import lab_lock
from labkit.state.registry import Record, Registry
from tests.fakes.libvirt import FakeHost
from tests.fakes.tools import tools
from tests.support import labs

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def record(directory: Path, *, expires: datetime | None = None) -> Record:
    state = LabState(lab="demo", lab_id=path_lab_id(directory), expires=expires)
    return Record(directory=directory, state=state)


@pytest.mark.parametrize(
    ("expires", "here", "things", "verdict"),
    [
        (None, True, 5, Standing.KEPT),
        (NOW + SECOND, True, 5, Standing.KEPT),
        (NOW, True, 5, Standing.EXPIRED),
        (NOW - SECOND, True, 5, Standing.EXPIRED),
        (NOW - SECOND, True, 0, Standing.EXPIRED),
        (None, True, 0, Standing.KEPT),
        (NOW + SECOND, False, 1, Standing.ORPHANED),
        # Expired as it is, only its owner can say whether its directory comes back.
        (NOW - SECOND, False, 1, Standing.ORPHANED),
        (None, False, 0, Standing.VANISHED),
    ],
)
def test_judge_a_lab_by_its_time_its_directory_and_what_it_has(
    tmp_path: Path,
    expires: datetime | None,
    here: bool,  # noqa: FBT001 -- a parameter of the table above
    things: int,
    verdict: Standing,
) -> None:
    state = record(tmp_path, expires=expires).state

    assert judge(state, now=NOW, here=here, things=things) is verdict


def test_lab_is_here_while_its_directory_has_it(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    known = record(directory.path)
    renewed = known.state.model_copy(update={"expires": NOW})
    assert state_in_directory(known) is None

    directory.create()
    assert state_in_directory(known) is None, "an empty directory has no lab"

    directory.save(renewed)
    assert state_in_directory(known) == renewed


def test_lab_is_not_here_when_another_one_took_its_directory(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    directory.create()
    directory.save(LabState(lab="demo", lab_id=path_lab_id(tmp_path / "elsewhere")))

    assert state_in_directory(record(directory.path)) is None


def test_lab_whose_state_file_is_damaged_is_here(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    directory.create()
    directory.state_file.write_text("{", encoding="utf-8")

    known = record(directory.path)
    assert state_in_directory(known) == known.state


def test_lab_whose_directory_cannot_be_reached_counts_as_gone(tmp_path: Path) -> None:
    # Longer than the kernel takes: like a dead disk, an error that is not "no such file".
    known = record(tmp_path / "demo").model_copy(update={"directory": tmp_path / ("x" * 300)})

    assert state_in_directory(known) is None


@pytest.fixture
def expired(tmp_path: Path) -> Sweeping:
    """Return an expired lab whose directory and record are there."""
    registry = Registry(tmp_path / "records")
    directory = LabDirectory(tmp_path / "demo")
    directory.create()
    state = LabState(lab="demo", lab_id=path_lab_id(directory.path), expires=NOW)
    directory.save(state)
    registry.enter(directory, state)
    (known,) = registry.records()[0]
    return Sweeping(
        registry=registry,
        progress=lambda _event: None,
        record=known,
        state=state,
        standing=Standing.EXPIRED,
        things=("domain demo_controller",),
        tools=tools(connect=FakeHost().connect),
    )


def test_expired_lab_renewed_before_it_is_held_is_left_alone(expired: Sweeping) -> None:
    directory = LabDirectory(expired.record.directory)
    renewed = expired.state.model_copy(update={"expires": NOW + SECOND})
    directory.save(renewed)

    said = expired.run(orphans=True, dry_run=False)

    assert (said.removed, said.failed) == (False, False)
    assert said.result == "left alone: it changed meanwhile"
    assert directory.load("demo") == renewed


def test_orphaned_lab_entered_anew_before_it_is_held_is_left_alone(expired: Sweeping) -> None:
    orphaned = replace(expired, standing=Standing.ORPHANED)
    expired.registry.enter(LabDirectory(Path("/elsewhere/demo")), expired.state)

    said = orphaned.run(orphans=True, dry_run=False)

    assert (said.removed, said.failed) == (False, False)
    assert said.result == "left alone: it changed meanwhile"


def test_expired_lab_in_use_is_left_alone_and_says_by_whom(expired: Sweeping) -> None:
    with lab_lock(LabDirectory(expired.record.directory), "deploy"):
        said = expired.run(orphans=True, dry_run=False)

    assert (said.removed, said.failed) == (False, False)
    assert re.fullmatch(r"left alone: 'labkit deploy', process .* is working on it", said.result)


def test_expired_lab_that_cannot_be_removed_fails_and_says_why(expired: Sweeping) -> None:
    LabDirectory(expired.record.directory).state_file.write_text("{", encoding="utf-8")

    said = expired.run(orphans=True, dry_run=False)

    assert (said.removed, said.failed) == (False, True)
    assert "state.json' cannot be read" in said.result


def test_orphaned_lab_that_cannot_be_lent_a_directory_fails_and_says_why(
    expired: Sweeping,
) -> None:
    orphaned = replace(expired, standing=Standing.ORPHANED)
    lent = expired.registry.path / "orphans" / str(expired.state.lab_id)
    (lent / "state.json").mkdir(parents=True)

    said = orphaned.run(orphans=True, dry_run=False)

    assert (said.removed, said.failed) == (False, True)
    assert "state.json" in said.result


def test_vanished_lab_takes_what_a_killed_removal_left_with_it(expired: Sweeping) -> None:
    expired.registry.stand_in_directory(expired.record)

    replace(expired, standing=Standing.VANISHED, things=()).run(orphans=False, dry_run=False)

    assert [each for each in expired.registry.path.rglob("*") if each.name == "state.json"] == []


def test_vanished_lab_loses_its_record_unless_only_asked(expired: Sweeping) -> None:
    vanished = replace(expired, standing=Standing.VANISHED, things=())

    asked = vanished.run(orphans=False, dry_run=True)
    assert expired.registry.records() == ((expired.record,), ())
    done = vanished.run(orphans=False, dry_run=False)

    assert expired.registry.records() == ((), ())
    assert asked.result == "would remove its record; nothing else was left"
    assert done.result == "removed its record; nothing else was left"


def test_orphaned_lab_is_left_alone_unless_orphans_are_asked_for(expired: Sweeping) -> None:
    orphaned = replace(expired, standing=Standing.ORPHANED)

    unasked = orphaned.run(orphans=False, dry_run=False)
    asked = orphaned.run(orphans=True, dry_run=True)

    assert (unasked.removed, asked.removed) == (False, True)
    assert "'labkit sweep --orphans' removes it" in unasked.result
    assert asked.result == "would remove 1 thing"
    assert not (expired.registry.path / "orphans").exists()


def test_swept_as_json_is_plain_data(tmp_path: Path) -> None:
    swept = Swept(
        lab="demo",
        directory=tmp_path,
        expires=NOW,
        standing=Standing.EXPIRED,
        removed=True,
        failed=False,
        result="removed 7 things",
    )

    assert json.loads(json.dumps(swept.as_json())) == {
        "lab": "demo",
        "directory": str(tmp_path),
        "expires": "2026-11-26T12:00:00+00:00",
        "verdict": "expired",
        "removed": True,
        "failed": False,
        "result": "removed 7 things",
    }


def put_up(registry: Registry, host: FakeHost, path: Path, number: int) -> LabDirectory:
    """Let a lab of one node whose time is over be on record, on the host, and in its directory."""
    directory = LabDirectory(path / f"lab{number}")
    directory.create()
    lab_id = path_lab_id(directory.path)
    lan = replace(labs.network(), uuid=network_uuid(lab_id, "lan"), libvirt_name=f"net{number}")
    node = replace(
        labs.node("one", 1, lan), uuid=node_uuid(lab_id, "one"), domain=f"lab{number}_one"
    )
    lab = replace(labs.lab(), name=f"lab{number}", lab_id=lab_id, networks=(lan,), nodes=(node,))
    host.add_lab(lab)
    state = LabState(
        lab=lab.name,
        lab_id=lab_id,
        nodes={"one": NodeState(created=True)},
        networks=("lan",),
        volumes=(node.disk_volume, node.seed_volume),
        expires=NOW,
    )
    directory.save(state)
    registry.enter(directory, state)
    return directory


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


def swept(registry: Registry, host: FakeHost, *, orphans: bool = False) -> list[Swept]:
    return list(
        sweep(registry, lambda _event: None, tools=tools(connect=host.connect), orphans=orphans)
    )


def test_sweep_removes_all_of_every_lab_whose_time_is_over(tmp_path: Path, host: FakeHost) -> None:
    registry = Registry(tmp_path / "records")
    directories = [put_up(registry, host, tmp_path, number) for number in (1, 2)]
    said = swept(registry, host)
    assert [each.result for each in said] == ["removed 4 things", "removed 4 things"]
    assert (host.domains, host.networks, host.volumes) == ({}, {}, {})
    assert not [each for each in directories if each.path.exists()]
    assert registry.records() == ((), ())


def test_sweep_of_a_lab_that_stays_removes_the_next_and_keeps_what_is_known(
    tmp_path: Path, host: FakeHost
) -> None:
    registry = Registry(tmp_path / "records")
    first, second = (put_up(registry, host, tmp_path, number) for number in (1, 2))
    host.fail("undefine", "lab1_one", OperationError("libvirt refuses."))
    said = swept(registry, host)
    assert [(each.failed, each.removed) for each in said] == [(True, False), (False, True)]
    assert said[0].result == (
        "Not everything of the lab 'lab1' could be removed. domain lab1_one libvirt refuses."
    )
    assert first.load("lab1").nodes
    assert not second.path.exists()
    assert [each.state.lab for each in registry.records()[0]] == ["lab1"]


def test_sweep_of_a_lab_whose_directory_stays_tells_what_refuses(
    tmp_path: Path, host: FakeHost
) -> None:
    registry = Registry(tmp_path / "records")
    directory = put_up(registry, host, tmp_path, 1)
    directory.lock.mkdir()
    (said,) = swept(registry, host)
    assert said.failed
    assert said.result.startswith(f"labkit cannot use '{directory.lock}': Is a directory.")


def test_sweep_without_libvirt_raises_that_and_removes_nothing(
    tmp_path: Path, host: FakeHost
) -> None:
    registry = Registry(tmp_path / "records")
    directory = put_up(registry, host, tmp_path, 1)
    host.fail("connect", "", HostError("libvirtd does not answer."))
    with pytest.raises(HostError):
        swept(registry, host)
    assert directory.load("lab1").nodes


def test_sweep_removes_an_orphan_when_asked_and_its_lent_directory(
    tmp_path: Path, host: FakeHost
) -> None:
    registry = Registry(tmp_path / "records")
    shutil.rmtree(put_up(registry, host, tmp_path, 1).path)
    (asked,) = swept(registry, host)
    assert (asked.removed, len(host.domains)) == (False, 1)
    (said,) = swept(registry, host, orphans=True)
    assert said.result == "removed 4 things"
    assert (host.domains, host.networks, host.volumes) == ({}, {}, {})
    assert [each for each in registry.path.rglob("*") if each.is_file()] == []
