from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import HostError, OperationError, UsageError
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots.plan import (
    TABLE_BYTES,
    NodeSeen,
    check_note,
    plan_take,
    reparented,
    to_replace,
    tree,
)
from labkit.snapshots.record import Kept
from tests.fakes.libvirt import domain
from tests.support import labs
from tests.support.snapshot_records import record

LAB = labs.lab("controller", "compute")
PLENTY = 2**40
TOUCHED = 300 * 2**20


def seen(*states: DomainState) -> tuple[NodeSeen, ...]:
    return tuple(
        NodeSeen(name=node.name, domain=domain(node, state), resident_bytes=TOUCHED)
        for node, state in zip(LAB.nodes, states, strict=True)
    )


def test_plan_of_mixed_states_keeps_each_as_it_is() -> None:
    plan = plan_take(
        "base",
        seen(DomainState.RUNNING, DomainState.SHUTOFF),
        (),
        free_bytes=PLENTY,
        replace=False,
    )

    assert plan.nodes == (("controller", Kept.RUNNING), ("compute", Kept.OFF))
    assert plan.replaced is None
    # A node that is off costs tables alone.
    assert plan.needed_bytes == int(TOUCHED * 1.05) + 2 * TABLE_BYTES


def test_plan_never_estimates_more_than_a_nodes_memory() -> None:
    (one, two) = seen(DomainState.RUNNING, DomainState.PAUSED)
    huge = replace(one, resident_bytes=2**50)
    plan = plan_take("base", (huge, two), (), free_bytes=PLENTY, replace=False)

    assert plan.needed_bytes == int((2048 * 2**20 + TOUCHED) * 1.05) + 2 * TABLE_BYTES


def test_plan_without_space_is_refused_with_both_figures() -> None:
    running = seen(DomainState.RUNNING, DomainState.RUNNING)
    needed = int(2 * TOUCHED * 1.05) + 2 * TABLE_BYTES

    assert plan_take("base", running, (), free_bytes=needed, replace=False).free_bytes == needed
    with pytest.raises(HostError) as raised:
        plan_take("base", running, (), free_bytes=needed - 1, replace=False)
    assert raised.value.message == (
        "The snapshot 'base' needs about 646 MiB, and the storage pool has 645 MiB free; "
        "nothing was paused."
    )
    assert raised.value.details == ("controller: 300 MiB", "compute: 300 MiB")


def test_plan_for_a_taken_name_needs_replace() -> None:
    running = seen(DomainState.RUNNING, DomainState.RUNNING)
    known = record(LAB)
    with pytest.raises(OperationError) as raised:
        plan_take("base", running, (known,), free_bytes=PLENTY, replace=False)
    assert raised.value.message == "A snapshot 'base' exists already, taken 2026-01-02 03:04 UTC."
    assert "--replace" in raised.value.hint

    plan = plan_take("base", running, (known,), free_bytes=PLENTY, replace=True)
    assert plan.replaced == known


def test_plan_with_nodes_that_cannot_be_kept_names_each() -> None:
    (crashed, saved) = seen(DomainState.CRASHED, DomainState.SHUTOFF)
    assert saved.domain is not None
    waiting = replace(saved, domain=replace(saved.domain, has_managed_save=True))
    gone = NodeSeen(name="third", domain=None)
    with pytest.raises(OperationError) as raised:
        plan_take("base", (crashed, waiting, gone), (), free_bytes=PLENTY, replace=False)

    remedy = "'virsh managedsave-remove demo_compute'"
    assert raised.value.details == (
        "controller: it is crashed; expected running, paused or off",
        f"compute: a saved memory image waits for it; remove it with {remedy}",
        "third: it does not exist",
    )


@pytest.mark.parametrize("name", ["pre-packstack", "a", "2026.01_b", "X" * 40])
def test_name_of_plain_characters_is_taken(name: str) -> None:
    to_replace(name, (), replace=False)


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a/b", "a b", "ä", "a\n", "x" * 41, "$(x)"])
def test_name_with_anything_else_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a snapshot"):
        to_replace(name, (), replace=False)


@pytest.mark.parametrize("note", ["two\nlines", "\x1b[31mred", "x" * 201])
def test_note_that_would_spoil_the_list_is_refused(note: str) -> None:
    with pytest.raises(UsageError):
        check_note(note)


def test_tree_puts_children_below_their_parents() -> None:
    base = record(LAB, "base")
    child = record(LAB, "child", parent=base.key, minutes=1)
    grandchild = record(LAB, "grandchild", parent=child.key, minutes=2)
    second = record(LAB, "second", parent=base.key, minutes=3)
    stray = record(LAB, "stray", parent="labkit-gone-0", minutes=4)

    branches = tree((base, child, grandchild, second, stray))

    assert [(item.name, depth) for item, depth in branches] == [
        ("base", 0),
        ("child", 1),
        ("grandchild", 2),
        ("second", 1),
        ("stray", 0),
    ]


@given(st.lists(st.integers(min_value=0, max_value=7), max_size=8))
def test_tree_shows_every_snapshot_once_whatever_its_parent(parents: list[int]) -> None:
    records = tuple(
        record(LAB, f"s{number}", parent=f"labkit-s{parent}-0" if parent < number else "")
        for number, parent in enumerate(parents)
    )

    assert sorted(item.key for item, _ in tree(records)) == sorted(item.key for item in records)


def test_reparented_gives_children_alone_to_the_heir() -> None:
    base = record(LAB, "base")
    child = record(LAB, "child", parent=base.key)
    other = record(LAB, "other")

    (moved,) = reparented((base, child, other), base, "labkit-heir-0")

    assert (moved.name, moved.parent) == ("child", "labkit-heir-0")
