"""Preparing the nodes for Packstack: all side by side, each step named, a reboot proven."""

from __future__ import annotations

import codecs
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit.boxes.definition import find_box
from labkit.boxes.file import DebianBoxFile
from labkit.errors import LabkitError, OperationError, UsageError, joined
from labkit.host import ssh
from labkit.host.files import read_beginning
from labkit.lab import signing_keys
from labkit.packstack import detached, prepare_script
from labkit.packstack.detached import Job, RunSample, RunState
from labkit.packstack.explain import explained
from labkit.packstack.prepare_script import PreparationView
from labkit.state.progress import Event, Phase, Progress, stage
from labkit.waiting import BOOT, Deadline, NotYet, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labkit.boxes.file import BoxFile
    from labkit.lab.topology import Repositories, ResolvedLab, ResolvedNode
    from labkit.packstack.connection import NodeConnection
    from labkit.state.session import Session

log = logging.getLogger(__name__)

PREPARE = Job(unit=prepare_script.UNIT, description="labkit: prepares this node for Packstack")
TAIL_LINES = 15
KEYS_HINT = "CentOS has them and their fingerprints at https://www.centos.org/keys/."


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What preparing a node came to.

    Attributes:
        node: Its name.
        seconds: What the steps took in the guest.
        changed: The steps that changed something.
        rebooted: Whether the node was restarted for a newer kernel.
    """

    node: str
    seconds: float
    changed: tuple[str, ...]
    rebooted: bool


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Turns a run's output into progress and a view."""

    node: str
    progress: Progress
    view: PreparationView = field(default_factory=PreparationView)
    tail: str = ""
    _decode: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def receive(self, sample: RunSample) -> None:
        text = self._decode.decode(sample.output)
        before = len(self.view.done), self.view.running
        self.view = prepare_script.advance(self.view, text)
        self.tail = (self.tail + text)[-8192:]
        for event in self.view.done[before[0] :]:
            self._tell(
                event.step,
                Phase.DONE,
                seconds=event.seconds,
                note="changed" if event.changed else "",
            )
        if self.view.running and self.view.running != before[1]:
            self._tell(self.view.running, Phase.STARTED)

    def _tell(self, step: str, phase: Phase, *, seconds: float = 0.0, note: str = "") -> None:
        self.progress(
            Event(node=self.node, stage=f"prepare {step}", phase=phase, seconds=seconds, note=note)
        )


def package_source(session: Session) -> Repositories:
    """Return where a lab's nodes get their packages: a stand-in box brings its own place for them.

    Keys of the lab file are put there as well, so that a rehearsal goes the way of a real node.

    Raises:
        UsageError: There is no such box.
    """
    return _source(session.lab, _box(session))


def _box(session: Session) -> BoxFile:
    return find_box(session.lab.box, beside=session.lab_file.parent).file


def _source(lab: ResolvedLab, box: BoxFile) -> Repositories:
    if not isinstance(box, DebianBoxFile) or box.package_base is None:
        return lab.repositories
    return replace(lab.repositories, bases=(box.package_base,), proxy=None)


def key_texts(lab: ResolvedLab, directory: Path) -> tuple[str, ...]:
    """Return the keys in the files of `repos.keys`, in the order of `repositories.signing_keys`.

    Args:
        lab: The lab; its file names every key that is needed, or none.
        directory: Where the lab file lies: the paths begin there.

    Raises:
        UsageError: Some files have no key; details say which, and what they have.
    """
    found = {PurePosixPath(each).name: directory / each for each in lab.repositories.keys}
    texts, problems = [], []
    for name in signing_keys.names(lab.release) if found else ():
        try:
            content = read_beginning(found[name], signing_keys.MAX_BYTES + 1)
            problem = signing_keys.fault(content)
            texts.append(content.decode("utf-8", "replace"))
        except OSError as exc:
            problem = f"no file that can be read: {exc.strerror}"
        if problem:
            problems.append(f"'{found[name]}': expected a PGP public key, found {problem}")
    if problems:
        message = "Files that 'repos.keys' names hold no keys."
        raise UsageError(message, details=tuple(problems), hint=KEYS_HINT)
    return tuple(texts)


def scripts(session: Session, nodes: tuple[ResolvedNode, ...]) -> dict[str, str]:
    """Return the script that prepares each of these nodes, by its name.

    Raises:
        UsageError: There is no such box, or a file of `repos.keys` has no key.
        OperationError: A node of the lab was never brought up.
    """
    lab, box = session.lab, _box(session)
    keys = {node.name: session.endpoint(node).host_key for node in lab.nodes}
    texts = key_texts(lab, session.lab_file.parent)
    return {
        node.name: prepare_script.script(
            lab,
            node,
            packages=_source(lab, box),
            host_keys=keys,
            key_texts=texts,
            stand_in=box.stand_in,
        )
        for node in nodes
    }


