from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError
from labkit.host.libvirt.xml import DomainState
from labkit.lifecycle.plan import Action
from labkit.lifecycle.restart import restart
from tests.support.bringup import REFUSED

if TYPE_CHECKING:
    from tests.support.bringup import World


def test_restart_of_a_node_gives_it_the_seed_of_now_and_leaves_the_other(running: World) -> None:
    running.change_files()
    compute = running.node("compute")
    running.host.before("start", compute.domain, lambda: running.boot(compute))
    stopped, report = restart(running.session, only=["compute"])
    assert stopped.nodes == (("compute", "shut down"),)
    assert running.asked("start") == [compute.domain]
    assert [(item.node.name, item.action) for item in report.plan.nodes] == [
        ("compute", Action.START)
    ]


def test_restart_of_a_node_leaves_another_that_is_off_as_it_is(running: World) -> None:
    controller, compute = running.node("controller"), running.node("compute")
    running.host.state(controller.uuid, DomainState.SHUTOFF)
    running.host.before("start", compute.domain, lambda: running.boot(compute))
    restart(running.session, only=["compute"])
    assert running.asked("start") == [compute.domain]


def test_restart_brings_nothing_up_when_a_node_cannot_be_stopped(running: World) -> None:
    running.host.fail("shutdown", running.node("compute").domain, REFUSED)
    with pytest.raises(HostError, match="libvirt refused"):
        restart(running.session)
    assert running.asked("start") == []
