"""Deployments on fake nodes: each step that can fail, and what is known afterwards."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from labkit.errors import LabkitError, OperationError
from labkit.host.libvirt.xml import DomainState
from labkit.lab import releases
from labkit.lab.topology import Release
from labkit.packstack.deploy import deploy, kill, plan
from labkit.packstack.run import HungError
from labkit.snapshots.record import Shelf
from labkit.state.directory import LabDirectory
from labkit.state.session import Session, host_key
from labkit.verify.outputs import Output
from labkit.waiting import WaitCancelled, WaitTimeout
from tests.fakes.guest import BOOT, sample
from tests.fakes.libvirt import FakeHost
from tests.fakes.packstack import FINE, REFUSED, FakeClock, FakePackstack, nodes
from tests.fakes.tools import tools
from tests.support import examples, mutations, transcripts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.host import ssh
    from labkit.packstack.report import DeployReport
    from labkit.state.directory import DeploymentState
    from tests.fakes.guest import Answer, FakeGuest

_DOCUMENT = examples.example("packstack")
LAB = replace(_DOCUMENT, deployment=replace(_DOCUMENT.deployment, hung_minutes=1))
NAMES = ("controller", "compute")


@dataclass
class World:
    """A lab that is up, on fakes of libvirt, the nodes and the time."""

    session: Session
    host: FakeHost
    packstack: FakePackstack
    guests: dict[str, FakeGuest]
    clock: FakeClock

    @property
    def known(self) -> DeploymentState:
        return self.session.state().deployment

    def answers(self, what: str, answer: Answer | list[Answer], node: str = "controller") -> None:
        guest = self.guests[node]
        guest.answers = {**guest.answers, what: answer}

    def deploy(self, *, snapshot: bool = False, detach: bool = False) -> DeployReport:
        """Deploy as a new labkit would: without what an earlier one gave up."""
        self.clock.clear()
        return deploy(self.session, snapshot=snapshot, detach=detach)

    def fails(self, error: type[LabkitError] = OperationError) -> LabkitError:
        with pytest.raises(error) as caught:
            self.deploy()
        return caught.value

    def asked(self, beginning: str) -> int:
        return sum(guest.questions(beginning) for guest in self.guests.values())


@pytest.fixture
def world(tmp_path: Path) -> World:
    directory = LabDirectory(tmp_path / "lab")
    directory.create()
    host, packstack, clock = FakeHost(), FakePackstack(), FakeClock()
    host.add_lab(LAB)
    for node in LAB.nodes:
        key = host_key(directory, node.name)
        key.with_name(f"{key.name}.pub").write_text("ssh-ed25519 AAAA it\n")
    guests = nodes(LAB, packstack, clock)

    def connect(endpoint: ssh.Endpoint, *, greeted: ssh.Greeting | None = None) -> ssh.Connection:
        del greeted
        return guests[endpoint.node]  # type: ignore[return-value] # the methods used

    session = Session(
        lab=LAB,
        lab_file=tmp_path / "lab.yaml",
        directory=directory,
        progress=lambda _event: None,
        tools=tools(connect=host.connect, ssh=connect, clock=clock),
        cancelled=clock,
    )
    return World(session=session, host=host, packstack=packstack, guests=guests, clock=clock)


def unreachable(_script: str) -> bytes:
    message = "Waited 900 s for node 'controller' to be reachable over SSH, which did not come."
    raise WaitTimeout(message)


def refuse_snapshots(world: World) -> None:
    message = "libvirt refuses the snapshot."
    for node in LAB.nodes:
        world.host.fail("take", node.domain, OperationError(message))


def test_lab_is_deployed_verified_and_known_as_that(world: World) -> None:
    report = world.deploy()
    assert report.verification is not None
    assert report.verification.passed
    assert (report.ended, report.attached, report.mended) == (True, False, ())
    assert [path.name for path in report.files] == ["keystonerc_admin"]
    assert world.session.state().stage == "deployed"
    assert world.known.deployed == NAMES
    assert world.packstack.started == [world.known.run_id]
    again = world.deploy()
    assert not again.attached
    assert len(world.packstack.started) == 2


def test_lock_is_held_from_the_first_look_over_the_snapshot_to_the_end(world: World) -> None:
    holders: set[str] = set()

    def look() -> None:
        text = (world.session.directory.path / "lock.holder").read_text()
        holders.add(json.loads(text)["verb"])

    for node in LAB.nodes:
        world.host.before("flush", node.domain, look)
    start = world.packstack.start

    def watched(script: str) -> bytes:
        look()
        return start(script)

    world.answers("start labkit-packstack", watched)
    refuse_snapshots(world)
    with pytest.raises(OperationError):
        world.deploy(snapshot=True)
    assert holders == {"deploy"}
    world.deploy()
    assert holders == {"deploy"}


def test_lab_that_is_not_up_is_refused_and_nobody_is_asked(world: World) -> None:
    world.host.state(LAB.nodes[1].uuid, DomainState.SHUTOFF)
    assert "not running: 'compute'" in world.fails().message
    assert world.asked("") == 0
    assert not (world.session.directory.path / "lock").exists()
    assert world.session.state().stage == ""


def test_lab_that_goes_down_before_the_lock_is_had_is_refused_too(world: World) -> None:
    connections = 0

    def halted() -> None:
        nonlocal connections
        connections += 1
        if connections == 2:
            world.host.state(LAB.nodes[0].uuid, DomainState.SHUTOFF)

    world.host.before("connect", "", halted)
    assert "not running: 'controller'" in world.fails().message
    assert world.asked("") == 0


def emulate(world: World, name: str) -> None:
    (node,) = (node for node in LAB.nodes if node.name == name)
    world.host.domains[node.uuid] = replace(world.host.domains[node.uuid], domain_type="qemu")


def test_emulated_node_of_a_real_box_is_refused_unless_forced(world: World) -> None:
    emulate(world, "compute")
    refused = world.fails()
    assert refused.message.endswith("on emulated nodes: 'compute'.")
    assert "'labkit deploy --force'" in refused.hint
    assert world.asked("") == 0
    world.clock.clear()
    assert deploy(world.session, snapshot=False, force=True).ended


def test_emulated_node_of_a_stand_in_is_deployed(world: World) -> None:
    emulate(world, "compute")
    world.session = replace(world.session, lab=replace(LAB, box="rehearsal"))
    assert world.deploy().ended


@pytest.mark.parametrize("release", [each for each in Release if each is not Release.QUEENS])
def test_release_that_the_box_does_not_bring_is_refused_before_a_node_is_asked(
    world: World, release: Release
) -> None:
    world.session = replace(world.session, lab=replace(LAB, release=release, box="rehearsal"))
    told = world.fails()
    assert told.message == (
        "The box 'rehearsal' brings Packstack of Queens, and the lab asks for "
        f"{releases.facts(release).title}."
    )
    assert "'release: queens'" in told.hint
    assert world.asked("") == 0
    centos = replace(world.session, lab=replace(LAB, release=release, box="centos7-2009"))
    assert "would verify the result" in plan(centos, snapshot=False)


def test_other_release_than_the_nodes_were_prepared_for_is_refused(world: World) -> None:
    world.deploy()
    before = world.known
    queens, world.session = (
        world.session,
        replace(world.session, lab=replace(LAB, release=Release.TRAIN)),
    )
    told = world.fails()
    assert told.message == "The nodes have packages of Queens, and the lab asks for Train."
    assert "'release: queens'" in told.hint
    assert "labkit destroy" in told.hint
    with pytest.raises(OperationError):
        plan(world.session, snapshot=False)
    assert world.known == before
    assert len(world.packstack.started) == 1
    world.session = queens
    world.deploy()
    assert len(world.packstack.started) == 2


def test_node_that_cannot_be_prepared_is_told_and_nothing_is_begun(world: World) -> None:
    failed = b"labkit-step: start probe\nlabkit-step: failed probe no answer\n"
    whole = world.guests["compute"].answers["look at labkit-prepare"]
    world.answers("look at labkit-prepare", sample(failed, state="ended", code="001"), "compute")
    assert world.fails().message == "Preparing node 'compute' failed in step 'probe'."
    assert world.session.state().stage == ""
    assert world.packstack.started == []
    world.answers("look at labkit-prepare", whole, "compute")
    assert [item.node for item in world.deploy().prepared] == list(NAMES)


def test_snapshot_that_fails_leaves_a_prepared_lab_and_begins_nothing(world: World) -> None:
    refuse_snapshots(world)
    with pytest.raises(OperationError, match="libvirt refuses"):
        world.deploy(snapshot=True)
    assert world.session.state().stage == "prepared"
    assert world.packstack.started == []
    assert Shelf(world.session.directory.snapshots).records() == ()
    assert world.deploy().ended


def test_node_that_cannot_be_marked_is_named_and_nothing_is_begun(world: World) -> None:
    world.answers("mark the beginning", REFUSED, "compute")
    error = world.fails()
    assert "Node 'compute' cannot write" in error.message
    assert error.details == ("the guest refuses",)
    assert world.session.state().stage == "prepared"
    assert world.packstack.started == []


def test_run_that_the_controller_cannot_start_is_not_under_way(world: World) -> None:
    world.answers("start labkit-packstack", [REFUSED, world.packstack.start])
    assert world.fails().message == "The guest could not start 'labkit-packstack'."
    assert world.session.state().stage == "prepared"
    report = world.deploy()
    assert not report.attached
    assert report.ended


def test_run_that_was_not_started_a_second_time_leaves_the_lab_deployed(world: World) -> None:
    world.deploy()
    before = world.known
    world.answers("start labkit-packstack", REFUSED)
    world.fails()
    assert world.known == before


def test_start_that_got_through_though_its_answer_was_lost_is_followed(world: World) -> None:
    def start(script: str) -> bytes:
        world.packstack.start(script)
        return unreachable(script)

    world.answers("start labkit-packstack", start)
    world.fails(WaitTimeout)
    assert world.session.state().stage == "deploying"
    report = world.deploy()
    assert report.attached
    assert report.run_id == world.packstack.started[0]
    assert world.session.state().stage == "deployed"


@pytest.mark.parametrize("verb", ["kill", "prepare"])
def test_start_that_did_not_get_through_is_not_under_way_for_ever(world: World, verb: str) -> None:
    world.answers("start labkit-packstack", unreachable)
    world.fails(WaitTimeout)
    assert world.session.state().stage == "deploying"
    if verb == "kill":
        assert not kill(world.session)
    else:
        world.answers("start labkit-prepare", REFUSED)
        world.fails()
    assert world.session.state().stage == "prepared"


def test_run_that_another_labkit_started_meanwhile_is_left_and_followed_next(world: World) -> None:
    other = replace(world.packstack, state="running", run_id="other", started=["other"])
    looks = [world.packstack.look, other.look]

    def look(script: str) -> bytes:
        return looks.pop(0)(script) if looks else other.look(script)

    world.answers("look at labkit-packstack", look)
    world.answers("start labkit-packstack", b"running\n")
    other.ends = False
    assert "that this labkit did not start" in world.fails().message
    assert world.session.state().stage == "prepared"
    other.ends = True
    report = world.deploy()
    assert (report.attached, report.run_id) == (True, "other")
    assert world.known.deployed == NAMES


def test_run_that_fails_says_where_and_can_be_repeated(world: World) -> None:
    world.packstack.code = 1
    error = world.fails()
    assert error.message == (
        "Packstack failed in step 'Applying Puppet manifests' with exit code 1."
    )
    assert any(line.startswith("Logs of all nodes: /") for line in error.details)
    assert "restore" not in error.hint
    assert world.session.state().stage == "prepared"
    world.packstack.code, world.packstack.output = 0, b""
    assert not world.deploy().attached


def logs_in_the_way(directory: LabDirectory) -> None:
    directory.logs.rmdir()
    directory.logs.write_text("")


def damaged_snapshot(directory: LabDirectory) -> None:
    for name in ("one", "whole/one"):
        target = directory.snapshots / name
        target.mkdir(parents=True)
        (target / "manifest.json").write_text("no")


def unreadable_state(directory: LabDirectory) -> None:
    directory.state_file.unlink()
    directory.state_file.mkdir()


@pytest.mark.parametrize("hurdle", [logs_in_the_way, damaged_snapshot, unreadable_state])
def test_nothing_that_gathers_evidence_hides_packstacks_failure(
    world: World, hurdle: Callable[[LabDirectory], None]
) -> None:
    def look(script: str) -> bytes:
        found = world.packstack.look(script)
        if world.packstack.state == "ended" and not hurdles:
            hurdle(world.session.directory)
            hurdles.append(True)
        return found

    hurdles: list[bool] = []
    world.packstack.code = 1
    world.answers("look at labkit-packstack", look)
    assert world.fails().message.startswith("Packstack failed in step")


def test_node_that_is_away_at_the_end_does_not_hide_packstacks_failure(world: World) -> None:
    world.packstack.code = 1
    world.answers("look at Puppet's logs", unreachable, "compute")
    assert world.fails().message.startswith("Packstack failed in step")


def test_hung_run_is_left_followed_again_and_ended_when_told(world: World) -> None:
    world.packstack.ends = False
    assert "no sign of progress for 1 min" in world.fails(HungError).message
    assert world.session.state().stage == "deploying"
    assert world.packstack.state == "running"
    assert "no sign of progress" in world.fails(HungError).message
    assert len(world.packstack.started) == 1
    world.clock.clear()
    assert kill(world.session)
    assert world.packstack.state == "lost"
    assert world.session.state().stage == "prepared"
    assert not kill(world.session)
    world.packstack.ends = True
    assert not world.deploy().attached


def test_watching_that_is_given_up_leaves_the_run_for_the_next_labkit(world: World) -> None:
    def look(script: str) -> bytes:
        if world.packstack.started:
            world.clock.set()
        return world.packstack.look(script)

    world.packstack.ends = False
    world.answers("look at labkit-packstack", look)
    world.fails(WaitCancelled)
    assert world.session.state().stage == "deploying"
    world.packstack.ends = True
    world.answers("look at labkit-packstack", world.packstack.look)
    assert world.deploy().attached


@pytest.mark.parametrize(
    ("boot", "told"), [(BOOT, "was killed in the controller"), ("another", "was rebooted while")]
)
def test_run_that_was_lost_says_by_what_and_is_over(world: World, boot: str, told: str) -> None:
    world.deploy(detach=True)
    world.packstack.state, world.packstack.boot = "lost", boot
    assert told in world.fails().message
    assert world.session.state().stage == "prepared"
    assert not world.deploy().attached


def test_other_node_that_is_booted_again_leaves_the_run_until_it_is_ended(world: World) -> None:
    world.packstack.ends = False
    world.answers(
        "look at Puppet's logs", [f"boot {BOOT}\n".encode(), b"boot another\n"], "compute"
    )
    assert "Node 'compute' was rebooted" in world.fails().message
    assert world.session.state().stage == "deploying"
    world.clock.clear()
    assert kill(world.session)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("fetch the answer file", "could not be read on node 'controller'"),
        ("nova-manage", "could not put the compute nodes into their cell"),
    ],
)
def test_step_after_the_run_that_fails_is_gone_on_with_next_time(
    world: World, step: str, message: str
) -> None:
    fine = world.guests["controller"].answers[step]
    assert not isinstance(fine, list)
    first = [fine] if step.startswith("fetch") else []
    world.answers(step, [*first, REFUSED, fine])
    assert message in world.fails().message
    assert world.session.state().stage == "deploying"
    assert world.deploy().attached
    assert world.session.state().stage == "deployed"
    assert len(world.packstack.started) == 1


def half_done() -> tuple[bytes, bytes]:
    """Return a controller's outputs whose card kept its address, and those of one that is right."""
    right = transcripts.whole(LAB)["controller"]
    (change,) = (each for each in mutations.DOCUMENT if each.name == "port file with a command")
    wrong = change.of({"controller": dict(right), "compute": {}})["controller"]
    return transcripts.packed(wrong).encode(), transcripts.packed(right).encode()


