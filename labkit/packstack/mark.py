"""Marking the beginning of a run on every node, once nothing of an earlier run works there."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.host import ssh
from labkit.packstack.detached import RUNS
from labkit.state.progress import stage
from labkit.waiting import AGENT_READY, Deadline, NotYet, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from labkit.packstack.connection import NodeConnection
    from labkit.state.progress import Progress
    from labkit.waiting import Clock

# Newer than every log of an earlier run.
MARK = str(RUNS / "labkit-packstack.mark")
# The command line of a Puppet run, by itself or by its interpreter; that of an editor or a pager of
# some "puppet apply" is none.
PUPPET_RUN = r"^([^ ]*/)?((ruby|bash|sh)[^ ]* (-[^ ]+ )*([^ ]*/)?)?puppet apply( |$)"
# Prints the oldest Puppet run's process while there is one; pgrep says with 1 that there is none.
_SCRIPT = f"""\
process=$(pgrep -o -f {shlex.quote(PUPPET_RUN)})
case $? in
  0) echo "$process" ;;
  1) mkdir -p -m 0700 {RUNS} && touch {shlex.quote(MARK)} ;;
  *) exit 1 ;;
esac
"""
# A controller's manifest takes half of that on a machine as large as Packstack wants it.
PUPPET_SECONDS = 3600.0


def mark(
    connections: Collection[NodeConnection],
    *,
    progress: Progress,
    cancelled: Callable[[], bool],
    clock: Clock,
) -> None:
    """Leave a file on every node by which the logs of the coming run are told from older ones.

    A node where Puppet still works for an earlier run is waited for: Packstack leaves it alone when
    another node fails or itself is ended, and two at once would stand in each other's way.

    Raises:
        OperationError: A node could not write it; details say why.
        WaitTimeout: A node could not be reached, or Puppet did not end there.
        WaitCancelled: `cancelled` said so.
    """

    def one(connection: NodeConnection) -> None:
        try:
            _mark(connection)
        except NotYet:
            with stage(progress, connection.node, "end of an earlier Puppet run"):
                wait_until(
                    lambda: _mark(connection),
                    what=f"Puppet of an earlier run on node '{connection.node}' to end",
                    deadline=Deadline.after(PUPPET_SECONDS, clock),
                    policy=AGENT_READY,
                    cancelled=cancelled,
                )

    with ThreadPoolExecutor(max_workers=len(connections)) as pool:
        list(pool.map(one, connections))


def _mark(connection: NodeConnection) -> None:
    result = connection.ask(
        lambda c: c.run_script(_SCRIPT, what="mark the beginning", timeout=ssh.ANSWER_SECONDS)
    )
    if result.returncode != 0:
        message = f"Node '{connection.node}' cannot write '{MARK}'."
        raise OperationError(message, details=tuple(result.stderr.splitlines()[-5:]))
    if process := result.stdout.strip().decode("ascii", "replace"):
        msg = (
            f"process {process} is still there; "
            f"'labkit ssh {connection.node} -- sudo kill {process}' ends it"
        )
        raise NotYet(msg)
