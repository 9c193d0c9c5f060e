"""The same step on every node at once, each on a libvirt connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from labkit.errors import LabkitError, OperationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

T = TypeVar("T")
Fault = Callable[[str], None]


def no_fault(_step: str) -> None:
    """Let every step pass; tests pass something that does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node and the connection its step may use."""

    node: ResolvedNode
    hypervisor: Hypervisor


def side_by_side(
    session: Session, nodes: Sequence[ResolvedNode], work: Callable[[Member], T], *, doing: str
) -> dict[str, T]:
    """Run one step on every node at once, wait for all of them, and return what each returned.

    Args:
        session: The lab.
        nodes: The nodes.
        work: The step.
        doing: Completes "could not ...", for the error: `save every node`.

    Raises:
        LabkitError: It failed on a node; on several, one error lists them all.
    """

    def one(node: ResolvedNode) -> T:
        # Opening takes a few milliseconds, and survives a libvirtd that was restarted meanwhile.
        with session.tools.connect() as hypervisor:
            return work(Member(node=node, hypervisor=hypervisor))

    if not nodes:
        return {}
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        started = [(node.name, pool.submit(one, node)) for node in nodes]
    results: dict[str, T] = {}
    errors: dict[str, LabkitError] = {}
    for name, future in started:
        error = future.exception()
        if error is None:
            results[name] = future.result()
        elif isinstance(error, LabkitError):
            errors[name] = error
        else:
            raise error
    if errors:
        raise joined(errors, doing)
    return results


def joined(errors: dict[str, LabkitError], doing: str) -> LabkitError:
    """Return one error for those of several nodes: of their kind when they are of one kind."""
    details = tuple(
        line
        for name, error in errors.items()
        for line in (f"{name}: {error.message}", *(f"  {detail}" for detail in error.details))
    )
    first = next(iter(errors.values()))
    alike = {type(error) for error in errors.values()} == {type(first)}
    kind = type(first) if alike else OperationError
    return kind(f"labkit could not {doing}.", details=details, hint=first.hint)
