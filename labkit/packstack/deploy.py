"""`deploy`: nodes prepared, Packstack run and followed, its result mended, proven, brought home."""

from __future__ import annotations

import logging
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from labkit import snapshots
from labkit.boxes import definition as boxes
from labkit.boxes.file import DebianBoxFile
from labkit.errors import OperationError
from labkit.host.libvirt.xml import DomainState
from labkit.lab import answers, deployment, options, scenarios
from labkit.lab.topology import Form, Repositories
from labkit.packstack import afterwards, detached, passwords
from labkit.packstack import prepare_script as preparation
from labkit.packstack import run as packstack_run
from labkit.packstack.detached import RunSample, RunState
from labkit.packstack.gather import secret_values
from labkit.packstack.link import Link
from labkit.packstack.output.steps import expected_steps
from labkit.packstack.output.view import RunView
from labkit.packstack.prepare import prepare
from labkit.packstack.report import DeployReport
from labkit.packstack.repositories import without_password
from labkit.packstack.run import PACKSTACK, RunOutcome, Watcher
from labkit.packstack.run_failed import run_failed
from labkit.state.lock import lab_lock
from labkit.state.progress import LAB, Event, Phase
from labkit.verify import run as verification
from labkit.verify.settling import settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labkit.lab.scenario import PackstackCall
    from labkit.state.directory import DeploymentState
    from labkit.state.session import Session
    from labkit.verify.report import Report

log = logging.getLogger(__name__)

SNAPSHOT = "pre-packstack"


def plan(session: Session, *, snapshot: bool) -> tuple[str, ...]:
    """Return what `deploy` would do, a line each, without asking any guest.

    Raises:
        OperationError: The lab cannot be deployed as its file is.
    """
    session = with_box_repositories(session)
    _require_possible(session)
    lab = session.lab
    names = ", ".join(node.name for node in deployment.deployed_nodes(lab))
    taken = any(record.name == SNAPSHOT for record in snapshots.listed(session))
    call = scenarios.call(lab, {}).masked()
    places = " or ".join(without_password(base) for base in lab.repositories.bases)
    lines = [f"would prepare {names}, with packages from {places}"]
    if snapshot and not taken and not session.state().deployment.deployed:
        lines.append(f"would take the snapshot '{SNAPSHOT}'")
    lines.append(f"would run on {deployment.controller(lab).name}: {call.command_line()}")
    return (*lines, "would verify the result")


def deploy(session: Session, *, detach: bool = False, snapshot: bool = True) -> DeployReport:
    """Install OpenStack in a lab that is up, or follow the run that is under way.

    Args:
        session: The lab.
        detach: Return as soon as Packstack runs in the controller.
        snapshot: Take the snapshot `pre-packstack` before, when the lab has none of that name.

    Raises:
        OperationError: The lab is not up, a node could not be prepared, Packstack failed or
            hangs, or its result could not be mended; details and hint say which and what next.
    """
    session = with_box_repositories(session)
    _require_possible(session)
    _require_up(session)
    with _links(session) as links:
        work = _Deploying(session, links)
        with lab_lock(session.directory, "deploy"):
            work.find()
            if not work.attached:
                work.prepare()
        if not work.attached and snapshot:
            work.snapshot()
        with lab_lock(session.directory, "deploy"):
            if not work.attached:
                work.begin()
            if detach:
                return work.report
            work.follow()
            work.bring_home()
            work.finish()
            return work.report


def kill(session: Session) -> bool:
    """End the Packstack run that is under way; return whether there was one.

    What it started on other nodes, a Puppet run each, ends by itself.

    Raises:
        OperationError: The lab is not up, or systemd refuses.
    """
    _require_up(session)
    with _links(session) as links, lab_lock(session.directory, "deploy --kill"):
        link = links[deployment.controller(session.lab).name]
        if packstack_run.peek(link).state is not RunState.RUNNING:
            return False
        link.ask(lambda connection: detached.stop(connection, PACKSTACK))
        state = session.state()
        handled = state.deployment.model_copy(update={"handled": True})
        session.directory.save(state.model_copy(update={"deployment": handled}))
        return True


def with_box_repositories(session: Session) -> Session:
    """Return the session with the package source of a stand-in box, which has its own."""
    file = boxes.find_box(session.lab.box).file
    if not isinstance(file, DebianBoxFile) or file.package_base is None:
        return session
    asked = session.lab.repositories
    inside = Repositories(release=asked.release, bases=(file.package_base,), proxy=None)
    return replace(session, lab=replace(session.lab, repositories=inside))


