"""A lab's nodes during one verb, each with a libvirt connection of its own, and steps on all at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from labkit.errors import HostError, LabkitError, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Future

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

T = TypeVar("T")
Fault = Callable[[str], None]


def no_fault(_step: str) -> None:
    """Let every step pass; tests pass something that does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node, the storage pool of its lab, and the connection its step may use."""

    node: ResolvedNode
    pool: str
    hypervisor: Hypervisor


class Members(AbstractContextManager["Members"]):
    """The nodes of a lab and their connections, which a verb opens once, when it needs them.

    A step that finds its connection lost, because libvirtd was restarted since the last one,
    opens it anew. A step is never done twice.

    Attributes:
        session: The lab.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._most = len(session.lab.nodes)
        self._open: dict[str, Hypervisor] = {}

    def __exit__(self, *_error: object) -> None:
        """Close every connection."""
        for hypervisor in self._open.values():
            hypervisor.close()

    def hypervisor(self) -> Hypervisor:
        """Return the connection for what concerns the lab as a whole, asked for once more per step.

        Raises:
            HostError: libvirtd does not answer.
        """
        return self._answering("")

    def side_by_side(
        self, nodes: Iterable[ResolvedNode], work: Callable[[Member], T], *, doing: str
    ) -> dict[str, T]:
        """Run one step on every node at once, wait for all, and return what each returned.

        Args:
            nodes: The nodes.
            work: The step.
            doing: Completes "could not ...", for the error: `save every node`.

        Raises:
            LabkitError: It failed on a node; on several, one error lists them all.
        """
        # The wait is inside, so that leaving it after Ctrl-C waits once more: no step goes on beside
        # what then puts things right.
        with ThreadPoolExecutor(max_workers=self._most) as threads:
            started = {
                node.name: threads.submit(lambda each: work(self._reached(each)), node)
                for node in nodes
            }
            return _results(started, doing)

    def at_once(
        self, nodes: Iterable[ResolvedNode], work: Callable[[Member], T], *, doing: str
    ) -> dict[str, T]:
        """Run one step on every node at once, as soon as the connections of all of them answer.

        Where one does not answer, the step is done on none: nothing waits for it in vain.

        Raises:
            LabkitError: As `side_by_side`.
        """
        with ThreadPoolExecutor(max_workers=self._most) as threads:
            reached = {node.name: threads.submit(self._reached, node) for node in nodes}
            ready = _results(reached, doing)
            started = {name: threads.submit(work, member) for name, member in ready.items()}
            return _results(started, doing)

    def _reached(self, node: ResolvedNode) -> Member:
        pool = self.session.lab.pool
        return Member(node=node, pool=pool, hypervisor=self._answering(node.name))

    def _answering(self, name: str) -> Hypervisor:
        kept = self._open.get(name)
        if kept is not None:
            try:
                # The cheapest of questions: a lost connection shows only when it is used.
                kept.domain_state(self.session.lab.nodes[0].uuid)
            except HostError:
                del self._open[name]
                kept.close()
            else:
                return kept
        return self._open.setdefault(name, self.session.tools.connect())


def _results(started: Mapping[str, Future[T]], doing: str) -> dict[str, T]:
    errors = [error for future in started.values() if (error := future.exception()) is not None]
    expected = [error for error in errors if isinstance(error, LabkitError)]
    for error in errors:
        if not isinstance(error, LabkitError):
            for other in expected:
                error.add_note(f"beside it: {other.message}")
            raise error
    if expected:
        raise joined(expected, f"labkit could not {doing}.")
    return {name: future.result() for name, future in started.items()}
