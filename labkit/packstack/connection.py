"""A session with a node that is made anew, over whichever card answers, whenever it broke."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self, TypeVar

from labkit.host import ssh
from labkit.waiting import SSH_CONNECT, Deadline, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

log = logging.getLogger(__name__)

T = TypeVar("T")

# Packstack takes the first card away for seconds; a switch, a suspend or a reboot for minutes.
LOST_SECONDS = 900.0
# For a question whose answer is that the node cannot be reached.
SOON_SECONDS = 60.0


class NodeConnection:
    """Asks a node again and again, through lost sessions; a context manager.

    Attributes:
        node: The node's name.
        outages: How many times a session broke or could not be made.
    """

    def __init__(
        self,
        endpoint: ssh.Endpoint,
        *,
        cancelled: Callable[[], bool],
        lost_seconds: float = LOST_SECONDS,
        connect: Callable[[ssh.Endpoint], ssh.Connection],
    ) -> None:
        self.node = endpoint.node
        self.outages = 0
        self._endpoint = endpoint
        self._cancelled = cancelled
        self._lost_seconds = lost_seconds
        self._connect = connect
        self._open: ssh.Connection | None = None

    def __enter__(self) -> Self:
        """Return the connection; the session is made when it is needed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session."""
        self._drop()

    def ask(self, question: Callable[[ssh.Connection], T], *, within: float | None = None) -> T:
        """Return the node's answer, however many sessions that takes.

        Args:
            question: Asks over the session it is given. It is asked again after a lost
                session, so asking twice must be the same as asking once.
            within: Seconds to try for; `lost_seconds` when None.

        Raises:
            WaitTimeout: The node could not be reached for that long; says on which layer.
            WaitCancelled: The caller's `cancelled` said so.
            WrongHostKeyError: Something else answers at the node's address.
        """
        return wait_until(
            lambda: self._once(question),
            what=f"node '{self.node}' to be reachable over SSH",
            deadline=Deadline.after(self._lost_seconds if within is None else within),
            policy=SSH_CONNECT,
            retry_on=(ssh.NotReachableError,),
            cancelled=self._cancelled,
        )

    def once(self, order: Callable[[ssh.Connection], T], *, within: float | None = None) -> T:
        """Return the node's answer to something that must not be asked twice.

        The session is made as in `ask`, within as many seconds; if it breaks after that, so does
        this.

        Raises:
            NotReachableError: The session broke while it was asked.
        """
        self.ask(lambda c: c.run("true", timeout=ssh.ANSWER_SECONDS), within=within)
        return self._once(order)

    def run_script(self, script: str, *, what: str, timeout: float) -> ssh.ScriptResult:
        """Run a script as root that may be run twice, as `ssh.Connection` does.

        Raises:
            WaitTimeout: The node could not be reached for a minute.
        """
        return self.ask(
            lambda c: c.run_script(script, what=what, timeout=timeout), within=SOON_SECONDS
        )

    def renew(self) -> None:
        """Forget the session: a node that is being restarted leaves one behind that never ends."""
        self._drop()

    def _once(self, question: Callable[[ssh.Connection], T]) -> T:
        try:
            if self._open is None:
                self._open = self._connect(self._endpoint)
            return question(self._open)
        except ssh.NotReachableError as exc:
            self.outages += 1
            log.info("lost node '%s': %s %s", self.node, exc.message, exc.details)
            self._drop()
            raise

    def _drop(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
