from __future__ import annotations

import errno
import os
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from labkit.errors import HostError, OperationError, UsageError
from labkit.host.libvirt.xml import DomainState
from labkit.lifecycle.teardown import destroy, destroy_by_name, halt
from labkit.state.directory import LabDirectory, LabState, NodeState, path_lab_id
from labkit.state.lock import LabInUseError, lab_lock
from labkit.state.registry import Registry, user_registry
from labkit.state.session import Session
from tests.fakes.libvirt import POOL_PATH, FakeHost, FakeHypervisor
from tests.fakes.tools import tools
from tests.support import labs

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

LAB = labs.lab()
VOLUMES = tuple(
    sorted(name for node in LAB.nodes for name in (node.disk_volume, node.seed_volume))
)
STATE = LabState(
    lab=LAB.name,
    lab_id=LAB.lab_id,
    nodes={node.name: NodeState(created=True) for node in LAB.nodes},
    networks=("lan",),
    volumes=VOLUMES,
)


@pytest.fixture
def host() -> FakeHost:
    """Return a host on which the lab runs, and a volume of somebody else's."""
    host = FakeHost()
    host.add_lab(LAB)
    host.add_volume("foreign.img")
    return host


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: FakeHost) -> Session:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "records"))
    directory = LabDirectory(tmp_path / ".labkit" / LAB.name)
    directory.create()
    directory.save(STATE)
    user_registry().enter(directory, STATE)
    return Session(
        lab=LAB,
        lab_file=tmp_path / "lab.yaml",
        directory=directory,
        progress=lambda _event: None,
        tools=tools(connect=host.connect),
    )


def require_gone(session: Session, host: FakeHost) -> None:
    assert (host.domains, host.networks, list(host.volumes)) == ({}, {}, ["foreign.img"])
    assert not session.directory.path.parent.exists()
    assert user_registry().records() == ((), ())
    assert host.open == 0


def test_destroy_removes_everything_of_the_lab_and_nothing_else(
    session: Session, host: FakeHost
) -> None:
    owned = destroy(session)

    assert len(owned.describe()) == 7
    require_gone(session, host)


def test_destroy_a_second_time_finds_nothing(session: Session, host: FakeHost) -> None:
    destroy(session)
    assert destroy(session).describe() == ()
    require_gone(session, host)


def test_destroy_defines_no_pool_where_there_is_none(session: Session, host: FakeHost) -> None:
    host.pools.clear()
    destroy(session)
    assert host.pools == set()


def test_destroy_asked_what_it_would_do_changes_nothing(session: Session, host: FakeHost) -> None:
    assert len(destroy(session, dry_run=True).describe()) == 7
    assert host.calls == []
    assert session.state() == STATE


def test_destroy_without_libvirt_keeps_all_that_is_known(session: Session, host: FakeHost) -> None:
    host.fail("connect", "", HostError("libvirtd does not answer."))
    with pytest.raises(HostError, match="does not answer"):
        destroy(session)
    assert session.state() == STATE
    assert len(user_registry().records()[0]) == 1


def test_destroy_of_a_lab_in_use_touches_nothing(session: Session, host: FakeHost) -> None:
    with lab_lock(session.directory, "deploy"), pytest.raises(LabInUseError):
        destroy(session)
    assert host.calls == []
    assert session.state() == STATE


def test_case_01_destroy_asks_no_vagrant_and_leaves_a_lab_of_the_same_names_alone(
    session: Session, host: FakeHost
) -> None:
    # All that is alike: the other lab's domain took over the name and the disk of one of ours.
    one = session.lab.nodes[0]
    mine = host.domains.pop(one.uuid)
    other = replace(mine, uuid=uuid4())
    host.domains[other.uuid] = other
    owned = destroy(session)
    assert one.disk_volume not in owned.volumes
    assert host.domains == {other.uuid: other}
    assert {one.disk_volume, one.seed_volume} <= set(host.volumes)


def test_case_16_destroy_of_a_lab_whose_pool_is_off_starts_it(
    session: Session, host: FakeHost
) -> None:
    host.pools_off.add("default")
    destroy(session)
    require_gone(session, host)


def test_case_15_destroy_of_a_lab_in_another_pool_looks_there(
    session: Session, host: FakeHost
) -> None:
    host.pools.add("images")
    session.directory.save(STATE.model_copy(update={"pool": "images"}))
    destroy(session)
    require_gone(session, host)


