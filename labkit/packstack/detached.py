"""Runs that go on in a guest without labkit: started once, followed by offset, found again."""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labkit.host.ssh import Connection
    from labkit.packstack.connection import NodeConnection

RUNS = PurePosixPath("/var/lib/labkit/runs")
CHUNK_BYTES = 512 * 1024
# Runs kept in the guest, the current one included: a debugging aid, not an archive.
KEPT_RUNS = 5
SCRIPT_SECONDS = 60.0
# Long enough for an emulated guest under load; after it the other card is tried.
LOOK_SECONDS = 20.0
# Every look makes the guest start half a dozen processes, so a long run is looked at less often.
FIRST_TICK_SECONDS, TICK_GROWTH, TICK_SECONDS = 0.5, 1.2, 2.0


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


def start_script(job: Job, script: str, *, run_id: str, files: Sequence[RunFile] = ()) -> str:
    """Return the script that starts a run, unless one is under way.

    It prints `started` or `running`. Content travels in base64, so nothing in it can end the
    quoting. Only features of systemd 219 and util-linux 2.23, CentOS 7's, are used.
    """
    quoted = {
        "unit": job.unit,
        "description": job.description,
        "runs": str(job.runs),
        "run_id": run_id,
    }
    lines = [f"{name}={shlex.quote(value)}" for name, value in quoted.items()]
    lines += [_START_HEAD.replace("@KEPT@", str(KEPT_RUNS))]
    for path, content in (
        *((str(file.path), file.content) for file in files),
        ("$dir/script", script.encode()),
        ("$dir/main", _MAIN.encode()),
    ):
        target = f'"{path}"' if path.startswith("$dir/") else shlex.quote(path)
        text = base64.b64encode(content).decode("ascii")
        lines.append(f"put {target} <<'CONTENT_ENDS'\n{text}\nCONTENT_ENDS")
    return "\n".join([*lines, _START_TAIL])


_START_HEAD = """\
set -eu
umask 077
export LC_ALL=C
dir=$runs/$unit
mkdir -p "$runs"
exec 9>"$runs/.lock"
flock 9
# Its last act was to leave its status; it must not be taken for one under way.
[ ! -f "$dir/status" ] || systemctl stop "$unit.service" 2>/dev/null || true
case $(systemctl is-active "$unit.service" || true) in
  active | activating | deactivating | reloading) echo running; exit 0 ;;
esac
systemctl reset-failed "$unit.service" 2>/dev/null || true
put() {
  mkdir -p "$(dirname "$1")"
  base64 -d >"$1.labkit-new"
  mv -f -T "$1.labkit-new" "$1"
}
if [ -d "$dir" ]; then
  mv -T "$dir" "$dir.$(date +%Y%m%d-%H%M%S)-$$"
  ls -1dt "$dir".*/ | tail -n +@KEPT@ | while read -r old; do rm -rf -- "$old"; done
fi
mkdir "$dir"
"""

_START_TAIL = """\
cat /proc/sys/kernel/random/boot_id >"$dir/boot_id"
date +%s >"$dir/started"
printf '%s\\n' "$run_id" >"$dir/run_id"
: >"$dir/output.log"
# Reserved now: on a full disk the exit code must still find its place. Never a 0 that nothing gave.
echo 255 >"$dir/status.new"
# A power cut must not take with it what tells that this run was begun.
sync
systemd-run --quiet --unit="$unit" --description="$description" bash "$dir/main" 9>&- >&2
echo started
"""

# Called by systemd, as root, with a clean environment.
_MAIN = """\
#!/bin/bash
cd "$(dirname "$0")" || exit 1
exec >>output.log 2>&1 </dev/null
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
bash ./script
code=$?
printf '%03d\\n' "$code" 1<>status.new
mv -f -T status.new status
exit "$code"
"""

_POLL = """\
export LC_ALL=C
dir=$runs/$unit
active=$(systemctl is-active "$unit.service" || true)
state=none code=- run_id=- boot_id=- started=0 size=0
if [ -f "$dir/started" ]; then
  state=lost
  case $active in active | activating | deactivating | reloading) state=running ;; esac
  [ -f "$dir/status" ] && { state=ended; read -r code <"$dir/status"; }
  read -r run_id <"$dir/run_id"; read -r boot_id <"$dir/boot_id"; read -r started <"$dir/started"
  # A power cut may leave files without their content.
  : "${run_id:=-}" "${boot_id:=-}" "${started:=0}"
  size=$(stat -c %s "$dir/output.log")
fi
read -r guest </proc/sys/kernel/random/boot_id
free=$(df -P -B1 / | { read -r _; read -r _ _ _ free _; echo "$free"; })
printf '%s %s %s %s %s %s %s %s %s\\n' \\
  "$state" "$code" "$run_id" "$boot_id" "$guest" "$started" "$(date +%s)" "$free" "$size"
if [ "$size" -gt "$offset" ]; then
  tail -c +"$((offset + 1))" "$dir/output.log" | head -c "$chunk"
fi
"""


def poll_script(job: Job, offset: int) -> str:
    """Return the script that prints a run's state and its output from an offset on."""
    head = f"unit={shlex.quote(job.unit)} runs={shlex.quote(str(job.runs))}"
    return f"{head} offset={offset} chunk={CHUNK_BYTES}\n{_POLL}"


def parse_sample(printed: bytes) -> RunSample:
    """Return what `poll_script` printed as a record.

    Raises:
        ValueError: It is not what the script prints.
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

    Raises:
        NotReachableError: The session broke; whether the run started shows the next sample.
        NotStartedError: The guest could not start it; details say why.
    """
    text = start_script(job, script, run_id=run_id, files=files)
    result = connection.run_script(text, what=f"start {job.unit}", timeout=SCRIPT_SECONDS)
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
    result = connection.run_script(
        poll_script(job, offset), what=f"look at {job.unit}", timeout=LOOK_SECONDS
    )
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


def follow(
    connection: NodeConnection,
    job: Job,
    *,
    receive: Callable[[RunSample], None],
    pause: Callable[[float], object],
) -> RunSample:
    """Look at a run until it is over and everything it printed has been received.

    Args:
        connection: The node it runs on.
        job: The kind of run.
        receive: Called with every look; output comes in order and without gaps.
        pause: Passes the time between two looks, in seconds.

    Returns:
        The last look; its state is never running.

    Raises:
        WaitTimeout: The node could not be reached for too long; the run may go on.
    """
    offset, tick = 0, FIRST_TICK_SECONDS
    while True:
        found = connection.ask(partial(sample, job=job, offset=offset))
        offset += len(found.output)
        receive(found)
        if offset >= found.size:
            if found.state is not RunState.RUNNING:
                return found
            pause(tick)
            tick = min(TICK_SECONDS, tick * TICK_GROWTH)
