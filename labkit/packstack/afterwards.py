"""After a Packstack run: what it left wrong is mended, what it made is brought home."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import tarfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from labkit.errors import LabkitError, OperationError
from labkit.host.files import write_atomically
from labkit.lab.scenario import ANSWER_FILE
from labkit.packstack import detached
from labkit.packstack.detached import Job, RunState
from labkit.packstack.gather import gather_script, unpack
from labkit.packstack.mend import MENDABLE, mend_script
from labkit.state.progress import stage
from labkit.verify.check import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from labkit.lab.topology import ResolvedNode
    from labkit.packstack.link import Link
    from labkit.state.session import Session
    from labkit.verify.report import Report

log = logging.getLogger(__name__)

MEND = Job(unit="labkit-mend", description="labkit: puts the external bridge right")
KEYSTONERC = "/root/keystonerc_admin"
FETCH_SECONDS = 60.0
GATHER_SECONDS = 120.0
DISCOVER = "su -s /bin/sh nova -c 'nova-manage cell_v2 discover_hosts --verbose'"

# Packstack names the file it makes itself after the time of its run; the newest is meant.
_FETCH = """\
export LC_ALL=C
shopt -s nullglob
answers=@ANSWERS@
if [ ! -s "$answers" ] || [ "$by_command" = yes ]; then
  made=(/root/packstack-answers-*.txt)
  [ "${#made[@]}" = 0 ] || answers=${made[-1]}
fi
for file in "$answers" @KEYSTONERC@; do
  printf 'file '
  [ ! -f "$file" ] || base64 -w0 "$file"
  echo
done
"""


def to_mend(session: Session, report: Report) -> tuple[ResolvedNode, ...]:
    """Return the nodes whose external bridge Packstack left half done, by a report."""
    failed = {
        result.node
        for result in report.results
        if result.verdict is Verdict.FAILED and result.check in MENDABLE
    }
    return tuple(node for node in session.lab.nodes if node.name in failed)


def mend(session: Session, link: Link, node: ResolvedNode) -> None:
    """Write a node's two ifcfg files as they must be and bring the bridge up.

    Raises:
        OperationError: It did not work; details have what the guest said.
    """
    with stage(session.progress, node.name, "mending br-ex"):
        run_id = uuid.uuid4().hex
        script = mend_script(session.lab, node)
        link.ask(lambda connection: detached.start(connection, MEND, script, run_id=run_id))
        told: list[bytes] = []
        last = detached.follow(
            link,
            MEND,
            receive=lambda found: told.append(found.output),
            pause=session.cancelled.wait,
        )
        if last.state is RunState.ENDED and last.code == 0:
            return
        lines = b"".join(told).decode("utf-8", "replace").splitlines()
        message = f"The external bridge of node '{node.name}' could not be put right."
        raise OperationError(
            message,
            details=tuple(lines[-10:]),
            hint=f"Look with 'labkit ssh {node.name}'; its old files are "
            "/var/lib/labkit/before-mend.ifcfg-*.",
        )


def fetch(link: Link, *, by_command: bool) -> tuple[str, str]:
    """Return the answer file and the credentials the controller has; empty for a missing one.

    Args:
        link: The controller.
        by_command: Prefer the answer file that Packstack made up by itself.

    Raises:
        OperationError: The guest's answer makes no sense.
    """
    script = _FETCH.replace("@ANSWERS@", ANSWER_FILE).replace("@KEYSTONERC@", KEYSTONERC)
    script = f"by_command={'yes' if by_command else 'no'}\n{script}"
    result = link.ask(
        lambda c: c.run_script(script, what="fetch the answer file", timeout=FETCH_SECONDS)
    )
    lines = result.stdout.decode("ascii", "replace").splitlines()
    if len(lines) != 2 or not all(line.startswith("file ") for line in lines):  # noqa: PLR2004 -- the two files
        message = f"The files of the deployment could not be read on node '{link.node}'."
        raise OperationError(message, details=tuple(result.stderr.splitlines()[-5:]))
    answers, keystonerc = (
        base64.b64decode(line.removeprefix("file ")).decode("utf-8", "replace") for line in lines
    )
    return answers, keystonerc


def bring_home(session: Session, answers: str, keystonerc: str) -> tuple[Path, ...]:
    """Write answer file and credentials into the lab's directory, for their owner alone."""
    written: list[Path] = []
    for name, text in (("answers.cfg", answers), ("keystonerc_admin", keystonerc)):
        if text:
            target = session.directory.packstack / name
            write_atomically(target, text, mode=0o600)
            written.append(target)
    return tuple(written)


def digest(text: str) -> str:
    """Return the sha256 of a text in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def discover_hosts(session: Session, link: Link) -> None:
    """Let nova put new compute nodes into their cell; those that are there stay.

    Raises:
        OperationError: nova-manage failed.
    """
    with stage(session.progress, link.node, "discovering hosts"):
        result = link.ask(lambda c: c.run_script(DISCOVER, what="nova-manage", timeout=180.0))
        if result.returncode != 0:
            message = "nova-manage could not put the compute nodes into their cell."
            text = result.stderr or result.stdout.decode("utf-8", "replace")
            raise OperationError(message, details=tuple(text.splitlines()[-10:]))


def gather_logs(
    session: Session, links: Mapping[str, Link], run_id: str, secrets: Iterable[str]
) -> Path:
    """Collect the logs of all nodes into `logs/<run>/<node>/` and return that directory.

    A node that does not answer is left out; so nothing here hides the failure that is explained.
    """
    target = session.directory.logs / f"deploy-{run_id}"
    target.mkdir(mode=0o700, exist_ok=True)
    blacked_out = tuple(secrets)

    def one(link: Link) -> str:
        try:
            result = link.once(
                lambda c: c.run_script(
                    gather_script(), what="collect logs", timeout=GATHER_SECONDS
                )
            )
            count = _store(target / link.node, result.stdout, blacked_out)
        except (LabkitError, tarfile.TarError, OSError) as exc:
            log.warning("no logs of node '%s': %s", link.node, exc)
            return f"{link.node}: none ({exc})"
        return f"{link.node}: {count} files"

    with (
        stage(session.progress, "lab", "collecting logs") as current,
        ThreadPoolExecutor(max_workers=len(links)) as pool,
    ):
        current.note = "; ".join(pool.map(one, links.values()))
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