def prepare(
    session: Session,
    connections: Mapping[str, NodeConnection],
    nodes: tuple[ResolvedNode, ...],
    texts: Mapping[str, str],
) -> tuple[Prepared, ...]:
    """Prepare nodes side by side; one that is prepared already changes nothing.

    Args:
        session: The lab.
        connections: By node name.
        nodes: The nodes to prepare.
        texts: By node name, from `scripts`.

    Raises:
        OperationError: A step failed on a node; every such node is in the details.
    """
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        futures = [
            pool.submit(_prepare, session, connections[node.name], node, texts[node.name])
            for node in nodes
        ]
        try:
            errors = [error for future in futures if (error := future.exception()) is not None]
        except BaseException:
            session.cancelled.set()
            raise
    for error in errors:
        if not isinstance(error, LabkitError):
            raise error
    if errors:
        expected = [error for error in errors if isinstance(error, LabkitError)]
        raise joined(expected, f"{len(expected)} nodes could not be prepared.")
    return tuple(future.result() for future in futures)


def _prepare(
    session: Session, connection: NodeConnection, node: ResolvedNode, script: str
) -> Prepared:
    first = _run(session, connection, node, script)
    if first.reboot is None:
        return _prepared(node, first, rebooted=False)
    with stage(session.progress, node.name, "reboot") as current:
        _reboot(session, connection)
        current.note = f"kernel {first.reboot[1]}"
    # What it prepared is still there; that nothing is left to do has to be seen once more.
    second = _run(session, connection, node, script)
    if second.reboot is not None:
        running, newest = second.reboot
        message = f"Node '{node.name}' runs kernel '{running}' after a reboot, not '{newest}'."
        raise OperationError(
            message, hint=f"Look at its boot loader: 'labkit console {node.name}'."
        )
    return _prepared(node, first, rebooted=True)


def _prepared(node: ResolvedNode, view: PreparationView, *, rebooted: bool) -> Prepared:
    return Prepared(
        node=node.name,
        seconds=view.seconds,
        changed=tuple(event.step for event in view.done if event.changed),
        rebooted=rebooted,
    )


def _run(
    session: Session, connection: NodeConnection, node: ResolvedNode, script: str
) -> PreparationView:
    reader = _Reader(node=node.name, progress=session.progress)
    connection.ask(lambda c: detached.start(c, PREPARE, script, run_id=uuid.uuid4().hex))
    last = detached.follow(
        connection, PREPARE, receive=reader.receive, pause=session.cancelled.wait
    )
    view = reader.view
    if last.state is RunState.ENDED and last.code == 0 and view.failed is None:
        return view
    step = view.failed.step if view.failed else view.running
    if view.failed is None and view.running:
        session.progress(
            Event(node=node.name, stage=f"prepare {view.running}", phase=Phase.FAILED)
        )
    raise _failure(node, step, last, view, reader.tail)


def _failure(
    node: ResolvedNode, step: str, last: RunSample, view: PreparationView, tail: str
) -> OperationError:
    where = f"in step '{step}'" if step else "before its first step"
    message = f"Preparing node '{node.name}' failed {where}."
    if last.state is RunState.LOST:
        why = "the node was rebooted" if last.rebooted else "the run was killed in the guest"
        return OperationError(
            f"Preparing node '{node.name}' was cut off {where}: {why}.",
            hint="Run 'labkit deploy' again; what is prepared stays.",
        )
    reason = view.failed.reason if view.failed else f"its script ended with {last.code}"
    known = explained(tail)
    lines = [line for line in tail.splitlines() if line and not line.startswith("labkit-step:")]
    return OperationError(
        message,
        details=(reason, *known, "Its last lines:", *(f"  {x}" for x in lines[-TAIL_LINES:])),
        hint=f"Mend it, then run 'labkit deploy' again; 'labkit ssh {node.name}' looks inside.",
    )


def _reboot(session: Session, connection: NodeConnection) -> None:
    """Restart a node; a new boot id is the proof, an answer over SSH would not be."""
    before = connection.ask(boot_id)
    said = ""
    # It may take the session with it before it answers: that is no failure.
    try:
        result = connection.once(
            lambda c: c.run_script("systemctl reboot", what="reboot", timeout=ssh.ANSWER_SECONDS)
        )
        said = f"; systemctl said: {result.stderr.strip()}" if result.returncode else ""
    except ssh.NotReachableError as exc:
        log.debug("the reboot took the session with it: %s", exc.message)
    connection.renew()

    def check() -> None:
        if connection.ask(boot_id) == before:
            msg = f"it still has its old boot id{said}"
            raise NotYet(msg)

    wait_until(
        check,
        what=f"node '{connection.node}' to boot again",
        deadline=Deadline.after(REBOOT_SECONDS),
        policy=BOOT,
        cancelled=session.cancelled.is_set,
    )


REBOOT_SECONDS = 900.0


def boot_id(connection: ssh.Connection) -> str:
    """Return the guest kernel's boot id, which changes with every boot and nothing else.

    Raises:
        NotReachableError: The guest could not be asked, or did not tell it: no answer must not be
            taken for another boot.
    """
    result = connection.run("cat /proc/sys/kernel/random/boot_id", timeout=ssh.ANSWER_SECONDS)
    if result.returncode != 0 or not result.stdout.strip():
        msg = "the guest does not tell its boot id"
        raise ssh.NotReachableError(msg, details=tuple(result.stderr.splitlines()))
    return result.stdout.strip()
