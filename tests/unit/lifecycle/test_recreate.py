"""`recreate` on a fake host: what goes, what stays, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.cache import cache_directory
from labkit.errors import HostError, OperationError, UsageError
from labkit.host.files import cache_root
from labkit.host.inventory import POOL_PATH as DEFAULT_POOL_PATH
from labkit.host.libvirt.xml import DomainState
from labkit.lifecycle.plan import Action
from labkit.lifecycle.recreate import RecreateReport, recreate
from labkit.lifecycle.up import up
from labkit.snapshots.record import Shelf
from labkit.state.directory import DeploymentState, NodeState
from labkit.state.lock import LabInUseError, lab_lock
from tests.fakes.libvirt import POOL_PATH
from tests.support.bringup import NAMES, REFUSED, World, files_under
from tests.support.snapshot_records import record

if TYPE_CHECKING:
    from labkit.boxes.definition import BoxDefinition


def deploy(world: World, **known: object) -> None:
    """Let Packstack have worked on every node."""
    deployment = DeploymentState(prepared=True, run_id="r1", nodes=NAMES, deployed=NAMES)
    deployment = deployment.model_copy(update=known)
    world.directory.save(world.state.model_copy(update={"deployment": deployment}))


def actions(report: RecreateReport) -> dict[str, Action]:
    return {item.node.name: item.action for item in report.up.plan.nodes}


def test_recreate_makes_the_node_anew_and_touches_no_other(running: World) -> None:
    before = running.state
    running.change_files()
    report = recreate(running.session, ["compute", "compute"])
    assert actions(report) == {"compute": Action.RECREATE}
    assert [each.node for each in report.up.ready] == ["compute"]
    assert report.undeployed == ()
    assert [call for call in running.host.calls if call[0] not in {"vagrant load", "upload"}] == [
        ("power off", "demo_compute"),
        ("undefine", "demo_compute"),
        ("delete volume", "demo_compute.img"),
        ("delete volume", "demo_compute_seed.iso"),
        ("vagrant up", "compute"),
    ]
    assert running.state.nodes["controller"] == before.nodes["controller"]
    assert running.state.nodes["compute"].seed == running.seed_id("compute")
    assert running.state.nodes["compute"].created
    assert up(running.session).plan.changes is False


def test_recreate_takes_hardware_that_changed_in_the_lab_file(running: World) -> None:
    controller, compute = running.session.lab.nodes
    lab = replace(running.session.lab, nodes=(controller, replace(compute, cpus=3)))
    running.session = replace(running.session, lab=lab)
    with pytest.raises(OperationError) as refused:
        up(running.session)
    assert "'labkit recreate compute'" in refused.value.details[0]
    recreate(running.session, ["compute"])
    assert running.host.domains[compute.uuid].vcpus == 3
    assert up(running.session).plan.changes is False


def test_recreate_leaves_a_node_off_that_is_off(running: World) -> None:
    running.stop("controller", DomainState.SHUTOFF)
    recreate(running.session, ["compute"])
    assert running.host.domains[running.node("controller").uuid].state is DomainState.SHUTOFF


def test_recreate_of_every_node_makes_all_anew(running: World) -> None:
    report = recreate(running.session, NAMES)
    assert actions(report) == dict.fromkeys(NAMES, Action.RECREATE)
    assert running.asked("undefine") == ["demo_controller", "demo_compute"]


def test_recreate_of_a_node_that_is_gone_makes_it(running: World) -> None:
    compute = running.node("compute")
    del running.host.domains[compute.uuid]
    report = recreate(running.session, ["compute"])
    assert actions(report) == {"compute": Action.CREATE}
    assert running.asked("delete volume") == ["demo_compute.img", "demo_compute_seed.iso"]


def test_recreate_removes_an_overlay_beside_labkit_and_what_only_the_domain_knows(
    running: World,
) -> None:
    compute = running.node("compute")
    running.host.add_volume("demo.ext1", backing=compute.disk_volume)
    running.host.add_volume("foreign.img")
    mine = running.host.domains[compute.uuid]
    disks = (replace(mine.disks[0], path=POOL_PATH / "demo.ext1"), *mine.disks[1:])
    running.host.domains[compute.uuid] = replace(mine, disks=disks)
    running.directory.save(running.state.model_copy(update={"volumes": ()}))
    recreate(running.session, ["compute"])
    assert running.asked("delete volume") == [
        "demo.ext1",
        "demo_compute.img",
        "demo_compute_seed.iso",
    ]
    assert "foreign.img" in running.host.volumes


def test_recreate_asked_what_it_would_do_changes_nothing(running: World) -> None:
    before = files_under(running.directory.path)
    report = recreate(running.session, ["compute"], dry_run=True)
    assert actions(report) == {"compute": Action.RECREATE}
    assert set(report.up.plan.leftovers) == {"demo_compute.img", "demo_compute_seed.iso"}
    assert running.host.calls == []
    assert files_under(running.directory.path) == before


@pytest.mark.parametrize("call", ["power off", "undefine"])
def test_recreate_that_fails_in_the_middle_is_finished_by_up(running: World, call: str) -> None:
    deploy(running)
    running.host.fail(call, "demo_compute", REFUSED)
    with pytest.raises(HostError) as caught:
        recreate(running.session, ["compute"], force=True)
    assert caught.value is REFUSED
    assert running.state.nodes["compute"] == NodeState()
    running.try_again()
    report = up(running.session)
    assert [item.action for item in report.plan.nodes] == [Action.KEEP, Action.RECREATE]
    assert running.state.nodes["compute"].created


def test_recreate_whose_vagrant_fails_is_finished_by_up(running: World) -> None:
    running.host.fail("vagrant up", "compute", REFUSED)
    with pytest.raises(HostError):
        recreate(running.session, ["compute"])
    running.try_again()
    report = up(running.session)
    assert [item.action for item in report.plan.nodes] == [Action.KEEP, Action.CREATE]


def refused(world: World, *names: str, force: bool = False) -> tuple[str, ...]:
    """Return why it is refused, with and without a dry run, and that nothing was touched."""
    before = files_under(world.directory.path)
    reasons = []
    for dry_run in (True, False):
        with pytest.raises(OperationError, match="nothing was touched") as caught:
            recreate(world.session, names, force=force, dry_run=dry_run)
        reasons.append(caught.value.details)
        assert caught.value.exit_code == 4
    assert world.host.calls == []
    assert files_under(world.directory.path) == before
    assert reasons[0] == reasons[1]
    return reasons[0]


def test_recreate_of_a_deployed_node_asks_for_force(running: World) -> None:
    deploy(running)
    (reason,) = refused(running, "compute")
    assert reason.startswith("node 'compute': Packstack has worked on it")
    assert "'labkit recreate --force compute'" in reason


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("compute", {"nodes": ("controller",), "deployed": ("controller",), "run_id": "r1"}),
        ("controller", {"nodes": (), "deployed": (), "run_id": "", "prepared": False}),
    ],
)
def test_recreate_by_force_leaves_on_record_what_is_left_of_the_deployment(
    running: World, name: str, left: dict[str, object]
) -> None:
    deploy(running)
    report = recreate(running.session, [name], force=True)
    assert report.undeployed == (name,)
    known = running.state.deployment
    assert {key: getattr(known, key) for key in left} == left


@pytest.mark.parametrize("force", [True, False])
def test_recreate_beside_a_packstack_run_is_refused(running: World, *, force: bool) -> None:
    deploy(running, handled=False, deployed=())
    (reason,) = refused(running, "compute", force=force)
    assert "'labkit deploy'" in reason
    assert "'--kill'" in reason


def test_recreate_of_the_controller_by_force_ends_the_run_on_it(running: World) -> None:
    deploy(running, handled=False, deployed=())
    recreate(running.session, ["controller"], force=True)
    assert running.state.deployment == DeploymentState()


@pytest.mark.parametrize("force", [True, False])
def test_recreate_of_a_node_in_snapshots_names_each_with_the_command(
    running: World, *, force: bool
) -> None:
    shelf = Shelf(running.directory.snapshots)
    for minutes, name in enumerate(("base", "later")):
        shelf.publish(record(running.session.lab, name, minutes=minutes))
    reasons = refused(running, "compute", force=force)
    assert [reason.split(" is of")[0] for reason in reasons] == [
        "the snapshot 'base'",
        "the snapshot 'later'",
    ]
    assert "'labkit snapshot --delete base'" in reasons[0]


def test_recreate_of_a_node_that_a_snapshot_does_not_have_goes_on(running: World) -> None:
    lab = running.session.lab
    earlier = replace(lab, nodes=lab.nodes[:1])
    Shelf(running.directory.snapshots).publish(record(earlier))
    assert actions(recreate(running.session, ["compute"])) == {"compute": Action.RECREATE}


def test_recreate_of_a_node_with_snapshots_of_another_tool_is_refused(running: World) -> None:
    uuid = running.node("compute").uuid
    running.host.domains[uuid] = replace(running.host.domains[uuid], snapshots=2)
    (reason,) = refused(running, "compute", force=True)
    assert "2 snapshots that labkit did not take" in reason
    assert "virsh snapshot-list demo_compute" in reason


def test_recreate_says_everything_that_is_in_its_way_at_once(running: World) -> None:
    deploy(running)
    Shelf(running.directory.snapshots).publish(record(running.session.lab))
    assert len(refused(running, *NAMES)) == 3


def test_recreate_of_an_unknown_node_names_those_there_are(running: World) -> None:
    with pytest.raises(UsageError, match="no node 'compute2'; it has 'controller', 'compute'"):
        recreate(running.session, ["compute", "compute2"])
    assert running.host.calls == []


def test_recreate_without_the_built_box_keeps_the_node(running: World, box: BoxDefinition) -> None:
    (cache_directory(box, cache_root()) / "provenance.json").unlink()
    with pytest.raises(HostError, match="'rehearsal' is not built") as caught:
        recreate(running.session, ["compute"])
    assert caught.value.hint == "Run 'labkit box build rehearsal' first."
    assert running.host.calls == []
    assert running.state.nodes["compute"].created


def test_recreate_that_the_plan_refuses_keeps_the_node(running: World) -> None:
    running.host.pools, running.host.pool_path = {"images"}, DEFAULT_POOL_PATH
    with pytest.raises(HostError, match="cannot be made on this host"):
        recreate(running.session, ["compute"])
    assert running.host.calls == []
    assert running.state.nodes["compute"].created


def test_recreate_in_a_lab_in_use_touches_nothing(running: World) -> None:
    with lab_lock(running.directory, "up"), pytest.raises(LabInUseError):
        recreate(running.session, ["compute"])
    assert running.host.calls == []
