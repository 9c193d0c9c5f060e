from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError, OperationError, UsageError
from labkit.host import ssh
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots.heal import heal
from labkit.snapshots.restore import STEPS, plan, restore
from labkit.snapshots.take import take
from labkit.state.directory import DeploymentState
from tests.fakes.tools import tools
from tests.support.snapshot_lab import LAB, ONE, TWO, Clock, World, failing, world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.lab.topology import ResolvedNode
    from labkit.snapshots.members import Fault

LOST = HostError("libvirtd does not answer.")
REFUSED = OperationError("QEMU refuses.")
RUNNING = ("running", "running")


@pytest.fixture
def lab(tmp_path: Path) -> World:
    """A lab that was kept as 'base' and went on."""
    lab = world(tmp_path / "demo")
    take(lab.session, "base")
    for node in LAB.nodes:
        lab.host.nonces[node.uuid] = "later"
    lab.host.calls.clear()
    lab.host.connections = 0
    return lab


def at(step: str, action: Callable[[], object]) -> Fault:
    def fault(reached: str) -> None:
        if reached == step:
            action()

    return fault


def assert_restored(lab: World) -> None:
    assert "later" not in lab.host.nonces.values()
    assert lab.states() == RUNNING
    assert [lab.shelf.current()] == lab.keys()
    assert lab.whole()


def assert_as_it_was(lab: World) -> None:
    assert set(lab.host.nonces.values()) == {"later"}
    assert lab.states() == RUNNING
    assert lab.whole()


def test_restore_puts_every_node_back_and_proves_it(lab: World) -> None:
    report = restore(lab.session, "base")

    assert_restored(lab)
    assert len(report.proofs) == 2
    assert {proof.clock_by for proof in report.proofs} == {"agent"}
    asked = [call for call, _ in lab.host.calls]
    assert asked == ["suspend", "suspend", "revert", "revert", "resume", "resume"]


def test_restore_opens_one_connection_and_one_per_node(lab: World) -> None:
    restore(lab.session, "base")
    assert lab.host.connections == 3


def test_restore_of_a_name_that_is_none_touches_nothing(lab: World) -> None:
    lab.session.directory.path.joinpath("lock").unlink()
    for verb in (restore, plan):
        with pytest.raises(UsageError, match="has no snapshot 'other'; it has 'base'"):
            verb(lab.session, "other")
    assert lab.host.connections == 0
    assert not lab.session.directory.path.joinpath("lock").exists()


def test_plan_touches_nothing(lab: World) -> None:
    lab.host.state(TWO.uuid, DomainState.SHUTOFF)

    assert plan(lab.session, "base").nodes == (
        (ONE.name, "running", "running"),
        (TWO.name, "shutoff", "running"),
    )
    assert lab.host.calls == []


@pytest.mark.parametrize("verb", [restore, plan])
def test_restore_without_its_pool_is_refused_and_makes_none(
    lab: World, verb: Callable[..., object]
) -> None:
    lab.host.pools.clear()

    with pytest.raises(OperationError, match="the lab is as it was") as raised:
        verb(lab.session, "base")
    assert raised.value.details[0].startswith("controller: its disk, the volume 'demo_controller")
    assert lab.host.calls == []


def test_restore_from_an_image_that_lost_the_snapshot_is_refused(lab: World) -> None:
    lab.host.images[TWO.uuid].clear()

    with pytest.raises(OperationError, match="the lab is as it was") as raised:
        restore(lab.session, "base")
    assert raised.value.details == (
        f"compute: its disk '{TWO.disk_volume}' does not hold the snapshot any more",
    )
    assert lab.host.calls == []
    assert lab.shelf.journal() is None


@pytest.mark.parametrize("node", [ONE, TWO])
def test_node_that_cannot_be_paused_leaves_the_lab_as_it_was(
    lab: World, node: ResolvedNode
) -> None:
    lab.host.fail("suspend", node.domain, REFUSED)

    with pytest.raises(OperationError) as raised:
        restore(lab.session, "base")
    assert raised.value is REFUSED
    assert_as_it_was(lab)


