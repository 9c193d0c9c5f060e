"""The output of a run in a guest, printed as it is there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.lab import deployment
from labkit.packstack import detached
from labkit.packstack.connection import NodeConnection
from labkit.packstack.detached import RunSample, RunState
from labkit.packstack.prepare import PREPARE
from labkit.packstack.run import PACKSTACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.packstack.detached import Job
    from labkit.state.session import Session

JOBS = {"deploy": PACKSTACK, "prepare": PREPARE}
# For somebody who looks: a node that is away is worth an answer soon.
LOST_SECONDS = 30.0


def print_log(
    session: Session,
    job: Job,
    *,
    node: str | None,
    follow: bool,
    write: Callable[[bytes], None],
) -> None:
    """Print a run's output; with `follow` until the run is over.

    Args:
        session: The lab; its lock is not needed.
        job: Which run.
        node: Of which node; the controller when None.
        follow: Whether to wait for more.
        write: Takes the output, piece by piece.

    Raises:
        UsageError: The lab has no such node.
        OperationError: The node never had such a run.
        WaitTimeout: The node cannot be reached.
    """
    chosen = session.node(node) if node else deployment.controller(session.lab)
    with NodeConnection(
        session.endpoint(chosen),
        cancelled=session.cancelled.is_set,
        lost_seconds=LOST_SECONDS,
        connect=session.tools.ssh,
    ) as connection:
        first = connection.ask(partial(detached.sample, job=job, offset=0))
        if first.state is RunState.NONE:
            message = f"Node '{chosen.name}' never had a run '{job.unit}'."
            raise OperationError(message, hint="Run 'labkit deploy' first.")
        if follow:
            detached.follow(
                connection,
                job,
                receive=lambda seen: write(seen.output),
                pause=session.cancelled.wait,
            )
        else:
            _print_once(connection, job, first, write)


def _print_once(
    connection: NodeConnection, job: Job, first: RunSample, write: Callable[[bytes], None]
) -> None:
    write(first.output)
    offset = len(first.output)
    # Up to where it was when the command was given; it may grow faster than it is printed.
    while offset < first.size:
        more = connection.ask(partial(detached.sample, job=job, offset=offset)).output
        write(more)
        offset += len(more)
