from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError, OperationError
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots.heal import heal
from labkit.snapshots.record import Journal
from labkit.snapshots.remove import delete
from labkit.snapshots.restore import restore
from labkit.snapshots.take import take
from tests.support.snapshot_lab import LAB, ONE, TWO, World, world

if TYPE_CHECKING:
    from pathlib import Path

NAMES = tuple(node.name for node in LAB.nodes)


@pytest.fixture
def lab(tmp_path: Path) -> World:
    return world(tmp_path / "demo")


def old_place(lab: World) -> None:
    """Put every snapshot where an older labkit put it."""
    for record in lab.shelf.records():
        manifest = lab.shelf.manifest(record.name)
        manifest.parent.rename(lab.shelf.path / record.name)


def test_heal_without_a_note_asks_nothing(lab: World) -> None:
    heal(lab.session)
    assert lab.host.connections == 0
    assert not lab.shelf.path.exists()


@pytest.mark.parametrize("verb", ["take", "check", "delete"])
def test_heal_lets_the_nodes_that_ran_run_on_and_no_other(lab: World, verb: str) -> None:
    for node in LAB.nodes:
        lab.host.state(node.uuid, DomainState.PAUSED)
    lab.shelf.note(Journal.model_validate({"verb": verb, "running": (ONE.name,)}))

    heal(lab.session)

    assert lab.states() == ("running", "paused")
    assert lab.shelf.journal() is None


def test_heal_waits_for_a_libvirtd_that_is_away(lab: World) -> None:
    lab.host.state(ONE.uuid, DomainState.PAUSED)
    lab.shelf.note(Journal(verb="check", running=NAMES))
    lab.host.fail("connect", "", *[HostError("libvirtd does not answer.") for _ in range(3)])

    heal(lab.session)

    assert lab.states() == ("running", "running")
    assert lab.host.open == 0


def test_heal_that_fails_leaves_the_note_for_the_next_verb(lab: World) -> None:
    lab.host.state(TWO.uuid, DomainState.PAUSED)
    lab.shelf.note(Journal(verb="check", running=NAMES))
    refused = OperationError("QEMU refuses.")
    lab.host.fail("resume", TWO.domain, refused)

    with pytest.raises(OperationError) as raised:
        heal(lab.session)
    assert raised.value is refused
    assert lab.shelf.journal() is not None

    heal(lab.session)
    assert lab.states() == ("running", "running")
    assert lab.shelf.journal() is None


def test_heal_of_a_restore_whose_snapshot_is_gone_says_what_helps(lab: World) -> None:
    take(lab.session, "other")
    lab.shelf.note(Journal(verb="restore", name="base", key="labkit-base-0", running=NAMES))

    with pytest.raises(OperationError, match="that snapshot is gone") as raised:
        heal(lab.session)
    assert "Restore another snapshot" in raised.value.hint

    restore(lab.session, "other")
    heal(lab.session)
    assert lab.whole()


@pytest.mark.parametrize("name", ["base", "current", "manifest.json"])
def test_snapshot_in_the_old_place_is_read_and_moved_over(lab: World, name: str) -> None:
    record = take(lab.session, name)
    lab.shelf.current_file.unlink()
    old_place(lab)

    assert lab.shelf.records() == (record,)
    assert lab.shelf.current() == ""
    heal(lab.session)

    assert lab.shelf.manifest(name).is_file()
    assert not (lab.shelf.path / name).exists()
    assert lab.shelf.records() == (record,)


def test_snapshot_that_collided_with_the_pointer_is_completed(lab: World) -> None:
    """As an older labkit left it: published, noted, and in the way of the file 'current'."""
    record = take(lab.session, "current")
    lab.shelf.current_file.unlink()
    old_place(lab)
    lab.shelf.note(Journal(verb="take", name="current", key=record.key, running=NAMES))

    heal(lab.session)

    assert lab.shelf.current() == record.key
    assert lab.names() == ("current",)
    assert lab.whole()


def test_every_verb_works_on_snapshots_in_the_old_place(lab: World) -> None:
    take(lab.session, "base")
    take(lab.session, "leaf")
    old_place(lab)
    restore(lab.session, "base")
    assert lab.whole()

    old_place(lab)
    take(lab.session, "base", replace=True)
    assert sorted(lab.names()) == ["base", "leaf"]
    assert lab.whole()

    old_place(lab)
    delete(lab.session, "base")
    assert lab.names() == ("leaf",)
    assert lab.whole()
