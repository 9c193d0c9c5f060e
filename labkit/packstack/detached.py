"""Runs that go on in a guest without labkit: started once, followed by offset, found again."""

from __future__ import annotations

import base64
import shlex
import time
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.host.ssh import ANSWER_SECONDS
from labkit.resources import guest_script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labkit.host.ssh import Connection
    from labkit.packstack.connection import NodeConnection

RUNS = PurePosixPath("/var/lib/labkit/runs")
CHUNK_BYTES = 512 * 1024
# Runs kept in the guest, the current one included: a debugging aid, not an archive.
KEPT_RUNS = 5
# Every look makes the guest start half a dozen processes, so a long run is looked at less often,
# and a guest that is slow to answer less often still: looking takes a third of its time at most.
FIRST_TICK_SECONDS, TICK_GROWTH, TICK_SECONDS = 0.5, 1.2, 2.0
REST_PER_LOOK, LONGEST_TICK_SECONDS = 2.0, 20.0


class NotStartedError(OperationError):
    """The guest answered that it could not start a run, so none was begun."""


class RunState(StrEnum):
    """Where a run stands."""

    NONE = "none"  # never started
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"  # neither running nor ended: the guest was rebooted, or the run was killed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A file put in place before a run starts, for root alone.

    Attributes:
        path: Absolute path in the guest.
        content: Its bytes.
    """

    path: PurePosixPath
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A kind of run; a guest has at most one of each.

    Attributes:
        unit: Name of its transient systemd unit, without `.service`.
        description: What `systemctl status` shows.
        runs: Where the runs' directories are.
    """

    unit: str
    description: str
    runs: PurePosixPath = RUNS

    @property
    def directory(self) -> PurePosixPath:
        """Return where the current run keeps its output and status."""
        return self.runs / self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSample:
    """What a run looks like at one moment.

    Attributes:
        state: Where it stands.
        code: Its exit code; None unless it ended.
        run_id: What its starter called it.
        boot_id: The guest's boot id when it was started.
        guest_boot_id: The guest's boot id now.
        started: When it was started, seconds since the epoch by the guest's clock.
        now: The guest's clock now.
        free_bytes: Space left on the guest's root file system.
        size: Bytes of output there are.
        output: The output from the offset asked for, at most `CHUNK_BYTES`.
    """

    state: RunState
    code: int | None
    run_id: str
    boot_id: str
    guest_boot_id: str
    started: int
    now: int
    free_bytes: int
    size: int
    output: bytes

    @property
    def rebooted(self) -> bool:
        """Return whether the guest was booted again since the run began."""
        return self.boot_id != self.guest_boot_id


def parse_sample(printed: bytes) -> RunSample:
    """Return what `look.sh` printed as a record.

    Raises:
        ValueError: It is not what that prints.
    """
    head, _, output = printed.partition(b"\n")
    state, code, run_id, boot_id, guest, started, now, free, size = head.decode("utf-8").split(" ")
    return RunSample(
        state=RunState(state),
        code=None if code == "-" else int(code),
        run_id=run_id,
        boot_id=boot_id,
        guest_boot_id=guest,
        started=int(started),
        now=int(now),
        free_bytes=int(free),
        size=int(size),
        output=output,
    )


def start(
    connection: Connection, job: Job, script: str, *, run_id: str, files: Sequence[RunFile] = ()
) -> bool:
    """Start a run in the guest; return False when one of this kind is under way already.

    Args:
        connection: A session with the guest.
        job: The kind of run.
        script: What root's bash is to do.
        run_id: What to call the run.
        files: Files put in place before.

    Raises:
        NotReachableError: The session broke; whether the run started shows the next sample.
        NotStartedError: The guest could not start it; details say why.
    """
    placed = {str(file.path): file.content for file in files}
    placed |= {"script": script.encode(), "main": guest_script(__package__, "main").encode()}
    result = connection.run_script(
        guest_script(
            __package__,
            "start",
            unit=job.unit,
            description=job.description,
            runs=str(job.runs),
            run_id=run_id,
            kept=KEPT_RUNS,
            paths=tuple(placed),
            contents=tuple(base64.b64encode(each).decode("ascii") for each in placed.values()),
        ),
        what=f"start {job.unit}",
        timeout=ANSWER_SECONDS,
    )
    answer = result.stdout.decode("utf-8", "replace").strip()
    if result.returncode != 0 or answer not in {"started", "running"}:
        message = f"The guest could not start '{job.unit}'."
        lines = (result.stderr.strip() or answer or f"exit {result.returncode}").splitlines()
        raise NotStartedError(message, details=tuple(lines[-10:]))
    return answer == "started"


def sample(connection: Connection, job: Job, *, offset: int) -> RunSample:
    """Look at a run.

    Args:
        connection: A session with the guest.
        job: The kind of run.
        offset: How many bytes of its output are known already.

    Raises:
        NotReachableError: The session broke.
        OperationError: The guest's answer makes no sense; details show it.
    """
    script = guest_script(
        __package__, "look", unit=job.unit, runs=str(job.runs), offset=offset, chunk=CHUNK_BYTES
    )
    result = connection.run_script(script, what=f"look at {job.unit}", timeout=ANSWER_SECONDS)
    try:
        return parse_sample(result.stdout)
    except ValueError as exc:
        message = f"The guest's answer about '{job.unit}' cannot be read."
        shown = result.stderr.strip() or result.stdout[:200].decode("utf-8", "replace")
        raise OperationError(message, details=tuple(shown.splitlines()[-10:])) from exc


def stop(connection: Connection, job: Job) -> None:
    """End a run that is under way, and everything it started on that guest.

    Raises:
        NotReachableError: The session broke.
        OperationError: systemd refuses.
    """
    result = connection.run_script(
        f"systemctl stop {shlex.quote(job.unit)}.service", what=f"stop {job.unit}", timeout=120.0
    )
    if result.returncode != 0:
        message = f"The guest could not stop '{job.unit}'."
        raise OperationError(message, details=tuple(result.stderr.splitlines()[-10:]))


def rest(tick: float, took: float) -> float:
    """Return the seconds until the next look at a run.

    Args:
        tick: Seconds between two looks at a guest that answers at once.
        took: Seconds the last look took.
    """
    return max(tick, min(LONGEST_TICK_SECONDS, took * REST_PER_LOOK))


def follow(
    connection: NodeConnection,
    job: Job,
    *,
    receive: Callable[[RunSample], None],
    pause: Callable[[float], object],
    clock: Callable[[], float] = time.monotonic,
) -> RunSample:
    """Look at a run until it is over and everything it printed has been received.

    Args:
        connection: The node it runs on.
        job: The kind of run.
        receive: Called with every look; output comes in order and without gaps.
        pause: Passes the time between two looks, in seconds.
        clock: What tells the time; tests pass their own.

    Returns:
        The last look; its state is never running.

    Raises:
        WaitTimeout: The node could not be reached for too long; the run may go on.
    """
    offset, tick = 0, FIRST_TICK_SECONDS
    while True:
        began = clock()
        found = connection.ask(partial(sample, job=job, offset=offset))
        offset += len(found.output)
        receive(found)
        if offset >= found.size:
            if found.state is not RunState.RUNNING:
                return found
            pause(rest(tick, clock() - began))
            tick = min(TICK_SECONDS, tick * TICK_GROWTH)
