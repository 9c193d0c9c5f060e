from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError, UsageError
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots.heal import heal
from labkit.snapshots.remove import STEPS, delete, plan
from labkit.snapshots.restore import restore
from labkit.snapshots.take import take
from tests.support.snapshot_lab import TWO, World, world

if TYPE_CHECKING:
    from pathlib import Path

BUSY = OperationError("It is busy.")


@pytest.fixture
def lab(tmp_path: Path) -> World:
    """A lab with two snapshots, one below the other."""
    lab = world(tmp_path / "demo")
    take(lab.session, "base")
    take(lab.session, "leaf")
    lab.host.calls.clear()
    lab.host.connections = 0
    return lab


def test_delete_removes_it_from_list_and_images(lab: World) -> None:
    assert delete(lab.session, "leaf") == ("leaf",)
    assert lab.names() == ("base",)
    assert [lab.shelf.current()] == lab.keys()
    assert lab.whole()
    assert lab.host.connections == 3


def test_delete_gives_the_children_to_the_parent(lab: World) -> None:
    delete(lab.session, "base")
    assert lab.shelf.named("leaf").parent == ""
    assert lab.whole()


def test_delete_all_removes_them_all(lab: World) -> None:
    assert delete(lab.session, None) == ("base", "leaf")
    assert lab.names() == ()
    assert lab.shelf.current() == ""
    assert lab.whole()


def test_delete_all_of_none_touches_nothing(tmp_path: Path) -> None:
    lab = world(tmp_path / "demo")
    before = sorted(lab.session.directory.path.rglob("*"))
    assert delete(lab.session, None) == ()
    assert sorted(lab.session.directory.path.rglob("*")) == before
    assert lab.host.connections == 0


def test_delete_of_a_name_that_is_none_touches_nothing(lab: World) -> None:
    lab.session.directory.path.joinpath("lock").unlink()
    for verb in (delete, plan):
        with pytest.raises(UsageError, match="has no snapshot 'other'; it has 'base', 'leaf'"):
            verb(lab.session, "other")
    assert lab.host.connections == 0
    assert not lab.session.directory.path.joinpath("lock").exists()


def test_plan_touches_nothing(lab: World) -> None:
    assert plan(lab.session, "leaf") == ("leaf",)
    assert plan(lab.session, None) == ("base", "leaf")
    assert lab.host.connections == 0
    assert lab.shelf.journal() is None


def test_delete_that_an_image_refuses_is_told_and_done_by_deleting_again(lab: World) -> None:
    lab.host.fail("delete snapshot", TWO.domain, BUSY)

    with pytest.raises(OperationError) as raised:
        delete(lab.session, "leaf")
    assert raised.value is BUSY
    assert lab.names() == ("base",)
    assert plan(lab.session, "leaf") == ("leaf",)

    assert delete(lab.session, "leaf") == ("leaf",)
    assert lab.names() == ("base",)
    assert lab.whole()


@pytest.mark.parametrize("name", ["leaf", None])
@pytest.mark.parametrize("step", STEPS)
def test_delete_that_was_killed_is_not_listed_and_done_by_deleting_again(
    lab: World, name: str | None, step: str, tmp_path: Path
) -> None:
    rest = ("base",) if name else ()
    left = lab.left_at(
        step, tmp_path / "left", lambda fault: delete(lab.session, name, fault=fault)
    )
    assert left.names() == rest
    assert plan(left.session, "leaf") == ("leaf",)

    assert delete(left.session, "leaf") == ("leaf",)
    assert left.names() == rest
    assert left.whole()
    with pytest.raises(UsageError):
        delete(left.session, "leaf")


@pytest.mark.parametrize("step", STEPS)
def test_delete_all_that_was_killed_is_done_by_deleting_all_again(
    lab: World, step: str, tmp_path: Path
) -> None:
    left = lab.left_at(
        step, tmp_path / "left", lambda fault: delete(lab.session, None, fault=fault)
    )
    assert delete(left.session, None) == ("base", "leaf")
    assert left.whole()
    assert delete(left.session, None) == ()


def test_delete_of_one_that_was_killed_is_part_of_deleting_all(lab: World, tmp_path: Path) -> None:
    left = lab.left_at(
        "noted", tmp_path / "left", lambda fault: delete(lab.session, "leaf", fault=fault)
    )
    assert delete(left.session, None) == ("leaf", "base")
    assert left.names() == ()
    assert left.whole()


def test_snapshot_whose_removal_was_killed_is_not_restored(lab: World, tmp_path: Path) -> None:
    left = lab.left_at(
        "noted", tmp_path / "left", lambda fault: delete(lab.session, "leaf", fault=fault)
    )
    with pytest.raises(UsageError, match="has no snapshot 'leaf'; it has 'base'"):
        restore(left.session, "leaf")

    take(left.session, "leaf")
    assert left.names() == ("base", "leaf")
    assert left.whole()


def test_delete_of_a_replaced_snapshot_that_was_killed_removes_the_new_one(
    lab: World, tmp_path: Path
) -> None:
    left = lab.left_at(
        "published",
        tmp_path / "left",
        lambda fault: take(lab.session, "leaf", replace=True, fault=fault),
    )
    assert left.names() == ("base", "leaf")

    assert delete(left.session, "leaf") == ("leaf",)
    assert left.names() == ("base",)
    assert left.whole()


def test_libvirtd_restarted_in_the_middle_does_not_stop_it(lab: World) -> None:
    def restart(step: str) -> None:
        if step == "withdrawn":
            lab.host.restart()

    delete(lab.session, None, fault=restart)
    assert lab.whole()


@pytest.mark.parametrize("state", DomainState)
def test_delete_does_not_depend_on_what_the_nodes_do(lab: World, state: DomainState) -> None:
    lab.host.state(TWO.uuid, state)
    delete(lab.session, "leaf")
    heal(lab.session)
    assert lab.states() == ("running", state.value)
    assert lab.whole()
