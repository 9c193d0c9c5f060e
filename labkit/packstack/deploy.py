"""`deploy`: nodes prepared, Packstack run and followed, its result mended, proven, brought home."""

from __future__ import annotations

import logging
import uuid
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from labkit.errors import OperationError
from labkit.lab import answers, deployment, scenarios
from labkit.lab.topology import Form
from labkit.packstack import bring_home, detached, passwords
from labkit.packstack.connection import NodeConnection
from labkit.packstack.deployable import require_acceleration, require_possible, require_up
from labkit.packstack.detached import NotStartedError, RunSample, RunState
from labkit.packstack.explain import notes, run_failed
from labkit.packstack.mark import mark
from labkit.packstack.mend import mend, to_mend
from labkit.packstack.output.steps import expected_steps
from labkit.packstack.output.view import RunView
from labkit.packstack.prepare import package_source, prepare, scripts
from labkit.packstack.report import DeployReport
from labkit.packstack.repositories import without_password
from labkit.packstack.routes import put_in_order
from labkit.packstack.run import PACKSTACK, RunOutcome, Watcher, begin, lost_sessions, peek
from labkit.snapshots.record import Shelf
from labkit.snapshots.take import take_locked
from labkit.state.lock import lab_lock
from labkit.state.progress import LAB, Event, Phase
from labkit.verify.outputs import dashboard_url
from labkit.verify.run import Verification, settled, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labkit.host import ssh
    from labkit.lab.scenario import PackstackCall
    from labkit.state.directory import DeploymentState
    from labkit.state.session import Session

log = logging.getLogger(__name__)

SNAPSHOT = "pre-packstack"


def plan(session: Session, *, snapshot: bool) -> tuple[str, ...]:
    """Return what `deploy` would do, a line each, without asking any guest.

    Raises:
        OperationError: The lab cannot be deployed as its file is.
    """
    require_possible(session)
    lab = session.lab
    names = ", ".join(node.name for node in deployment.deployed_nodes(lab))
    taken = Shelf(session.directory.snapshots).has(SNAPSHOT)
    call = scenarios.call(lab, {}).masked()
    places = " or ".join(without_password(base) for base in package_source(session).bases)
    lines = [f"would prepare {names}, with packages from {places}"]
    if snapshot and not taken and not session.state().deployment.deployed:
        lines.append(f"would take the snapshot '{SNAPSHOT}'")
    lines.append(f"would run on {deployment.controller(lab).name}: {call.command_line()}")
    return (*lines, "would verify the result")


def deploy(
    session: Session, *, detach: bool = False, snapshot: bool = True, force: bool = False
) -> DeployReport:
    """Install OpenStack in a lab that is up, or follow the run that is under way.

    Args:
        session: The lab.
        detach: Return as soon as Packstack runs in the controller.
        snapshot: Take the snapshot `pre-packstack` before, when the lab has none of that name.
        force: Try it on emulated nodes, too.

    Raises:
        OperationError: The lab is not up or is emulated, a node could not be prepared, Packstack failed or
            hangs, or its result could not be mended; details and hint say which and what next.
    """
    require_possible(session)
    require_up(session)
    if not force:
        require_acceleration(session)
    with lab_lock(session.directory, "deploy"):
        # Once more: another labkit may have held the lab in between.
        require_up(session)
        with _connections(session) as connections:
            work = _Deploying(session, connections)
            work.find()
            if not work.attached:
                work.prepare()
                if snapshot:
                    work.snapshot()
                work.begin()
            if detach:
                return work.report
            work.follow()
            work.bring_home()
            work.finish()
            return work.report