def test_bridge_that_is_half_done_is_mended_and_verified_again(world: World) -> None:
    world.answers("collect outputs", list(half_done()))
    report = world.deploy()
    assert report.mended == ("controller",)
    assert report.verification is not None
    assert report.verification.passed
    assert world.session.state().stage == "deployed"


def test_routes_are_put_in_order_before_every_verification_and_after_mending(world: World) -> None:
    world.answers("collect outputs", list(half_done()))
    world.deploy()
    asked = [what for what, _ in world.guests["controller"].asked]
    seen = [what for what in asked if what.split()[0] in {"put", "start", "collect"}]
    assert seen[-5:] == [
        "put the routes in order",
        "collect outputs",
        "start labkit-mend",
        "put the routes in order",
        "collect outputs",
    ]


def test_routes_that_cannot_be_put_in_order_are_tried_again_next_time(world: World) -> None:
    world.answers("put the routes in order", [REFUSED, FINE])
    assert "routes of node 'controller'" in world.fails().message
    assert world.session.state().stage == "deploying"
    assert world.deploy().ended


def test_bridge_that_cannot_be_mended_is_told_and_tried_again_next_time(world: World) -> None:
    wrong, right = half_done()
    world.answers("collect outputs", [wrong, wrong, right])
    broken = sample(b"ifup: no device\n", state="ended", code="001")
    world.answers("look at labkit-mend", [broken, sample(state="ended", code="000")])
    error = world.fails()
    assert "could not be put right" in error.message
    assert error.details == ("ifup: no device",)
    assert world.session.state().stage == "deploying"
    assert world.deploy().mended == ("controller",)


