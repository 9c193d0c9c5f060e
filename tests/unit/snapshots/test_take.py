from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError, LabkitError, OperationError, UsageError
from labkit.host import ssh
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots import guests
from labkit.snapshots.heal import heal
from labkit.snapshots.record import NAMED, Kept
from labkit.snapshots.take import STEPS, plan, take
from tests.support.snapshot_lab import ONE, TWO, World, failing, world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.lab.topology import ResolvedNode

LOST = HostError("libvirtd does not answer.")
REFUSED = OperationError("QEMU refuses.")
SILENT = ssh.NotReachableError("no answer.")
RUNNING = ("running", "running")


@pytest.fixture
def lab(tmp_path: Path) -> World:
    return world(tmp_path / "demo")


def at(step: str, action: Callable[[], object]) -> Callable[[str], None]:
    def fault(reached: str) -> None:
        if reached == step:
            action()

    return fault


def test_take_keeps_every_node_at_one_instant_and_lets_them_run_on(lab: World) -> None:
    record = take(lab.session, "base", note="fresh")

    assert lab.whole()
    assert lab.names() == ("base",)
    assert lab.states() == RUNNING
    assert lab.shelf.current() == record.key
    assert record.nodes[ONE.name].nonce == guests.digest(lab.host.nonces[ONE.uuid])
    asked = [call for call, _ in lab.host.calls]
    assert asked[:6] == ["flush", "flush", "suspend", "suspend", "take", "take"]
    assert asked[6:] == ["resume", "resume"]


def test_take_opens_one_connection_and_one_per_node(lab: World) -> None:
    take(lab.session, "base")
    assert lab.host.connections == 3

    take(lab.session, "base", replace=True)
    assert lab.host.connections == 6


def test_take_of_nodes_that_are_off_and_paused_leaves_them_so(lab: World) -> None:
    lab.host.state(ONE.uuid, DomainState.SHUTOFF)
    lab.host.state(TWO.uuid, DomainState.PAUSED)

    record = take(lab.session, "base")

    assert [node.state for node in record.nodes.values()] == [Kept.OFF, Kept.PAUSED]
    assert lab.states() == ("shutoff", "paused")
    assert lab.whole()


@pytest.mark.parametrize("name", ["current", "journal.json", "manifest.json", "by-name"])
def test_take_under_a_name_of_a_file_of_labkit_is_a_snapshot_as_any(lab: World, name: str) -> None:
    take(lab.session, name)
    take(lab.session, name, replace=True)

    heal(lab.session)
    assert lab.names() == (name,)
    assert lab.whole()


@pytest.mark.parametrize(
    ("name", "note", "kind"),
    [("a b", "", UsageError), ("x", "two\nlines", UsageError), ("base", "", OperationError)],
)
def test_take_that_is_refused_touches_nothing(
    lab: World, name: str, note: str, kind: type[LabkitError]
) -> None:
    take(lab.session, "base")
    lab.host.pools.clear()
    files = {path: path.stat().st_mtime_ns for path in lab.session.directory.path.rglob("*")}
    lab.host.calls.clear()
    lab.host.connections = 0

    for verb in (take, plan):
        with pytest.raises(kind):
            verb(lab.session, name, note=note)
    assert lab.host.calls == []
    assert lab.host.connections == 0
    assert {p: p.stat().st_mtime_ns for p in lab.session.directory.path.rglob("*")} == files


def test_take_of_a_lab_that_was_never_brought_up_makes_no_directory(
    lab: World, tmp_path: Path
) -> None:
    new = lab.copy(tmp_path / "other")
    shutil.rmtree(lab.session.directory.path)

    with pytest.raises(OperationError, match="was never brought up"):
        take(lab.session, "base")
    assert not lab.session.directory.path.exists()
    assert new.host.calls == []


def test_take_of_nodes_that_cannot_be_kept_makes_no_pool(lab: World) -> None:
    lab.host.state(ONE.uuid, DomainState.CRASHED)
    lab.host.pools.clear()

    with pytest.raises(OperationError, match="Not every node is in a state"):
        take(lab.session, "base")
    assert lab.host.calls == []


def test_take_without_room_is_refused_before_anything_is_done(lab: World) -> None:
    lab.host.free_bytes = 2**20
    with pytest.raises(HostError, match="nothing was paused"):
        take(lab.session, "base")
    assert lab.host.calls == []
    assert lab.whole()