def kill(session: Session) -> bool:
    """End the Packstack run that is under way; return whether there was one.

    What it started on the nodes, a Puppet run each, ends by itself; the next deployment waits for it.

    Raises:
        OperationError: The lab is not up, or systemd refuses.
    """
    require_up(session)
    with lab_lock(session.directory, "deploy --kill"), _connections(session) as connections:
        controller = connections[deployment.controller(session.lab).name]
        found = peek(controller)
        running = found.state is RunState.RUNNING
        if running:
            controller.ask(lambda c: detached.stop(c, PACKSTACK))
        state = session.state()
        # One that was written down and never begun is over as well.
        if running or found.run_id != state.deployment.run_id:
            handled = state.deployment.model_copy(update={"handled": True})
            session.directory.save(state.model_copy(update={"deployment": handled}))
        return running


@contextmanager
def _connections(session: Session) -> Iterator[Mapping[str, NodeConnection]]:
    with ExitStack() as stack:
        yield {
            node.name: stack.enter_context(
                NodeConnection(
                    session.endpoint(node),
                    cancelled=session.cancelled.is_set,
                    connect=session.tools.ssh,
                )
            )
            for node in deployment.deployed_nodes(session.lab)
        }


class _Deploying:
    """One deployment; its methods are the stages in their order."""

    def __init__(self, session: Session, connections: Mapping[str, NodeConnection]) -> None:
        self.session = session
        self.connections = connections
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
        """Look whether a run is under way, or ended unseen, and make the state agree with that."""
        self.session.directory.create()
        known = self._known()
        found = peek(self.connections[self.controller])
        own = found.run_id == known.run_id and bool(known.run_id)
        self.attached = found.state is RunState.RUNNING or (own and not known.handled)
        if not self.attached:
            # A run that was written down, and never begun or replaced by another since.
            self._keep(known.model_copy(update={"handled": True}))
            return
        followed = known if own else self._with_run(known, found.run_id)
        self._keep(followed.model_copy(update={"handled": False}))
        self.report = replace(self.report, run_id=found.run_id, attached=True)
        self.secrets = passwords.load(self.session.directory)
        self._tell(f"following run {found.run_id[:8]}, started {_ago(found)} ago")

    def prepare(self) -> None:
        """Make every node ready for Packstack."""
        prepared = prepare(
            self.session, self.connections, self.nodes, scripts(self.session, self.nodes)
        )
        self.report = replace(self.report, prepared=prepared)
        known = {"prepared": True, "release": self.lab.release}
        self._keep(self._known().model_copy(update=known))
        self._took("prepare")

    def snapshot(self) -> None:
        """Keep the lab as it is before Packstack, unless it was kept or deployed already."""
        kept = Shelf(self.session.directory.snapshots).has(SNAPSHOT)
        if not kept and not self._known().deployed:
            take_locked(self.session, SNAPSHOT, note="before Packstack, by labkit deploy")
            self._took("snapshot")

    def begin(self) -> None:
        """Start Packstack in the controller."""
        # A reboot during the preparation is no lost session of the run.
        self.lost_before = lost_sessions(self.connections)
        call = self._call()
        mark(
            self.connections.values(),
            progress=self.session.progress,
            cancelled=self.session.cancelled.is_set,
            clock=self.session.tools.clock,
        )
        run_id = uuid.uuid4().hex
        before = self._known()
        # Written first: a run that starts when labkit dies is still found to be its own.
        self._keep(self._with_run(before, run_id))
        try:
            begun = begin(self.connections[self.controller], call, run_id)
        except NotStartedError:
            # After any other error it may have started all the same; `find` sees that.
            with _without_hiding("write down that nothing was begun"):
                self._keep(before)
            raise
        if not begun:
            self._keep(before)
            message = "A Packstack run that this labkit did not start is under way."
            raise OperationError(message, hint="Run 'labkit deploy' again to follow it.")
        self.report = replace(self.report, run_id=run_id)
        self._took("start")

    def follow(self) -> None:
        """Watch the run to its end."""
        watcher = Watcher(
            connections=self.connections,
            controller=self.controller,
            hosts={str(deployment.management_address(node)): node.name for node in self.nodes},
            view=RunView(expected=expected_steps(scenarios.effective(self.lab), self.lab.release)),
            hung_seconds=self.lab.deployment.hung_minutes * 60.0,
            progress=self.session.progress,
            clock=self.session.tools.clock,
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
        found, keystonerc = bring_home.fetch(
            self.connections[self.controller], by_command=by_command
        )
        if by_command and found:
            passwords.keep(self.session.directory, answers.secrets_of(answers.parse(found)))
        self.found = found
        files = bring_home.keep_files(self.session, found, keystonerc)
        self.report = replace(self.report, files=files)
        bring_home.discover_hosts(self.session, self.connections[self.controller])
        self._took("bring home")

    def finish(self) -> None:
        """Mend what Packstack left half done, and prove the result."""
        state = self._known()
        found = self._mend()
        self._keep(
            state.model_copy(
                update={
                    "handled": True,
                    "deployed": state.nodes,
                    "answers": bring_home.digest(self.found),
                }
            )
        )
        report = settled(self.session, found, connect=self._kept_session)
        self._took("verify")
        dashboard = dashboard_url(self.lab) if report.passed else ""
        self.report = replace(self.report, ended=True, verification=report, dashboard=dashboard)

    def _mend(self) -> Verification | None:
        """Return what was found of the lab, None where that was mended since."""
        for node in self.nodes:
            put_in_order(self.lab, self.connections[node.name], node)
        found = verify(self.session, connect=self._kept_session)
        wrong = to_mend(self.lab, found.report)
        for node in wrong:
            mend(self.session, self.connections[node.name], node)
            put_in_order(self.lab, self.connections[node.name], node)
        self.report = replace(self.report, mended=tuple(node.name for node in wrong))
        return None if wrong else found

    def _kept_session(self, end: ssh.Endpoint) -> AbstractContextManager[NodeConnection]:
        """Return the session that the node has anyway: making one takes an emulated guest seconds."""
        return nullcontext(self.connections[end.node])

    def _call(self) -> PackstackCall:
        connection = self.connections[self.controller]
        known = self._known()
        asked = dict(self.lab.deployment.answers)
        by_command = self.lab.deployment.form is Form.COMMAND
        found, _ = bring_home.fetch(connection, by_command=by_command and not known.answers)
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
        if not known.answers or not found or bring_home.digest(found) == known.answers:
            return
        keys = scenarios.changed_by_hand(self.lab, found)
        named = f" ({', '.join(keys)})" if keys else ""
        self._notice(
            f"the answer file on '{self.controller}' was changed by hand{named}; this run uses "
            "lab.yaml's: put such keys under deployment.answers there"
        )

    def _fail(self, outcome: RunOutcome) -> NoReturn:
        secrets = tuple(self.secrets.values())
        logs, restorable = None, ""
        with _without_hiding("collect the logs"):
            logs = bring_home.gather_logs(
                self.session, self.connections, self.report.run_id, secrets
            )
        with _without_hiding("look for a snapshot"):
            if Shelf(self.session.directory.snapshots).has(SNAPSHOT):
                restorable = SNAPSHOT
        with _without_hiding("write down that the run was dealt with"):
            self._keep(self._known().model_copy(update={"handled": True}))
        raise run_failed(outcome, logs=logs, secrets=secrets, restorable=restorable)

    def _warn(self, outcome: RunOutcome) -> None:
        for note in notes(outcome.view.bullets):
            self._notice(note)
        if outcome.outages:
            self._notice(f"the SSH sessions were lost and made again {outcome.outages} times")

    def _with_run(self, known: DeploymentState, run_id: str) -> DeploymentState:
        names = tuple(node.name for node in self.nodes)
        return known.model_copy(update={"run_id": run_id, "nodes": names, "handled": False})

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


@contextmanager
def _without_hiding(what: str) -> Iterator[None]:
    """Let nothing that goes wrong in the block take the place of the error that is being told."""
    try:
        yield
    except Exception:  # whatever it is, it is not what the user has to know first
        log.exception("could not %s", what)


def _ago(found: RunSample) -> str:
    minutes, seconds = divmod(max(0, found.now - found.started), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
