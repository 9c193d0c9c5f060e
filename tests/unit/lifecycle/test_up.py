"""`up` on a fake host: what it does in which order, and what each failure leaves and says."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.cache import BOX_VERSION
from labkit.boxes.definition import BoxDefinition, vagrant_name
from labkit.errors import CommandError, HostError, LabkitError, OperationError, UsageError
from labkit.host import vagrant
from labkit.host.inventory import POOL_PATH
from labkit.host.libvirt.xml import DomainState
from labkit.lifecycle.plan import Action
from labkit.lifecycle.up import up
from labkit.state.directory import LabDirectory, LabState, NodeState
from labkit.state.progress import Event, Phase
from labkit.state.registry import user_registry
from labkit.state.session import host_key, user_key
from tests.support.bringup import (
    BOOT_ID,
    NAMES,
    REFUSED,
    World,
    executable,
    files_under,
    half_made,
    write_keys,
)

if TYPE_CHECKING:
    from pathlib import Path


# What goes well.


def test_up_of_a_new_lab_makes_everything_and_records_it(world: World) -> None:
    report = up(world.session)
    assert [item.action for item in report.plan.nodes] == [Action.CREATE] * 2
    assert [(each.node, each.boot_id, each.evidence) for each in report.ready] == [
        (name, BOOT_ID, "report") for name in NAMES
    ]
    for name in NAMES:
        known = world.state.nodes[name]
        assert (known.created, known.seed) == (True, world.seed_id(name))
    assert world.state.networks == ("lan",)
    assert len(world.state.volumes) == 4
    assert user_registry().find(world.state.lab_id) is not None
    assert not world.session.cancelled.is_set()


def test_up_prepares_everything_before_vagrant_makes_anything(world: World) -> None:
    up(world.session)
    changes = [call for call, _name in world.host.calls if call != "vagrant load"]
    assert changes == [
        "define pool",
        "upload",  # the box
        "ensure network",
        *["upload"] * 2,  # the seeds
        *["vagrant up"] * 2,
    ]


def test_up_opens_one_connection_for_itself_and_one_for_each_node(world: World) -> None:
    up(world.session)
    assert (world.host.connections, world.host.open) == (3, 0)


def test_vagrantfile_for_vagrant_is_the_one_for_reading(world: World) -> None:
    up(world.session)
    text = (world.directory.vagrant / "Vagrantfile").read_text()
    rendered = files_under(world.directory.rendered)
    assert rendered["Vagrantfile"].decode() == text
    assert {"networks/lan.xml", "compute/etc/hostname"} < set(rendered)


def test_node_starts_when_one_before_it_is_through_its_first_boot(world: World) -> None:
    up(world.session, parallel=1)
    assert world.turns == [{"controller"}, {"controller", "compute"}]


def test_node_whose_guest_never_reports_leaves_its_turn_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_BOOT_SECONDS", "0.5")
    world.silent = {"controller"}
    with pytest.raises(OperationError) as caught:
        up(world.session, parallel=1)
    told = "\n".join((caught.value.message, *caught.value.details))
    assert "node 'controller': its first boot's report" in told
    assert world.turns == [{"controller"}, {"controller", "compute"}]


def test_turns_of_an_earlier_up_are_no_turns_of_this_one(world: World) -> None:
    world.directory.create()
    world.directory.turns.mkdir(parents=True)
    (world.directory.turns / "compute").touch()
    up(world.session, parallel=1)
    assert world.turns[0] == {"controller"}


def test_second_up_changes_nothing(running: World) -> None:
    before = files_under(running.directory.path)
    report = up(running.session)
    assert [item.action for item in report.plan.nodes] == [Action.KEEP] * 2
    assert running.host.calls == []
    assert files_under(running.directory.path) == before


def test_up_makes_the_keys_a_lab_lacks(world: World) -> None:
    for key in world.directory.keys.iterdir():
        key.unlink()
    up(world.session)
    assert user_key(world.directory).exists()
    assert world.state.nodes["compute"].seed == world.seed_id("compute")


def test_up_of_a_node_that_is_off_gives_it_the_seed_of_now(running: World) -> None:
    before = running.state.nodes["compute"].seed
    running.stop("compute", DomainState.SHUTOFF)
    running.change_files()
    up(running.session)
    assert running.asked("upload") == ["demo_compute_seed.iso"]
    assert running.state.nodes["compute"].seed == running.seed_id("compute") != before
    assert running.state.nodes["controller"].seed != running.seed_id("controller")


def test_up_of_a_node_that_is_off_forgets_what_it_said_before(running: World) -> None:
    running.stop("compute", DomainState.SHUTOFF)
    log = running.directory.console_log("compute")
    aside = log.with_name(f"{log.name}.0")
    for path in (log, aside):
        path.write_text("of yesterday")

    up(running.session)

    assert (log.read_text(), aside.exists()) == ("", False)
    assert log.stat().st_mode & 0o777 == 0o644


# What was never seen is not recorded.


def test_up_of_a_paused_node_leaves_on_record_the_seed_it_took(running: World) -> None:
    before = running.state.nodes
    running.stop("compute", DomainState.PAUSED)
    running.change_files()
    report = up(running.session)
    assert running.asked("resume") == ["demo_compute"]
    assert running.state.nodes == before
    assert all(item.notice for item in report.plan.nodes)
    assert all(item.notice for item in up(running.session).plan.nodes)


@pytest.mark.parametrize("state", [DomainState.RUNNING, DomainState.PAUSED])
def test_up_of_a_lab_whose_record_was_lost_claims_no_seed(
    running: World, state: DomainState
) -> None:
    running.directory.state_file.unlink()
    for name in NAMES:
        running.stop(name, state)
    running.session = replace(running.session, lab=replace(running.session.lab))
    up(running.session)
    assert {name: node.seed for name, node in running.state.nodes.items()} == dict.fromkeys(
        NAMES, ""
    )
    assert all(node.created for node in running.state.nodes.values())


# What each failure leaves.


def test_up_of_a_lab_that_cannot_be_healed_touches_nothing(world: World) -> None:
    world.directory.snapshots.mkdir()
    (world.directory.snapshots / "journal.json").write_text("damaged")
    with pytest.raises(OperationError):
        up(world.session)
    assert world.host.connections == 0
    assert not world.directory.state_file.exists()


def test_up_with_an_unknown_box_touches_nothing(world: World) -> None:
    world.session = replace(world.session, lab=replace(world.session.lab, box="rehearsl"))
    with pytest.raises(UsageError) as caught:
        up(world.session)
    assert caught.value.hint == "Did you mean 'rehearsal'?"
    assert world.host.calls == []
    assert not world.directory.state_file.exists()


def test_up_that_the_plan_refuses_touches_nothing(world: World) -> None:
    world.host.pools.add("default")
    world.host.add_volume("demo_compute.img")
    with pytest.raises(OperationError, match="cannot come up") as caught:
        up(world.session)
    assert "'/pool/demo_compute.img' exists" in caught.value.details[0]
    assert world.host.calls == []
    assert not world.directory.state_file.exists()


def test_up_with_a_boot_time_that_is_no_number_touches_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_BOOT_SECONDS", "soon")
    with pytest.raises(UsageError, match="'soon'"):
        up(world.session)
    assert world.host.calls == []
    assert not world.directory.state_file.exists()


def test_up_that_the_plan_refuses_makes_no_storage_pool(world: World) -> None:
    lan = replace(world.session.lab.networks[0], uuid=world.node("compute").uuid)
    world.host.add_lab(replace(world.session.lab, networks=(lan,), nodes=()))
    world.host.pools.clear()
    with pytest.raises(OperationError, match="cannot come up"):
        up(world.session)
    assert world.host.pools == set()


def test_up_sees_a_foreign_volume_in_a_pool_that_was_not_there(world: World) -> None:
    world.host.add_volume("demo_compute.img")
    with pytest.raises(OperationError, match="cannot come up"):
        up(world.session)
    assert "demo_compute.img" in world.host.volumes
    assert not world.directory.state_file.exists()


def test_up_that_cannot_write_its_claim_makes_nothing(world: World) -> None:
    world.host.before("define pool", "default", world.block_record)
    with pytest.raises((OSError, LabkitError)):
        up(world.session)
    assert world.host.calls == [("define pool", "default")]
    assert world.session.cancelled.is_set()


def test_up_that_cannot_enter_the_registry_comes_up(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    up(world.session)
    assert world.state.nodes["compute"].created
    assert "not on record" in caplog.text


def leave_half_made(world: World) -> None:
    for name in NAMES:
        world.directory.save(world.state.with_node(name, NodeState()))


def test_up_that_cannot_clear_a_half_made_node_leaves_it_on_record(running: World) -> None:
    leave_half_made(running)
    running.host.fail("undefine", "demo_controller", REFUSED)
    with pytest.raises(HostError) as caught:
        up(running.session)
    assert caught.value is REFUSED
    assert half_made(running)
    assert running.asked("vagrant load") == []
    running.try_again()
    report = up(running.session)
    assert [item.action for item in report.plan.nodes] == [Action.RECREATE] * 2
    assert all(running.state.nodes[name].created for name in NAMES)


def test_up_that_cannot_upload_the_box_starts_no_vagrant(world: World, box: BoxDefinition) -> None:
    name = vagrant_name(box)
    world.host.fail("upload", vagrant.box_volume(name, BOX_VERSION), REFUSED)
    with pytest.raises(HostError) as caught:
        up(world.session)
    assert caught.value is REFUSED
    assert half_made(world)
    assert world.asked("vagrant load") == []


def test_up_without_room_in_the_pool_starts_no_vagrant(world: World) -> None:
    world.host.free_bytes = 1
    with pytest.raises(HostError, match="0 MiB free"):
        up(world.session)
    assert half_made(world)
    assert world.asked("vagrant load") == []


def test_up_in_a_directory_vagrant_cannot_use_starts_no_vagrant(
    world: World, tmp_path: Path
) -> None:
    directory = LabDirectory(tmp_path / "a&b")
    directory.create()
    write_keys(directory)
    other = World(directory=directory, host=world.host)
    with pytest.raises(HostError, match="&"):
        up(other.session)
    assert half_made(other)
    assert other.asked("vagrant load") == []


def test_up_whose_network_is_refused_ends_vagrant_before_it_makes_anything(world: World) -> None:
    world.host.fail("ensure network", "demo_lan", REFUSED)
    with pytest.raises(HostError) as caught:
        up(world.session)
    assert caught.value is REFUSED
    assert world.session.cancelled.is_set()
    assert world.asked("vagrant up") == []
    assert half_made(world)


def test_up_whose_keys_cannot_be_made_ends_vagrant_before_it_makes_anything(
    world: World, tmp_path: Path
) -> None:
    host_key(world.directory, "compute").unlink()
    executable(tmp_path / "bin" / "ssh-keygen", "echo no entropy >&2; exit 1")
    with pytest.raises(CommandError) as caught:
        up(world.session)
    assert caught.value.details == ("no entropy",)
    assert world.asked("vagrant up") == []
    assert half_made(world)


def test_up_whose_seed_is_refused_ends_vagrant_before_it_makes_anything(world: World) -> None:
    world.host.fail("upload", "demo_compute_seed.iso", REFUSED)
    with pytest.raises(HostError) as caught:
        up(world.session)
    assert caught.value is REFUSED
    assert world.asked("vagrant up") == []
    assert half_made(world)


@pytest.mark.parametrize(
    ("call", "state"), [("start", DomainState.SHUTOFF), ("resume", DomainState.PAUSED)]
)
def test_up_that_cannot_start_a_node_ends_vagrant_before_it_makes_another(
    world: World, call: str, state: DomainState
) -> None:
    both = world.session.lab
    world.session = replace(world.session, lab=replace(both, nodes=both.nodes[:1]))
    up(world.session)
    world.session = replace(world.session, lab=both)
    world.stop("controller", state)
    before = world.state.nodes["controller"]
    world.host.calls.clear()
    world.host.fail(call, "demo_controller", REFUSED)
    with pytest.raises(HostError) as caught:
        up(world.session)
    assert caught.value is REFUSED
    assert world.asked("vagrant up") == []
    assert world.state.nodes == {"controller": before, "compute": NodeState()}


def test_up_whose_vagrant_fails_reports_that_and_gives_the_nodes_up(world: World) -> None:
    failed = CommandError("'vagrant up' exited with 1.", details=("why",))
    world.host.fail("vagrant up", "compute", failed)
    with pytest.raises(CommandError) as caught:
        up(world.session)
    assert caught.value is failed
    assert world.session.cancelled.is_set()
    assert half_made(world)


def test_vagrant_that_fails_before_the_rest_does_is_the_first_cause(world: World) -> None:
    failed = CommandError("'vagrant up' exited with 1.", details=("no such plugin",), hint="why")
    world.host.fail("vagrant load", "", failed)

    ended = threading.Event()

    def hear(event: Event) -> None:
        if (event.stage, event.phase) == ("vagrant up", Phase.FAILED):
            ended.set()

    def later() -> None:
        assert ended.wait(20)
        # What runs Vagrant still has to hand its error over.
        threading.Event().wait(0.2)

    world.session = replace(world.session, progress=hear)
    world.host.before("ensure network", "demo_lan", later)
    world.host.fail("ensure network", "demo_lan", REFUSED)
    with pytest.raises(OperationError) as caught:
        up(world.session)
    assert caught.value.details == (failed.message, "  no such plugin", REFUSED.message)
    assert caught.value.hint == "why"


def test_node_that_stops_is_reported_and_both_are_whole_on_record(world: World) -> None:
    world.after_vagrant = lambda: world.host.state(world.node("compute").uuid, DomainState.CRASHED)
    world.silent.add("compute")
    with pytest.raises(OperationError) as caught:
        up(world.session)
    assert caught.value.message == "The domain of node 'compute' stopped while it was starting."
    assert "'controller'" not in caught.value.message
    assert all(world.state.nodes[name].created for name in NAMES)


def test_nodes_that_fail_are_all_reported(world: World) -> None:
    for name in NAMES:
        world.unreachable[name] = OperationError(f"'{name}' is not well.")
    with pytest.raises(OperationError) as caught:
        up(world.session)
    assert caught.value.message == "labkit could not bring the lab up: 2 things failed."
    assert set(caught.value.details) >= {f"'{name}' is not well." for name in NAMES}
    assert all(world.state.nodes[name].created for name in NAMES)


def test_unexpected_error_of_one_node_does_not_hide_that_of_another(world: World) -> None:
    world.asked_at_once = threading.Barrier(2)
    world.unreachable = {
        "controller": OperationError("'controller' is not well."),
        "compute": ValueError("a fault of labkit's"),
    }
    with pytest.raises(OperationError) as caught:
        up(world.session)
    assert set(caught.value.details) == {
        "'controller' is not well.",
        "Unexpected ValueError: a fault of labkit's",
    }
    # With its traceback, for the log.
    assert caught.value.__cause__ is world.unreachable["compute"]


def test_unexpected_error_alone_stays_as_it_is(world: World) -> None:
    world.unreachable["compute"] = error = ValueError("a fault of labkit's")
    with pytest.raises(ValueError, match="a fault") as caught:
        up(world.session)
    assert caught.value is error
    assert all(world.state.nodes[name].created for name in NAMES)


def test_up_that_cannot_record_its_nodes_fails_and_the_next_one_loses_no_deployment(
    world: World,
) -> None:
    claims: list[LabState] = []

    def block() -> None:
        claims.append(world.state)
        world.block_record()

    world.after_vagrant = block
    with pytest.raises((OSError, LabkitError)):
        up(world.session)
    assert world.session.cancelled.is_set()

    deployment = claims[0].deployment.model_copy(update={"deployed": NAMES})
    world.unblock_record(claims[0].model_copy(update={"deployment": deployment}))
    world.try_again()
    with pytest.raises(OperationError) as caught:
        up(world.session)
    assert world.host.calls == []
    assert len(caught.value.details) == 2
    assert "Packstack ran in it" in caught.value.details[0]
    assert "state.json" in caught.value.details[0]


# A dry run.


def test_dry_run_of_a_new_lab_touches_nothing(world: World, tmp_path: Path) -> None:
    before = files_under(tmp_path)
    report = up(world.session, dry_run=True)
    assert [item.action for item in report.plan.nodes] == [Action.CREATE] * 2
    assert report.ready == ()
    assert world.host.calls == []
    assert files_under(tmp_path) == before


def test_dry_run_says_what_the_same_up_would(running: World, tmp_path: Path) -> None:
    running.stop("compute", DomainState.PAUSED)
    running.change_files()
    before = files_under(tmp_path)
    report = up(running.session, dry_run=True)
    assert running.host.calls == []
    assert files_under(tmp_path) == before
    assert report.plan == up(running.session).plan


def test_dry_run_of_a_lab_without_a_directory_makes_none(world: World, tmp_path: Path) -> None:
    world.session = replace(world.session, directory=LabDirectory(tmp_path / "none" / "demo"))
    up(world.session, dry_run=True)
    assert not (tmp_path / "none").exists()


def test_case_16_dry_run_says_that_up_starts_the_pool_and_up_does(world: World) -> None:
    world.host.pools = {"default"}
    world.host.pools_off = {"default"}
    note = "storage pool 'default': it is off; 'labkit up' starts it"

    assert note in up(world.session, dry_run=True).plan.notes
    assert world.host.calls == []

    up(world.session)
    assert world.host.calls[0] == ("start pool", "default")
    assert up(world.session).plan.changes is False


@pytest.mark.parametrize("dry_run", [True, False])
def test_case_15_up_and_its_dry_run_refuse_a_host_alike_before_anything_is_made(
    world: World, *, dry_run: bool
) -> None:
    world.host.pools, world.host.pool_path = {"images"}, POOL_PATH
    with pytest.raises(HostError) as caught:
        up(world.session, dry_run=dry_run)
    assert "set 'pool: images' in lab.yaml" in caught.value.details[0]
    assert world.host.calls == []
    assert not world.directory.state_file.exists()
    # Named, it is used by everything that makes something in it.
    world.session = replace(world.session, lab=replace(world.session.lab, pool="images"))
    up(world.session, dry_run=dry_run)
    assert world.host.pools == {"images"}