def test_case_02_overlay_of_a_snapshot_beside_labkit_is_removed_with_its_domain(
    session: Session, host: FakeHost
) -> None:
    one = session.lab.nodes[0]
    host.add_volume("demo.ext1", backing=one.disk_volume)
    host.add_volume("demo.ext2", backing="demo.ext1")
    host.add_volume("foreign", backing=None)
    disks = tuple(
        replace(disk, path=POOL_PATH / name)
        for disk, name in zip(
            (*host.domains[one.uuid].disks, host.domains[one.uuid].disks[0]),
            ("demo.ext2", one.seed_volume, "foreign"),
            strict=True,
        )
    )
    host.domains[one.uuid] = replace(host.domains[one.uuid], disks=disks)
    owned = destroy(session)
    assert {"demo.ext1", "demo.ext2", one.disk_volume} <= set(owned.volumes)
    assert "foreign" in host.volumes
    assert not {"demo.ext1", "demo.ext2", one.disk_volume} & set(host.volumes)


@pytest.mark.parametrize(
    ("call", "name", "left"),
    [
        ("power off", "demo_compute", "domain demo_compute"),
        ("undefine", "demo_compute", "domain demo_compute"),
        ("delete volume", "demo_compute.img", "volume demo_compute.img"),
        ("remove network", "demo_lan", "network demo_lan"),
    ],
)
def test_destroy_that_cannot_remove_a_thing_removes_the_others_and_says_what_is_left(
    session: Session, host: FakeHost, call: str, name: str, left: str
) -> None:
    host.fail(call, name, OperationError("libvirt refuses.", details=("device is busy",)))

    with pytest.raises(OperationError, match="Not everything of the lab 'demo'") as caught:
        destroy(session)

    assert caught.value.details == (left, "libvirt refuses.", "device is busy")
    assert caught.value.exit_code == 4
    assert len(host.domains) + len(host.networks) + len(host.volumes) - 1 == 1
    assert session.state() == STATE
    assert len(user_registry().records()[0]) == 1
    destroy(session)
    require_gone(session, host)


def test_destroy_writes_volumes_down_that_only_their_domain_knows(
    session: Session, host: FakeHost
) -> None:
    session.directory.save(STATE.model_copy(update={"volumes": ()}))
    host.fail("delete volume", "demo_compute.img", OperationError("busy"))
    with pytest.raises(OperationError):
        destroy(session)
    assert session.state().volumes == VOLUMES
    destroy(session)
    require_gone(session, host)


class FullDisk(LabDirectory):
    """A lab's directory on a disk that takes nothing more."""

    def save(self, state: LabState) -> None:
        del state
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.state_file))


def test_destroy_on_a_full_disk_frees_it(session: Session, host: FakeHost) -> None:
    session.directory.save(STATE.model_copy(update={"volumes": ()}))
    (session.directory.path / "lock.holder").symlink_to("/dev/full")
    full = FullDisk(session.directory.path)

    destroy_by_name("demo", full, session.progress, registry=user_registry(), tools=session.tools)

    require_gone(session, host)


def test_destroy_whose_directory_stays_says_so_and_keeps_the_record(
    session: Session, host: FakeHost
) -> None:
    class Kept(LabDirectory):
        def clear(self) -> None:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(self.keys))

    kept = Kept(session.directory.path)
    with pytest.raises(OSError, match="Permission denied"):
        destroy_by_name(
            "demo", kept, session.progress, registry=user_registry(), tools=session.tools
        )
    assert host.domains == {}
    assert len(user_registry().records()[0]) == 1


def test_destroy_by_name_removes_a_lab_whose_file_is_gone(
    session: Session, host: FakeHost
) -> None:
    owned = destroy_by_name(
        "demo",
        session.directory,
        session.progress,
        registry=user_registry(),
        tools=session.tools,
    )
    assert len(owned.describe()) == 7
    require_gone(session, host)


def test_destroy_by_name_asked_what_it_would_do_changes_nothing(
    session: Session, host: FakeHost
) -> None:
    asked = destroy_by_name(
        "demo",
        session.directory,
        session.progress,
        registry=user_registry(),
        tools=session.tools,
        dry_run=True,
    )
    assert len(asked.describe()) == 7
    assert (host.calls, session.state()) == ([], STATE)


def test_destroy_by_an_unknown_name_says_which_labs_are_on_record(tmp_path: Path) -> None:
    known = LabDirectory(tmp_path / "packstack")
    known.create()
    known.save(LabState(lab="packstack", lab_id=path_lab_id(known.path)))
    with pytest.raises(UsageError, match=r"No lab 'other' is on record in .*; found 'packstack'"):
        destroy_by_name(
            "other",
            LabDirectory(tmp_path / "other"),
            lambda _event: None,
            registry=Registry(tmp_path / "records"),
            tools=tools(),
        )


