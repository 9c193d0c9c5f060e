"""What a Packstack run made is brought home: answer file, credentials, and logs when it failed."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from labkit.errors import LabkitError, OperationError
from labkit.host import ssh
from labkit.host.files import write_atomically
from labkit.lab import scenarios
from labkit.lab.scenario import ANSWER_FILE
from labkit.packstack.gather import gather_script, unpack
from labkit.resources import guest_script
from labkit.state.progress import LAB, stage
from labkit.verify import expected
from labkit.verify.outputs import KEYSTONERC

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from labkit.packstack.connection import NodeConnection
    from labkit.state.session import Session

log = logging.getLogger(__name__)

GATHER_SECONDS = 120.0
# A node that is away now is no use to somebody who waits to be told why the run failed.
REACH_SECONDS = 60.0
DISCOVER = "su -s /bin/sh nova -c 'nova-manage cell_v2 discover_hosts --verbose'"


def fetch(connection: NodeConnection, *, by_command: bool) -> tuple[str, str]:
    """Return the answer file and the credentials the controller has; empty for a missing one.

    Args:
        connection: The controller.
        by_command: Prefer the answer file that Packstack made up by itself.

    Raises:
        OperationError: The guest's answer makes no sense.
    """
    script = guest_script(
        __package__,
        "fetch",
        answers=ANSWER_FILE,
        keystonerc=KEYSTONERC,
        by_command="yes" if by_command else "no",
    )
    result = connection.ask(
        lambda c: c.run_script(script, what="fetch the answer file", timeout=ssh.ANSWER_SECONDS)
    )
    lines = result.stdout.decode("ascii", "replace").splitlines()
    readable = len(lines) == 2 and all(line.startswith("file ") for line in lines)  # noqa: PLR2004 -- the two files
    # A file that is there and cannot be read must not count as a missing one.
    if result.returncode != 0 or not readable:
        message = f"The files of the deployment could not be read on node '{connection.node}'."
        raise OperationError(message, details=tuple(result.stderr.splitlines()[-5:]))
    answers, keystonerc = (
        base64.b64decode(line.removeprefix("file ")).decode("utf-8", "replace") for line in lines
    )
    return answers, keystonerc


def keep_files(session: Session, answers: str, keystonerc: str) -> tuple[Path, ...]:
    """Write answer file and credentials into the lab's directory, for their owner alone."""
    written: list[Path] = []
    directory = session.directory
    for target, text in (
        (directory.packstack / "answers.cfg", answers),
        (directory.credentials, keystonerc),
    ):
        if text:
            write_atomically(target, text, mode=0o600)
            written.append(target)
    return tuple(written)


def digest(text: str) -> str:
    """Return the sha256 of a text in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def discover_hosts(session: Session, connection: NodeConnection) -> None:
    """Let nova put new compute nodes into their cell, where it is installed; those there stay.

    Raises:
        OperationError: nova-manage failed.
    """
    if scenarios.effective(session.lab)[expected.NOVA] != "y":
        return
    with stage(session.progress, connection.node, "discovering hosts"):
        result = connection.ask(
            lambda c: c.run_script(DISCOVER, what="nova-manage", timeout=180.0)
        )
        if result.returncode != 0:
            message = "nova-manage could not put the compute nodes into their cell."
            text = result.stderr or result.stdout.decode("utf-8", "replace")
            raise OperationError(message, details=tuple(text.splitlines()[-10:]))


def gather_logs(
    session: Session,
    connections: Mapping[str, NodeConnection],
    run_id: str,
    secrets: Iterable[str],
    *,
    reach_seconds: float = REACH_SECONDS,
) -> Path:
    """Collect the logs of all nodes into `logs/<run>/<node>/` and return that directory.

    A node that does not answer for `reach_seconds`, or whose logs cannot be kept here, is left out:
    nothing in here may hide the failure that the logs explain.
    """
    target = session.directory.logs / f"deploy-{run_id}"
    blacked_out = tuple(secrets)

    def one(connection: NodeConnection) -> str:
        try:
            result = connection.once(
                lambda c: c.run_script(
                    gather_script(), what="collect logs", timeout=GATHER_SECONDS
                ),
                within=reach_seconds,
            )
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            count = _store(target / connection.node, result.stdout, blacked_out)
        except (LabkitError, tarfile.TarError, OSError) as exc:
            log.warning("no logs of node '%s': %s", connection.node, exc)
            return f"{connection.node}: none ({exc})"
        return f"{connection.node}: {count} files"

    with (
        stage(session.progress, LAB, "collecting logs") as current,
        ThreadPoolExecutor(max_workers=len(connections)) as pool,
    ):
        current.note = "; ".join(pool.map(one, connections.values()))
    return target


def _store(target: Path, archive: bytes, secrets: tuple[str, ...]) -> int:
    count = 0
    for path, content in unpack(archive, secrets):
        file = target / path
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
        count += 1
    return count