@pytest.mark.parametrize("pools", [{"default"}, set()])
def test_plan_touches_nothing(lab: World, pools: set[str]) -> None:
    lab.host.pools = pools
    free = plan(lab.session, "base").free_bytes

    assert (free is not None) == bool(pools)
    assert lab.host.calls == []
    assert lab.host.connections == 1
    assert not lab.shelf.path.exists()


def test_take_where_the_agent_is_silent_flushes_over_ssh(lab: World) -> None:
    lab.host.agents = False

    record = take(lab.session, "base")

    assert sorted(lab.guests.sessions) == [TWO.name, ONE.name]
    assert record.nodes[ONE.name].nonce == guests.digest("by SSH on controller")


def test_take_where_agent_and_ssh_are_silent_says_that_nothing_can_be_proven(lab: World) -> None:
    lab.host.agents = False
    lab.guests.failures[TWO.name] = [SILENT]

    record = take(lab.session, "base")

    assert record.nodes[TWO.name].nonce == ""
    assert record.nodes[ONE.name].nonce
    assert lab.whole()


def test_take_of_a_guest_that_cannot_flush_is_given_up(lab: World) -> None:
    lab.host.agents = False
    lab.guests.refusing.add(TWO.name)

    with pytest.raises(OperationError, match="'compute' could not be flushed") as raised:
        take(lab.session, "base")
    assert raised.value.details == ("read-only file system",)
    assert not any(call == "suspend" for call, _ in lab.host.calls)
    assert_as_before(lab)


def assert_as_before(lab: World) -> None:
    assert lab.names() == ()
    assert lab.states() == RUNNING
    assert lab.whole()


@pytest.mark.parametrize("call", ["suspend", "take", "resume"])
@pytest.mark.parametrize("node", [ONE, TWO])
def test_step_that_fails_on_one_node_leaves_no_snapshot_and_both_running(
    lab: World, call: str, node: ResolvedNode
) -> None:
    lab.host.fail(call, node.domain, REFUSED)

    with pytest.raises(OperationError) as raised:
        take(lab.session, "base")
    assert raised.value is REFUSED
    assert REFUSED.details == ()
    assert_as_before(lab)


def test_connection_lost_before_the_pause_is_told_and_pauses_nothing(lab: World) -> None:
    def restart() -> None:
        lab.host.restart()
        # The first of the three that are opened anew looks at the nodes.
        lab.host.before("connect", "", failing(2, LOST))

    with pytest.raises(HostError) as raised:
        take(lab.session, "base", fault=at("flushed", restart))
    assert raised.value is LOST
    assert not any(call == "suspend" for call, _ in lab.host.calls)
    assert_as_before(lab)


@pytest.mark.parametrize("step", ["flushed", "paused", "resumed", "published", "replaced"])
def test_libvirtd_restarted_between_the_steps_does_not_stop_a_snapshot(
    lab: World, step: str
) -> None:
    take(lab.session, "base")
    old = lab.keys()

    take(lab.session, "base", replace=True, fault=at(step, lab.host.restart))

    assert lab.keys() != old
    assert lab.states() == RUNNING
    assert lab.whole()


def test_connection_lost_while_saving_leaves_no_snapshot_and_both_running(lab: World) -> None:
    lab.host.fail("take", TWO.domain, LOST)
    lab.host.before("take", ONE.domain, lab.host.restart)

    with pytest.raises(HostError):
        take(lab.session, "base")
    assert_as_before(lab)


def test_node_that_went_off_meanwhile_leaves_no_snapshot(lab: World) -> None:
    end = at("paused", lambda: lab.host.state(TWO.uuid, DomainState.SHUTOFF))

    with pytest.raises(OperationError, match="'compute' should be on to be kept, but it went off"):
        take(lab.session, "base", fault=end)
    assert lab.states() == ("running", "shutoff")
    assert lab.whole()


def test_domain_that_is_gone_meanwhile_is_told(lab: World) -> None:
    with pytest.raises(OperationError, match="The domain of node 'compute' is gone"):
        take(lab.session, "base", fault=at("flushed", lambda: lab.host.domains.pop(TWO.uuid)))
    assert lab.host.domains[ONE.uuid].state is DomainState.RUNNING
    assert lab.shelf.journal() is None


def test_image_that_is_damaged_is_told_with_its_node(lab: World) -> None:
    with pytest.raises(OperationError, match="of node 'controller' is damaged: it does not begin"):
        take(
            lab.session, "base", fault=at("paused", lambda: lab.host.damaged.add(ONE.disk_volume))
        )
    lab.host.damaged.clear()
    assert_as_before(lab)