def test_first_error_is_told_where_putting_right_fails_as_well(lab: World) -> None:
    lab.host.fail("suspend", ONE.domain, OperationError("The first."))
    lab.host.fail("resume", TWO.domain, OperationError("The second."))

    with pytest.raises(OperationError) as raised:
        restore(lab.session, "base")
    assert raised.value.message == "The first."
    assert raised.value.details == ("What it left could not be put right yet: The second.",)

    heal(lab.session)
    assert_as_it_was(lab)


def test_network_that_is_gone_is_made_again(lab: World) -> None:
    lab.host.networks.clear()
    restore(lab.session, "base")
    assert ("ensure network", "demo_lan") in lab.host.calls
    assert_restored(lab)


def test_network_that_cannot_be_made_leaves_a_restore_for_the_next_verb(lab: World) -> None:
    lab.host.networks.clear()
    lab.host.fail("ensure network", "demo_lan", REFUSED)

    with pytest.raises(OperationError) as raised:
        restore(lab.session, "base")
    assert raised.value is REFUSED

    heal(lab.session)
    assert_restored(lab)


def test_domain_that_is_gone_is_defined_again(lab: World) -> None:
    lab.host.domains.pop(TWO.uuid)
    restore(lab.session, "base")

    assert ("define", TWO.domain) in lab.host.calls
    assert_restored(lab)


@pytest.mark.parametrize("call", ["revert", "resume"])
@pytest.mark.parametrize("node", [ONE, TWO])
def test_node_that_does_not_come_back_is_told_and_restored_by_the_next_verb(
    lab: World, call: str, node: ResolvedNode
) -> None:
    lab.host.fail(call, node.domain, REFUSED)

    with pytest.raises(OperationError) as raised:
        restore(lab.session, "base")
    assert raised.value is REFUSED
    assert lab.shelf.journal() is not None

    heal(lab.session)
    assert_restored(lab)


def test_connection_lost_before_the_nodes_run_on_is_told_and_lets_none_run_alone(
    lab: World,
) -> None:
    def restart() -> None:
        lab.host.restart()
        lab.host.before("connect", "", failing(2, LOST))

    with pytest.raises(HostError) as raised:
        restore(lab.session, "base", fault=at("put back", restart))
    assert raised.value is LOST
    assert lab.states() == ("paused", "paused")

    heal(lab.session)
    assert_restored(lab)


@pytest.mark.parametrize("step", ["checked", "noted", "prepared", "put back"])
def test_libvirtd_restarted_between_the_steps_does_not_stop_a_restore(
    lab: World, step: str
) -> None:
    restore(lab.session, "base", fault=at(step, lab.host.restart))
    assert_restored(lab)


def test_clock_is_set_over_ssh_where_the_agent_is_silent(lab: World) -> None:
    lab.host.agents = False
    lab.guests.behind[TWO.name] = 90.0

    proofs = restore(lab.session, "base").proofs

    assert [proof.clock_by for proof in proofs] == ["", "SSH"]
    assert max(proof.clock_seconds for proof in proofs) < 1


def test_clock_that_cannot_be_set_is_told(lab: World) -> None:
    lab.guests.behind[TWO.name] = 90.0
    lab.guests.stuck.add(TWO.name)

    with pytest.raises(OperationError, match=r"clock of 'compute' is 90\.. s off"):
        restore(lab.session, "base")
    assert_restored(lab)


def test_node_that_takes_ssh_after_a_while_is_asked_again(lab: World) -> None:
    lab.guests.failures[ONE.name] = [ssh.NotReachableError("no answer.")]
    assert len(restore(lab.session, "base").proofs) == 2
    assert lab.guests.sessions.count(ONE.name) == 2


def test_node_that_takes_no_ssh_is_told_and_all_run_again(lab: World) -> None:
    lab.guests.failures[ONE.name] = [ssh.NotReachableError("no answer.")] * 99
    session = replace(
        lab.session,
        tools=tools(connect=lab.host.connect, ssh=lab.guests, clock=Clock(60.0)),
    )

    with pytest.raises(OperationError, match="for the restored node 'controller' to take SSH"):
        restore(session, "base")
    # It is proven to be nothing but not done: doing it again would not help.
    assert_restored(lab)


