"""One run of Packstack in the controller: started once, watched on every node, found again."""

from __future__ import annotations

import logging
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit.errors import LabkitError, OperationError
from labkit.host import ssh
from labkit.lab.scenario import ANSWER_FILE
from labkit.packstack import detached
from labkit.packstack.detached import Job, RunFile, RunSample, RunState
from labkit.packstack.mark import MARK
from labkit.packstack.output.parser import Applied, Parser, StepDone
from labkit.packstack.output.puppet import PuppetLog
from labkit.packstack.output.stall import OUTPUT, Activity, Look, judge
from labkit.packstack.output.words import event_line, headline, node_line
from labkit.packstack.watch import FETCHED, NodeSample, parse_watch, watch_script
from labkit.state.progress import Event, Phase
from labkit.waiting import WaitCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labkit.lab.scenario import PackstackCall
    from labkit.packstack.connection import NodeConnection
    from labkit.packstack.output.parser import Event as PackstackEvent
    from labkit.packstack.output.view import RunView
    from labkit.state.progress import Progress

log = logging.getLogger(__name__)

PACKSTACK = Job(unit="labkit-packstack", description="labkit: Packstack installs OpenStack")
# Between two looks at a node that Puppet does not work on: enough to notice that it was rebooted.
# Eight emulated ones that were looked at as often as the others took more than one processor.
IDLE_SECONDS = 120.0
# For the last look at a node: what it shows explains the end, which is known by then.
LAST_LOOK_SECONDS = 60.0
TAIL_BYTES = 64 * 1024
HANG_CAUSES = (
    "Typical causes: too little memory or CPU, dead mirrors, NetworkManager or firewalld left on."
)
# The walk-through's own setting; without unbuffered output a pipe holds lines back for minutes.
_ENVIRONMENT = ("PYTHONUNBUFFERED=1", "LANG=en_US.utf-8", "LC_ALL=en_US.utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended, with everything that can explain it.

    Attributes:
        view: What its output says.
        last: The last look at it.
        output: The end of its output.
        puppet: The end of each Puppet log, by `<node>: <manifest>`.
        outages: How many sessions with the nodes were lost and made again.
    """

    view: RunView
    last: RunSample
    output: str
    puppet: Mapping[str, str]
    outages: int

    @property
    def succeeded(self) -> bool:
        """Return whether Packstack ended well; its exit code has the last word."""
        return self.last.state is RunState.ENDED and self.last.code == 0


@dataclass(frozen=True, slots=True)
class LogKey:
    """Which Puppet log: of a node, by the path `LogPiece` has, for a manifest."""

    node: str
    path: str
    manifest: str


class HungError(OperationError):
    """A run shows no sign of progress; it was left running."""


def begin(controller: NodeConnection, call: PackstackCall, run_id: str) -> bool:
    """Start Packstack; return False when a run is under way that somebody else started.

    Args:
        controller: The node Packstack runs on; `mark` comes before.
        call: How it is called.
        run_id: Identifies this run; asking twice with the same one starts it once.

    Raises:
        NotStartedError: The controller could not start it.
        WaitTimeout: It could not be reached; it may have started the run.
    """
    files = []
    if call.answer_file is not None:
        content = call.answer_file.encode()
        files.append(RunFile(path=PurePosixPath(ANSWER_FILE), content=content))
    script = f"umask 0022\ncd /root\nexec env {shlex.join(_ENVIRONMENT)} {call.command_line()}\n"

    def start(connection: ssh.Connection) -> bool:
        found = detached.sample(connection, PACKSTACK, offset=0)
        # An earlier try whose answer was lost on the way.
        if found.run_id == run_id:
            return True
        return detached.start(connection, PACKSTACK, script, run_id=run_id, files=files)

    return controller.ask(start)


@dataclass(slots=True, kw_only=True)
class Watcher:
    """Follows a run by its output and the Puppet logs of all nodes.

    Attributes:
        connections: By name, every node that takes part.
        controller: The node Packstack runs on.
        hosts: By what the answers call a host, the name of its node.
        view: What the output said so far; give it the expected steps.
        hung_seconds: Seconds without any growth anywhere after which the run counts as hung.
        progress: Told of every step.
        pause: Passes the time, in seconds; true ends the watching.
        give_up: Called when the watching ends by an error, so that nobody waits for nodes then.
        lost_before: Sessions that had been lost when the run was started.
    """

    connections: Mapping[str, NodeConnection]
    controller: str
    hosts: Mapping[str, str]
    view: RunView
    hung_seconds: float
    progress: Progress
    pause: Callable[[float], bool]
    give_up: Callable[[], None]
    lost_before: int = 0
    clock: Callable[[], float] = time.monotonic
    _parser: Parser = field(default_factory=Parser)
    _offset: int = 0
    _output: bytes = b""
    _logs: dict[LogKey, PuppetLog] = field(default_factory=dict)
    _boots: dict[str, str] = field(default_factory=dict)
    _looked: dict[str, float] = field(default_factory=dict)
    _activity: Activity = field(default_factory=lambda: Activity(began=0.0))
    _began: float = 0.0
    _event_at: float = 0.0

    def follow(self) -> RunOutcome:
        """Watch until the run is over.

        Raises:
            HungError: Nothing moved for too long; the run goes on.
            OperationError: A node other than the controller was rebooted: Packstack would wait
                for it for ever.
            WaitTimeout: A node could not be reached for too long; the run may go on.
            WaitCancelled: The caller gave up; the run goes on.
        """
        self._began = self._event_at = self.clock()
        self._activity = Activity(began=self._began)
        with ThreadPoolExecutor(max_workers=len(self.connections)) as pool:
            try:
                return self._until_over(pool)
            except BaseException:
                self.give_up()
                raise

    def _until_over(self, pool: ThreadPoolExecutor) -> RunOutcome:
        while True:
            began = self.clock()
            last = self._look()
            over = last.state is not RunState.RUNNING and self._offset >= last.size
            if over:
                for name, seen in pool.map(self._watch_once_more, self.connections.values()):
                    self._feed(name, seen)
                # What was still to come of a log when Packstack removed it from its host.
                head = self.connections[self.controller]
                self._feed(*self._watch_once_more(head, fetched=FETCHED))
                return self._outcome(last)
            for name, seen in pool.map(self._watch, self._due()):
                self._require_same_boot(name, seen)
                self._feed(name, seen)
            self._require_life(last)
            self._tell_running()
            pause = detached.rest(detached.TICK_SECONDS, self.clock() - began)
            if self._offset >= last.size and self.pause(pause):
                message = "Following the Packstack run was given up; the run goes on."
                raise WaitCancelled(message)

    def _due(self) -> list[NodeConnection]:
        """Return the nodes to look at now: those that Puppet works on, and others now and then."""
        now = self.clock()
        # Several times before a run counts as hung: what a node shows may say that it does not.
        idle = min(IDLE_SECONDS, self.hung_seconds / 4)
        # A host that is none of the nodes, as the answers may name one: it may be any of them.
        busy = {self.hosts.get(run.host) for run in self.view.running}
        due = [
            name
            for name in self.connections
            if busy & {name, None} or now - self._looked.get(name, -idle) >= idle
        ]
        self._looked |= dict.fromkeys(due, now)
        return [self.connections[name] for name in due]

    def _look(self) -> RunSample:
        look = partial(detached.sample, job=PACKSTACK, offset=self._offset)
        found = self.connections[self.controller].ask(look)
        self._offset += len(found.output)
        self._output = (self._output + found.output)[-TAIL_BYTES:]
        self._advance(self._parser.feed(found.output))
        return found

    def _advance(self, events: tuple[PackstackEvent, ...]) -> None:
        now = self.clock()
        for event in events:
            self.view = self.view.advance(event, now)
            line = event_line(event, self.view)
            if line is None:
                continue
            failed = isinstance(event, StepDone | Applied) and not event.ok
            phase = Phase.FAILED if failed else Phase.DONE
            seconds, self._event_at = now - self._event_at, now
            told = Event(
                node=self.controller,
                stage=line.removesuffix(": failed"),
                phase=phase,
                seconds=seconds,
            )
            self.progress(told)

    def _watch(
        self, connection: NodeConnection, within: float | None = None, fetched: str = ""
    ) -> tuple[str, NodeSample]:
        node = connection.node
        offsets = {key.path: puppet.size for key, puppet in self._logs.items() if key.node == node}
        if fetched:
            known = self._logs.items()
            offsets |= {f"{fetched}/{key.manifest}": puppet.size for key, puppet in known}
        script = watch_script(offsets, since=MARK, fetched=fetched)

        def ask(session: ssh.Connection) -> NodeSample:
            result = session.run_script(
                script, what="look at Puppet's logs", timeout=ssh.ANSWER_SECONDS
            )
            try:
                return parse_watch(result.stdout)
            except ValueError as exc:
                # A log was renamed or removed between two lines of the script.
                raise ssh.NotReachableError(str(exc)) from exc

        return node, connection.ask(ask, within=within)

    def _watch_once_more(
        self, connection: NodeConnection, fetched: str = ""
    ) -> tuple[str, NodeSample]:
        """Look at a node after the run; one that is away must not hide how the run ended."""
        try:
            return self._watch(connection, LAST_LOOK_SECONDS, fetched)
        except LabkitError as exc:
            log.warning("no last look at node '%s': %s", connection.node, exc)
            return connection.node, NodeSample(boot_id="", logs=())

    def _require_same_boot(self, node: str, seen: NodeSample) -> None:
        known = self._boots.setdefault(node, seen.boot_id)
        if seen.boot_id != known and node != self.controller:
            message = f"Node '{node}' was rebooted while Packstack worked on it."
            raise OperationError(
                message,
                details=("Packstack waits for ever for the Puppet run that the reboot ended.",),
                hint="Run 'labkit deploy --kill', then 'labkit deploy' again.",
            )

    def _feed(self, node: str, seen: NodeSample) -> None:
        now = self.clock()
        owners = {key.manifest: key for key in self._logs}
        for piece in seen.logs:
            key = LogKey(node, piece.path, piece.manifest)
            if piece.path.startswith(f"{FETCHED}/"):
                # The log of whichever host the manifest was for.
                key = owners.get(piece.manifest, key)
            self._logs[key] = self._logs.get(key, PuppetLog()).feed(piece.content, now)

    def _require_life(self, last: RunSample) -> None:
        now = self.clock()
        looks = {OUTPUT: Look(size=last.size, tail=tuple(self._text().splitlines()[-5:]))}
        for name in self.connections:
            mine = [puppet for key, puppet in self._logs.items() if key.node == name]
            if mine:
                newest = max(mine, key=lambda puppet: puppet.changed_at or 0.0)
                size = sum(puppet.size for puppet in mine)
                looks[name] = Look(size=size, tail=newest.tail[-5:])
        self._activity = self._activity.observe(looks, now)
        verdict = judge(self._activity, now=now, limit=self.hung_seconds)
        if verdict is None:
            return
        message = (
            f"Packstack seems to hang: no sign of progress for {self.hung_seconds / 60:.0f} min."
        )
        raise HungError(
            message,
            details=(*verdict.describe(), HANG_CAUSES),
            hint=(
                "It was left running: 'labkit deploy' follows it again, 'labkit logs' shows its "
                "output, 'labkit deploy --kill' ends it."
            ),
        )

    def _outcome(self, last: RunSample) -> RunOutcome:
        self._advance(self._parser.close())
        texts: dict[str, str] = {}
        for key, puppet in self._logs.items():
            done = puppet.close()
            lines = [f"Error: {error.text}" for error in done.errors]
            texts[f"{key.node}: {key.manifest}"] = "\n".join([*lines, *done.tail])
        return RunOutcome(
            view=self.view,
            last=last,
            output=self._text(),
            puppet=texts,
            outages=lost_sessions(self.connections) - self.lost_before,
        )

    def _text(self) -> str:
        return self._output.decode("utf-8", "replace")

    def _tell_running(self) -> None:
        now = self.clock()
        line = headline(self.view, started=self._began, now=now)
        self.progress(Event(node=self.controller, stage=line, phase=Phase.STARTED))
        for run in self.view.running:
            for key, puppet in self._logs.items():
                if key.manifest == run.manifest:
                    shown = node_line(run, puppet, now=now)
                    self.progress(Event(node=key.node, stage=shown, phase=Phase.STARTED))


def lost_sessions(connections: Mapping[str, NodeConnection]) -> int:
    """Return how many sessions with the nodes were lost so far."""
    return sum(connection.outages for connection in connections.values())


def peek(connection: NodeConnection) -> RunSample:
    """Look at the run without its output.

    Raises:
        WaitTimeout: The controller could not be reached.
    """
    return connection.ask(partial(detached.sample, job=PACKSTACK, offset=2**62))
