"""The one place where labkit starts processes of its own."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import subprocess  # noqa: TID251 -- this module is the one allowed to
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from labkit.errors import CommandError, HostError
from labkit.host.packages import how_to_install

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

log = logging.getLogger(__name__)

TAIL_LINES = 20
# Debian leaves these out of a user's PATH; mke2fs and ip live there.
ADMIN_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What a finished command left behind.

    Attributes:
        argv: The command as it was started.
        returncode: Its exit status; negative for a signal.
        stdout: Its decoded standard output.
        stderr: Its decoded standard error.
        seconds: Wall-clock time it took.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float

    def tail(self) -> tuple[str, ...]:
        """Return the last lines of its output, standard error first when there is any."""
        text = self.stderr.strip() or self.stdout.strip()
        return tuple(text.splitlines()[-TAIL_LINES:])


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    output: Path | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> CommandResult:
    """Run a command to its end and return its result.

    The child dies with labkit, however labkit dies: it is started under `setpriv --pdeathsig`
    (util-linux), because a provisioner that outlives its parent would race the next run.

    Args:
        argv: The command; the first item is looked up on PATH.
        timeout: Seconds after which the command is killed.
        check: Raise when the command exits with anything but 0.
        cwd: Directory it runs in.
        env: Its whole environment; the caller's plus `LC_ALL=C.UTF-8` when not given.
        stdin: Text for its standard input.
        output: Append standard output and error to this file instead of capturing them.
        cancelled: Asked twice a second; True terminates the command.

    Raises:
        HostError: The command is not installed.
        CommandError: It failed with `check`, ran out of time, or was cancelled.
    """
    command = [str(part) for part in argv]
    env = environment() if env is None else env
    for tool in ("setpriv", command[0]):
        if shutil.which(tool, path=env.get("PATH")) is None:
            raise missing_tool(tool)
    log.debug("run: %s", shlex.join(command))
    started = time.monotonic()
    with nullcontext() if output is None else output.open("ab") as sink:
        code, out, err = _spawn(
            command, sink, timeout=timeout, cwd=cwd, env=env, stdin=stdin, cancelled=cancelled
        )
    seconds = time.monotonic() - started
    done = CommandResult(
        argv=tuple(command), returncode=code, stdout=out, stderr=err, seconds=seconds
    )
    log.debug("exit %d after %.2f s: %s", code, seconds, command[0])
    if check and done.returncode != 0:
        msg = f"'{shlex.join(command)}' exited with {code}."
        raise CommandError(msg, details=done.tail())
    return done


def missing_tool(name: str) -> HostError:
    """Return the error for a tool that PATH does not have."""
    return HostError(
        f"The command '{name}' is not installed on this host.",
        hint=how_to_install(name),
    )


def become(argv: Sequence[str]) -> NoReturn:
    """Let a command take this process over; the terminal and the exit code become its own.

    Raises:
        HostError: The command is not installed.
    """
    if shutil.which(argv[0]) is None:
        raise missing_tool(argv[0])
    # Python ignores SIGPIPE, which the command would inherit: 'labkit console one | head' complained.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(argv[0], list(argv))  # noqa: S606 -- becoming the command is the point


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment in the C.UTF-8 locale, with additions."""
    path = f"{os.environ.get('PATH', os.defpath)}:{ADMIN_PATH}"
    return {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", **extra}


def _spawn(
    command: list[str],
    sink: BinaryIO | None,
    *,
    timeout: float,
    cwd: Path | None,
    env: Mapping[str, str],
    stdin: str,
    cancelled: Callable[[], bool] | None,
) -> tuple[int, str, str]:
    deadline = time.monotonic() + timeout
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", *command],
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if sink is None else sink,
        stderr=subprocess.PIPE if sink is None else subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    pending: str | None = stdin
    try:
        while True:
            left = deadline - time.monotonic()
            try:
                out, err = child.communicate(pending, timeout=max(0.01, min(0.5, left)))
            except subprocess.TimeoutExpired as exc:
                pending = None
                if left <= 0:
                    msg = f"'{shlex.join(command)}' did not finish within {timeout:.0f} s."
                    raise CommandError(msg) from exc
                if cancelled is not None and cancelled():
                    msg = f"'{command[0]}' was cancelled."
                    raise CommandError(msg) from exc
            else:
                return child.returncode, out or "", err or ""
    finally:
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        # The whole session: mmdebstrap and vagrant start children of their own.
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()