def _require_possible(session: Session) -> None:
    if session.lab.obstacles:
        message = f"The lab '{session.lab.name}' cannot be deployed as its file is."
        lines = (
            f"{'.'.join(str(part) for part in each.place)}: expected {each.expected}, "
            f"found {each.found}"
            for each in session.lab.obstacles
        )
        raise OperationError(message, details=tuple(lines), hint="Change the lab file.")


def _require_up(session: Session) -> None:
    with session.tools.connect() as hypervisor:
        states = {
            node.name: hypervisor.domain_state(node.uuid)
            for node in deployment.deployed_nodes(session.lab)
        }
    missing = [name for name, state in states.items() if state is not DomainState.RUNNING]
    if missing:
        named = ", ".join(f"'{name}'" for name in missing)
        message = f"Every node has to run for this; not running: {named}."
        raise OperationError(message, hint="Run 'labkit up' first.")


@contextmanager
def _links(session: Session) -> Iterator[Mapping[str, Link]]:
    with ExitStack() as stack:
        yield {
            node.name: stack.enter_context(
                Link(
                    session.endpoint(node),
                    cancelled=session.cancelled.is_set,
                    connect=session.tools.ssh,
                )
            )
            for node in deployment.deployed_nodes(session.lab)
        }


class _Deploying:
    """One deployment; its methods are the stages in their order."""

    def __init__(self, session: Session, links: Mapping[str, Link]) -> None:
        self.session = session
        self.links = links
        self.lab = session.lab
        self.nodes = deployment.deployed_nodes(self.lab)
        self.controller = deployment.controller(self.lab).name
        self.attached = False
        self.secrets: Mapping[str, str] = {}
        self.found = ""
        self.lost_before = 0
        self.report = DeployReport(scenario=self.lab.deployment.scenario)
        self._stage_at = self.session.tools.clock()

    def find(self) -> None:
        """Look whether a run is under way, or ended unseen."""
        self.session.directory.create()
        known = self._known()
        found = packstack_run.peek(self.links[self.controller])
        unseen = found.run_id == known.run_id and bool(known.run_id) and not known.handled
        self.attached = found.state is RunState.RUNNING or unseen
        if self.attached:
            self.report = replace(self.report, run_id=found.run_id, attached=True)
            self.secrets = passwords.load(self.session.directory)
            self._tell(f"following run {found.run_id[:8]}, started {_ago(found)} ago")

    def prepare(self) -> None:
        """Make every node ready for Packstack."""
        keys = {node.name: self.session.endpoint(node).host_key for node in self.lab.nodes}
        stand_in = boxes.find_box(self.lab.box).file.stand_in
        scripts = {
            node.name: preparation.script(self.lab, node, host_keys=keys, stand_in=stand_in)
            for node in self.nodes
        }
        prepared = prepare(self.session, self.links, self.nodes, scripts)
        self.report = replace(self.report, prepared=prepared)
        self._keep(self._known().model_copy(update={"prepared": True}))
        self._took("prepare")

    def snapshot(self) -> None:
        """Keep the lab as it is before Packstack, unless it was kept or deployed already."""
        names = {record.name for record in snapshots.listed(self.session)}
        if SNAPSHOT not in names and not self._known().deployed:
            snapshots.take(self.session, SNAPSHOT, note="before Packstack, by labkit deploy")
            self._took("snapshot")

    def begin(self) -> None:
        """Start Packstack in the controller."""
        # A reboot during the preparation is no lost session of the run.
        self.lost_before = packstack_run.lost_sessions(self.links)
        call = self._call()
        run_id = uuid.uuid4().hex
        names = tuple(node.name for node in self.nodes)
        before = self._known()
        # Written first: a run that starts when labkit dies is still found to be its own.
        self._keep(before.model_copy(update={"run_id": run_id, "nodes": names, "handled": False}))
        if not packstack_run.begin(self.links, self.controller, call, run_id):
            self._keep(before)
            message = "A Packstack run that this labkit did not start is under way."
            raise OperationError(message, hint="Run 'labkit deploy' again to follow it.")
        self.report = replace(self.report, run_id=run_id)
        self._took("start")

    def follow(self) -> None:
        """Watch the run to its end."""
        watcher = Watcher(
            links=self.links,
            controller=self.controller,
            view=RunView(expected=expected_steps(self._effective_answers())),
            hung_seconds=self.lab.deployment.hung_minutes * 60.0,
            progress=self.session.progress,
            pause=self.session.cancelled.wait,
            give_up=self.session.cancelled.set,
            lost_before=self.lost_before,
        )
        outcome = watcher.follow()
        self._took("packstack")
        if not outcome.succeeded:
            self._fail(outcome)
        self._warn(outcome)

    def bring_home(self) -> None:
        """Fetch the files the run made, and let nova put its compute nodes into their cell."""
        state = self._known()
        by_command = self.lab.deployment.form is Form.COMMAND and not state.deployed
        found, keystonerc = afterwards.fetch(self.links[self.controller], by_command=by_command)
        if by_command and found:
            passwords.keep(self.session.directory, answers.secrets_of(answers.parse(found)))
        self.found = found
        files = afterwards.bring_home(self.session, found, keystonerc)
        self.report = replace(self.report, files=files)
        afterwards.discover_hosts(self.session, self.links[self.controller])
        self._took("bring home")

    def finish(self) -> None:
        """Mend what Packstack left half done, and prove the result."""
        state = self._known()
        report = self._mend()
        self._keep(
            state.model_copy(
                update={
                    "handled": True,
                    "deployed": state.nodes,
                    "answers": afterwards.digest(self.found),
                }
            )
        )
        if not report.passed:
            report = settled(self.session)
        self._took("verify")
        self.report = replace(self.report, ended=True, verification=report)

    def _mend(self) -> Report:
        first = verification.verify(self.session)
        wrong = afterwards.to_mend(self.session, first)
        for node in wrong:
            afterwards.mend(self.session, self.links[node.name], node)
        self.report = replace(self.report, mended=tuple(node.name for node in wrong))
        return first

    def _call(self) -> PackstackCall:
        link = self.links[self.controller]
        known = self._known()
        asked = dict(self.lab.deployment.answers)
        by_command = self.lab.deployment.form is Form.COMMAND
        found, _ = afterwards.fetch(link, by_command=by_command and not known.answers)
        self._notice_changes(known, found)
        if by_command and not found:
            return scenarios.call(self.lab, {})
        self.secrets = passwords.ensure(self.session.directory, asked)
        if found:
            call = scenarios.rerun(self.lab, found, self.secrets)
            self.secrets = {**self.secrets, **answers.secrets_of(answers.parse(found))}
            return call
        return scenarios.call(self.lab, self.secrets)

    def _notice_changes(self, known: DeploymentState, found: str) -> None:
        if not known.answers or not found or afterwards.digest(found) == known.answers:
            return
        keys = scenarios.changed_by_hand(self.lab, found)
        named = f" ({', '.join(keys)})" if keys else ""
        self._notice(
            f"the answer file on '{self.controller}' was changed by hand{named}; this run uses "
            "lab.yaml's: put such keys under deployment.answers there"
        )

    def _effective_answers(self) -> Mapping[str, str]:
        defaults = {option.key: option.default for option in options.options()}
        scenario = scenarios.find(self.lab.deployment.scenario)
        return {**defaults, **scenario.answers(self.lab), **dict(self.lab.deployment.answers)}

    def _fail(self, outcome: RunOutcome) -> None:
        secrets = (*self.secrets.values(), *secret_values(self.secrets))
        logs = afterwards.gather_logs(self.session, self.links, self.report.run_id, secrets)
        self._keep(self._known().model_copy(update={"handled": True}))
        names = {record.name for record in snapshots.listed(self.session)}
        raise run_failed(
            outcome,
            logs=logs,
            secrets=secrets,
            restorable=SNAPSHOT if SNAPSHOT in names else "",
        )

    def _warn(self, outcome: RunOutcome) -> None:
        told = outcome.view.additional
        for host in told.needs_reboot:
            self._notice(f"{host} has a newer kernel since: 'labkit halt' and 'labkit up' boot it")
        for host in told.network_manager:
            self._notice(f"NetworkManager is active on {host}; it may take br-ex apart")
        if outcome.outages:
            self._notice(f"the SSH sessions were lost and made again {outcome.outages} times")

    def _known(self) -> DeploymentState:
        return self.session.state().deployment

    def _keep(self, known: DeploymentState) -> None:
        state = self.session.state()
        self.session.directory.save(state.model_copy(update={"deployment": known}))

    def _notice(self, text: str) -> None:
        self.report = replace(self.report, notices=(*self.report.notices, text))

    def _tell(self, line: str) -> None:
        self.session.progress(Event(node=LAB, stage=line, phase=Phase.STARTED))

    def _took(self, name: str) -> None:
        now = self.session.tools.clock()
        taken = (name, now - self._stage_at)
        self._stage_at = now
        self.report = replace(self.report, seconds=(*self.report.seconds, taken))


def _ago(found: RunSample) -> str:
    minutes, seconds = divmod(max(0, found.now - found.started), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