def test_lab_that_does_not_verify_is_deployed_and_says_what_is_wrong(world: World) -> None:
    wrong = {**transcripts.whole(LAB)["compute"]}
    wrong["ovs-vsctl-show.txt"] = Output(text="", returncode=1, stderr="no db\n")

    def answer(_script: str) -> bytes:
        world.clock.now += 120.0
        return transcripts.packed(wrong).encode()

    world.answers("collect outputs", answer, "compute")
    report = world.deploy()
    assert report.verification is not None
    assert not report.verification.passed
    assert {result.node for result in report.verification.results if result.failed} == {"compute"}
    assert world.session.state().stage == "deployed"


def test_detached_deployment_returns_at_once_and_is_followed_later(world: World) -> None:
    report = world.deploy(detach=True)
    assert not report.ended
    assert world.session.state().stage == "deploying"
    assert world.asked("collect outputs") == 0
    report = world.deploy()
    assert (report.attached, report.ended) == (True, True)
    assert world.asked("start labkit-prepare") == len(NAMES)


def test_kill_that_systemd_refuses_leaves_the_run_under_way(world: World) -> None:
    world.deploy(detach=True)
    world.answers("stop labkit-packstack", [REFUSED, world.packstack.stop])
    with pytest.raises(OperationError, match="could not stop"):
        kill(world.session)
    assert world.session.state().stage == "deploying"
    assert kill(world.session)