def test_both_nodes_that_take_no_ssh_are_told(lab: World) -> None:
    for node in LAB.nodes:
        lab.guests.failures[node.name] = [OperationError(f"'{node.name}' answers nonsense.")]

    with pytest.raises(OperationError) as raised:
        restore(lab.session, "base")
    assert raised.value.message == "labkit could not prove that 'base' was restored."
    assert raised.value.details == (
        "'controller' answers nonsense.",
        "'compute' answers nonsense.",
    )


def test_node_that_has_another_nonce_is_told(lab: World) -> None:
    other = at("resumed", lambda: lab.host.nonces.update({TWO.uuid: "fresh boot"}))

    with pytest.raises(OperationError, match="'compute' runs, but not from the memory") as raised:
        restore(lab.session, "base", fault=other)
    assert raised.value.hint == "It was started anew meanwhile: run 'labkit restore' once more."
    assert lab.shelf.journal() is None


def test_node_that_was_not_reached_when_it_was_kept_is_not_proven(lab: World) -> None:
    lab.host.agents = False
    lab.guests.failures[TWO.name] = [ssh.NotReachableError("no answer.")]
    take(lab.session, "silent")
    lab.guests.sessions.clear()

    report = restore(lab.session, "silent")

    assert report.unproven == (TWO.name,)
    assert [proof.node for proof in report.proofs] == [ONE.name]
    assert lab.guests.sessions == [ONE.name]


@pytest.mark.parametrize("deployed", [True, False])
def test_deployment_is_known_again_and_proven_where_there_was_one(
    lab: World, *, deployed: bool
) -> None:
    state = lab.session.state()
    known = DeploymentState(prepared=True, deployed=(ONE.name,) if deployed else ())
    lab.session.directory.save(state.model_copy(update={"deployment": known}))
    take(lab.session, "later")
    lab.session.directory.save(state)
    proven: list[bool] = []

    restore(lab.session, "later", prove=lambda: proven.append(True))

    assert lab.session.state().deployment == known
    assert proven == [True] * deployed


def test_deployment_that_is_not_proven_is_told_after_everything_runs(lab: World) -> None:
    state = lab.session.state()
    known = DeploymentState(deployed=(ONE.name,))
    lab.session.directory.save(state.model_copy(update={"deployment": known}))
    take(lab.session, "later")

    def prove() -> None:
        raise REFUSED

    with pytest.raises(OperationError) as raised:
        restore(lab.session, "later", prove=prove)
    assert raised.value is REFUSED
    assert lab.states() == RUNNING
    assert lab.whole()


def test_restore_to_off_leaves_the_nodes_off(lab: World) -> None:
    for node in LAB.nodes:
        lab.host.state(node.uuid, DomainState.SHUTOFF)
    take(lab.session, "off")
    restore(lab.session, "base")

    report = restore(lab.session, "off")

    assert report.proofs == ()
    assert lab.states() == ("shutoff", "shutoff")
    assert lab.whole()


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_at_any_step_leaves_the_lab_as_it_was_or_is_completed(
    lab: World, step: str
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(lab.session, "base", fault=at(step, interrupt))
    assert lab.host.open == 0

    heal(lab.session)
    if step == "checked":
        assert_as_it_was(lab)
    else:
        assert_restored(lab)


@pytest.mark.parametrize("step", [*STEPS, "put one back"])
def test_kill_at_any_step_is_put_right_by_the_next_verb(
    lab: World, step: str, tmp_path: Path
) -> None:
    left = lab.left_at(
        step, tmp_path / "left", lambda fault: restore(lab.session, "base", fault=fault)
    )

    heal(left.session)

    if step == "checked":
        assert_as_it_was(left)
    else:
        assert_restored(left)


def test_restore_that_was_killed_is_followed_by_a_restore_of_another(
    lab: World, tmp_path: Path
) -> None:
    take(lab.session, "other")
    left = lab.left_at(
        "put back", tmp_path / "left", lambda fault: restore(lab.session, "base", fault=fault)
    )

    restore(left.session, "other")

    key = left.shelf.named("other").key
    assert left.host.nonces == {node.uuid: left.host.kept[node.uuid, key] for node in LAB.nodes}
    assert left.shelf.current() == key
    assert left.whole()
