"""A lab of two nodes on a fake host, for the snapshot verbs."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from labkit.host.libvirt.xml import DomainState
from labkit.snapshots.record import Shelf
from labkit.state.directory import LabDirectory, LabState
from labkit.state.session import Session, host_key
from tests.fakes.libvirt import FakeHost
from tests.fakes.snapshot_guests import FakeGuests
from tests.fakes.tools import tools
from tests.support import labs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.snapshots.members import Fault
    from labkit.state.progress import Event

LAB = labs.lab("controller", "compute")
ONE, TWO = LAB.nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The lab, its host and its guests."""

    host: FakeHost
    guests: FakeGuests
    session: Session
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.session.directory.snapshots)

    def names(self) -> tuple[str, ...]:
        """Return the snapshots that are listed."""
        return tuple(record.name for record in self.shelf.records())

    def states(self) -> tuple[str, ...]:
        """Return what the nodes do, in the lab's order."""
        return tuple(self.host.domains[node.uuid].state.value for node in LAB.nodes)

    def held(self) -> tuple[list[str], ...]:
        """Return the names of the snapshots in each node's image."""
        return tuple(self.host.images[node.uuid] for node in LAB.nodes)

    def keys(self) -> list[str]:
        """Return the keys of the snapshots that are listed."""
        return [record.key for record in self.shelf.records()]

    def whole(self) -> bool:
        """Return whether each listed snapshot is in every image, no other is, and none is noted."""
        return (
            all(sorted(keys) == sorted(self.keys()) for keys in self.held())
            and self.shelf.journal() is None
            and self.host.open == 0
        )

    def left_at(self, step: str, path: Path, verb: Callable[[Fault], object]) -> World:
        """Return the world as it is when a verb is killed at a step; here it goes on."""
        copies: list[World] = []

        def fault(reached: str) -> None:
            # Some steps are reached by every node, at the same time.
            with self.lock:
                if reached == step and not copies:
                    copies.append(self.copy(path))

        verb(fault)
        (left,) = copies
        return left

    def copy(self, path: Path) -> World:
        """Return the world as it is now, apart from this one."""
        shutil.copytree(self.session.directory.path, path)
        host = self.host.copy()
        guests = FakeGuests(host, LAB)
        guests.behind = dict(self.guests.behind)
        session = replace(
            self.session,
            directory=LabDirectory(path),
            tools=tools(connect=host.connect, ssh=guests),
        )
        return World(host=host, guests=guests, session=session)


def failing(number: int, error: Exception) -> Callable[[], None]:
    """Return what raises an error the nth time it is called, whoever calls it."""
    lock, calls = threading.Lock(), [0]

    def action() -> None:
        with lock:
            calls[0] += 1
            due = calls[0] == number
        if due:
            raise error

    return action


class Clock:
    """Tells a later time whenever it is asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = 0.0

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


def world(path: Path, state: DomainState = DomainState.RUNNING) -> World:
    """Return a lab that was brought up, in a directory of that path."""
    host = FakeHost()
    host.add_lab(LAB, state)
    for node in LAB.nodes:
        host.nonces[node.uuid] = f"memory of {node.name}"
    directory = LabDirectory(path)
    directory.create()
    directory.save(LabState(lab=LAB.name, lab_id=LAB.lab_id))
    for node in LAB.nodes:
        private = host_key(directory, node.name)
        private.with_name(f"{private.name}.pub").write_text("ssh-ed25519 AAAA\n", encoding="utf-8")
    guests = FakeGuests(host, LAB)
    session = Session(
        lab=LAB,
        lab_file=path.with_name("lab.yaml"),
        directory=directory,
        progress=_silent,
        tools=tools(connect=host.connect, ssh=guests),
    )
    return World(host=host, guests=guests, session=session)


def _silent(_event: Event) -> None:
    return
