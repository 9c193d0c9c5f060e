from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError, OperationError
from labkit.host.libvirt.xml import DomainState
from labkit.snapshots.members import Members
from tests.support.snapshot_lab import LAB, ONE, TWO, World, failing, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.snapshots.members import Member

LOST = HostError("libvirtd does not answer.")


@pytest.fixture
def lab(tmp_path: Path) -> World:
    return world(tmp_path / "demo")


@pytest.fixture
def members(lab: World) -> Iterator[Members]:
    with Members(lab.session) as found:
        yield found
    assert lab.host.open == 0


def state(member: Member) -> DomainState | None:
    return member.hypervisor.domain_state(member.node.uuid)


def test_connections_are_opened_when_they_are_needed_and_once(
    lab: World, members: Members
) -> None:
    assert lab.host.connections == 0
    for _ in range(3):
        members.hypervisor()
        assert members.side_by_side(LAB.nodes, state, doing="look") == {
            node.name: DomainState.RUNNING for node in LAB.nodes
        }
        members.at_once(LAB.nodes, state, doing="look")
    assert lab.host.connections == 1 + len(LAB.nodes)


def test_connection_that_a_restart_cut_is_opened_anew(lab: World, members: Members) -> None:
    members.hypervisor()
    members.side_by_side(LAB.nodes, state, doing="look")
    lab.host.restart()

    assert members.hypervisor().domain_state(ONE.uuid) is DomainState.RUNNING
    members.at_once(LAB.nodes, state, doing="look")
    assert lab.host.open == 1 + len(LAB.nodes)


def test_step_that_loses_its_connection_is_not_done_twice(members: Members) -> None:
    done: list[str] = []

    def work(member: Member) -> None:
        done.append(member.node.name)
        if member.node is TWO:
            raise LOST

    with pytest.raises(HostError) as raised:
        members.side_by_side(LAB.nodes, work, doing="do it")
    assert raised.value is LOST
    assert sorted(done) == [TWO.name, ONE.name]


def test_step_at_once_is_done_on_none_when_one_node_cannot_be_reached(
    lab: World, members: Members
) -> None:
    lab.host.before("connect", "", failing(2, LOST))
    done: list[str] = []

    with pytest.raises(HostError) as raised:
        members.at_once(LAB.nodes, lambda member: done.append(member.node.name), doing="do it")
    assert raised.value is LOST
    assert done == []


def test_step_side_by_side_is_done_on_the_others(lab: World, members: Members) -> None:
    lab.host.before("connect", "", failing(2, LOST))
    done: list[str] = []

    with pytest.raises(HostError):
        members.side_by_side(LAB.nodes, lambda m: done.append(m.node.name), doing="do it")
    assert len(done) == 1


def test_every_node_that_failed_is_told(members: Members) -> None:
    def work(member: Member) -> None:
        message = f"'{member.node.name}' refuses."
        raise OperationError(message)

    with pytest.raises(OperationError) as raised:
        members.side_by_side(LAB.nodes, work, doing="save every node")
    assert raised.value.message == "labkit could not save every node."
    assert raised.value.details == ("'controller' refuses.", "'compute' refuses.")


def test_unexpected_error_does_not_hide_the_expected_one(members: Members) -> None:
    def work(member: Member) -> None:
        raise LOST if member.node is ONE else ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        members.side_by_side(LAB.nodes, work, doing="do it")
    assert raised.value.__notes__ == ["beside it: libvirtd does not answer."]


@pytest.mark.parametrize("step", ["side_by_side", "at_once"])
def test_ctrl_c_waits_for_the_steps_that_are_under_way(members: Members, step: str) -> None:
    ended = threading.Event()
    done: list[str] = []
    # By then everything has begun, and the one who is interrupted waits.
    timers = [
        threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)),
        threading.Timer(0.6, ended.set),
    ]

    def work(member: Member) -> None:
        assert ended.wait(10)
        done.append(member.node.name)

    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        getattr(members, step)(LAB.nodes, work, doing="do it")
    assert sorted(done) == [TWO.name, ONE.name]
    for timer in timers:
        timer.join()