def test_stand_in_box_brings_its_own_packages_and_the_lab_stays_as_it_is(world: World) -> None:
    session = replace(world.session, lab=replace(LAB, box="rehearsal"))
    assert any("http://127.0.0.1:8088" in line for line in plan(session, snapshot=False))
    assert any(LAB.repositories.bases[0] in x for x in plan(world.session, snapshot=False))
    deploy(session, snapshot=False)
    (script,) = (text for what, text in world.guests["compute"].asked if "start" in what)
    (main, *_) = re.findall(r"[A-Za-z0-9+/=]{400,}", script)
    assert b"http://127.0.0.1:8088" in base64.b64decode(main)


def test_case_21_plan_shows_no_password_of_a_mirror_or_in_an_answer(world: World) -> None:
    bases = ("https://me:hunter2@mirror.example/centos", "https://vault.centos.org")
    lab = replace(
        LAB,
        box="centos7",
        repositories=replace(LAB.repositories, bases=bases),
        deployment=replace(LAB.deployment, answers=(("CONFIG_KEYSTONE_ADMIN_PW", "hunter2"),)),
    )
    lines = "\n".join(plan(replace(world.session, lab=lab), snapshot=True))
    assert "from https://***@mirror.example/centos or https://vault.centos.org\n" in lines
    assert "hunter2" not in lines