def test_first_error_is_told_where_putting_right_fails_as_well(lab: World) -> None:
    lab.host.fail("take", ONE.domain, OperationError("The first."))
    lab.host.fail("resume", TWO.domain, OperationError("The second."))

    with pytest.raises(OperationError) as raised:
        take(lab.session, "base")
    assert raised.value.message == "The first."
    assert raised.value.details == ("What it left could not be put right yet: The second.",)
    assert lab.states() == ("running", "paused")
    assert lab.names() == ()

    heal(lab.session)
    assert_as_before(lab)


def test_image_that_keeps_what_is_torn_is_cleaned_by_the_next_verb(lab: World) -> None:
    lab.host.fail("take", TWO.domain, REFUSED)
    lab.host.fail("delete snapshot", ONE.domain, OperationError("It is busy."))

    with pytest.raises(OperationError, match="QEMU refuses"):
        take(lab.session, "base")
    assert lab.states() == RUNNING
    assert lab.names() == ()

    take(lab.session, "other")
    assert lab.names() == ("other",)
    assert lab.whole()


def test_manifest_that_cannot_be_written_leaves_no_snapshot(lab: World) -> None:
    lab.shelf.path.mkdir()
    (lab.shelf.path / NAMED).write_text("in the way")

    with pytest.raises(NotADirectoryError):
        take(lab.session, "base")
    assert_as_before(lab)


def test_pointer_that_cannot_be_written_leaves_a_snapshot_that_the_next_verb_completes(
    lab: World,
) -> None:
    lab.shelf.current_file.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        take(lab.session, "base")
    assert lab.states() == RUNNING
    assert lab.names() == ("base",)
    lab.shelf.current_file.rmdir()

    heal(lab.session)
    assert [lab.shelf.current()] == lab.keys()
    assert lab.whole()


def test_replaced_snapshot_that_stays_is_told_and_removed_by_the_next_verb(lab: World) -> None:
    take(lab.session, "base")
    old = lab.keys()
    busy = [OperationError("It is busy.") for _ in range(2)]
    lab.host.fail("delete snapshot", TWO.domain, *busy)

    with pytest.raises(OperationError) as raised:
        take(lab.session, "base", replace=True)
    assert raised.value is busy[0]
    assert raised.value.details == (
        "What it left could not be put right yet: It is busy.",
        "The snapshot 'base' itself is complete.",
    )
    assert lab.names() == ("base",)
    assert lab.keys() != old
    assert lab.states() == RUNNING

    heal(lab.session)
    assert lab.whole()


def test_replace_that_fails_keeps_the_old_one(lab: World) -> None:
    record = take(lab.session, "base")
    lab.host.fail("take", TWO.domain, REFUSED)

    with pytest.raises(OperationError):
        take(lab.session, "base", replace=True)
    assert lab.shelf.records() == (record,)
    assert lab.whole()


def test_replaced_snapshots_children_go_to_its_parent(lab: World) -> None:
    base = take(lab.session, "base")
    take(lab.session, "middle")
    take(lab.session, "leaf")

    take(lab.session, "middle", replace=True)

    assert lab.shelf.named("leaf").parent == base.key
    assert lab.shelf.named("middle").parent == lab.shelf.named("leaf").key


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_at_any_step_leaves_it_whole_or_absent(lab: World, step: str) -> None:
    take(lab.session, "base")
    (old,) = lab.keys()

    def interrupt(reached: str) -> None:
        if reached == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(lab.session, "base", replace=True, fault=interrupt)
    assert lab.names() == ("base",)
    assert (lab.keys() == [old]) == (step not in {"published", "replaced"})
    assert lab.states() == RUNNING
    assert lab.whole()


@pytest.mark.parametrize("step", STEPS)
def test_kill_at_any_step_is_put_right_by_the_next_verb(
    lab: World, step: str, tmp_path: Path
) -> None:
    take(lab.session, "base")
    (old,) = lab.keys()
    left = lab.left_at(
        step, tmp_path / "left", lambda fault: take(lab.session, "base", replace=True, fault=fault)
    )
    # What is listed does not change by healing.
    assert left.names() == ("base",)
    kept = left.keys()
    assert (kept == [old]) == (step not in {"published", "replaced"})

    heal(left.session)
    assert left.keys() == kept
    assert left.shelf.current() == kept[0]
    assert left.states() == RUNNING
    assert left.whole()
    thawed = sorted(name for call, name in left.host.calls if call == "thaw")
    assert thawed == [TWO.domain, ONE.domain]