@pytest.mark.parametrize("name", ["..", ".", "a/b", "Big", ""])
def test_destroy_by_a_name_no_lab_can_have_touches_nothing(tmp_path: Path, name: str) -> None:
    inside = LabDirectory(tmp_path / "labs" / name)
    (tmp_path / "labs" / "a" / "b").mkdir(parents=True)
    (tmp_path / "labs" / "Big").mkdir()
    inside.path.mkdir(parents=True, exist_ok=True)
    inside.state_file.write_text("{}")
    with pytest.raises(UsageError):
        destroy_by_name(
            name,
            inside,
            lambda _event: None,
            registry=Registry(tmp_path / "records"),
            tools=tools(),
        )
    assert inside.state_file.exists()


def states(host: FakeHost) -> list[DomainState]:
    return [host.domains[node.uuid].state for node in LAB.nodes]


def test_halt_shuts_every_node_down(session: Session, host: FakeHost) -> None:
    report = halt(session)
    assert report.nodes == (("controller", "shut down"), ("compute", "shut down"))
    assert states(host) == [DomainState.SHUTOFF, DomainState.SHUTOFF]
    assert halt(session).nodes == (("controller", "was off"), ("compute", "was off"))
    assert host.open == 0


def test_halt_of_one_node_leaves_the_others(session: Session, host: FakeHost) -> None:
    assert halt(session, only=["compute", "compute"]).nodes == (("compute", "shut down"),)
    assert states(host) == [DomainState.RUNNING, DomainState.SHUTOFF]
    with pytest.raises(UsageError, match="has no node 'other'"):
        halt(session, only=["compute", "other"])


@pytest.mark.parametrize("dry_run", [False, True])
def test_halt_of_a_lab_that_was_never_made_says_so(session: Session, *, dry_run: bool) -> None:
    nothing = replace(session, tools=tools(connect=FakeHost().connect))
    assert halt(nothing, dry_run=dry_run).nodes == (
        ("controller", "does not exist"),
        ("compute", "does not exist"),
    )


def test_halt_by_force_asks_no_guest(session: Session, host: FakeHost) -> None:
    assert dict(halt(session, force=True).nodes)["compute"] == "powered off"
    assert {call for call, _ in host.calls} == {"power off"}


def test_halt_resumes_a_paused_guest_so_that_it_can_follow(
    session: Session, host: FakeHost
) -> None:
    host.state(LAB.nodes[0].uuid, DomainState.PAUSED)
    halt(session)
    assert ("resume", "demo_controller") in host.calls
    assert states(host) == [DomainState.SHUTOFF, DomainState.SHUTOFF]


def test_halt_asked_what_it_would_do_changes_nothing(session: Session, host: FakeHost) -> None:
    report = halt(session, dry_run=True)
    assert report.nodes == (
        ("controller", "would be shut down"),
        ("compute", "would be shut down"),
    )
    assert host.calls == []


def test_halt_that_fails_on_a_node_stops_the_other(session: Session, host: FakeHost) -> None:
    host.fail("shutdown", "demo_controller", OperationError("It does not listen."))
    with pytest.raises(OperationError, match="It does not listen"):
        halt(session)
    assert states(host) == [DomainState.RUNNING, DomainState.SHUTOFF]


def test_halt_that_fails_on_every_node_lists_them_all(session: Session, host: FakeHost) -> None:
    for node in LAB.nodes:
        host.fail("shutdown", node.domain, OperationError(f"{node.name} does not listen."))
    with pytest.raises(OperationError, match="2 nodes could not be stopped") as caught:
        halt(session)
    assert caught.value.details == ("controller does not listen.", "compute does not listen.")


def test_halt_of_a_lab_in_use_touches_nothing(session: Session, host: FakeHost) -> None:
    with lab_lock(session.directory, "up"), pytest.raises(LabInUseError, match="Another labkit"):
        halt(session)
    assert host.calls == []


class Deaf(FakeHypervisor):
    """Guests that do not follow, and a user who has soon had enough of it."""

    def shutdown(self, uuid: UUID) -> None:
        if uuid == LAB.nodes[0].uuid:
            # Not at once: Python may still be starting the other node's thread.
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()


@pytest.mark.timeout(30)
def test_halt_that_is_interrupted_does_not_wait_for_its_guests(
    session: Session, host: FakeHost
) -> None:
    deaf = replace(session, tools=tools(connect=lambda: Deaf(host)))
    with pytest.raises(KeyboardInterrupt):
        halt(deaf)
    assert states(host) == [DomainState.RUNNING, DomainState.RUNNING]
