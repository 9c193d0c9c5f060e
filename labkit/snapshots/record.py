"""What is written down of snapshots: a manifest per snapshot, and a note of a verb under way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from pydantic import ValidationError

from labkit.errors import OperationError
from labkit.host.files import write_atomically
from labkit.lab.types import Edge
from labkit.state.directory import DeploymentState

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"


class Kept(StrEnum):
    """What a node did when its snapshot was taken, and does after a restore."""

    RUNNING = "running"
    PAUSED = "paused"
    OFF = "off"


class NicRecord(Edge):
    """A network card: its address on the wire and where the guest finds it."""

    mac: str
    pci: str


class NodeRecord(Edge):
    """One node of a snapshot.

    Attributes:
        state: What it did, and does again after a restore.
        uuid: Its domain.
        domain_xml: The domain's definition, to define it again should it be gone.
        snapshot_xml: libvirt's description of the snapshot, likewise.
        vcpus: Virtual CPUs.
        memory_mib: Memory in MiB.
        nics: Its cards, in definition order.
        disk: Name of the volume that holds disk and memory.
        base: Name of the volume it is based on; empty when it stands alone.
        memory_bytes: Length of the memory kept; 0 for a node that was off.
        grown_bytes: How much longer the volume's file became by the snapshot.
        nonce: SHA-256 of what lay in the guest's memory alone; empty when the guest was not
            reached, or did not run.
    """

    state: Kept
    uuid: UUID
    domain_xml: str
    snapshot_xml: str
    vcpus: int
    memory_mib: int
    nics: tuple[NicRecord, ...]
    disk: str
    base: str
    memory_bytes: int = 0
    grown_bytes: int = 0
    nonce: str = ""

    @property
    def live(self) -> bool:
        """Return whether memory was kept."""
        return self.state is not Kept.OFF


class SnapshotRecord(Edge):
    """The manifest of a snapshot: without it there is none.

    Attributes:
        version: Format of this file.
        key: The snapshot's name in libvirt and in every image; never used twice.
        name: What the user calls it.
        note: Free text of the user.
        created: When it was published, UTC.
        parent: Key of the snapshot the lab was at when this one was taken; empty for none.
        engine: How memory and disk are kept; docs/explanation/snapshot-engine.md has the reasons.
        labkit: The labkit that took it.
        box: The lab's box.
        stage: How far the lab had come, as `LabState.stage` says it.
        deployment: What was known of its deployment, and is again after a restore.
        pause_ms: How long the nodes stood still, from the first pause to the last resume.
        skew_ms: Upper bound of the time between the pauses of any two nodes.
        nodes: By name.
    """

    version: Literal[1] = 1
    key: str
    name: str
    note: str = ""
    created: datetime
    parent: str = ""
    engine: Literal["internal"] = "internal"
    labkit: str
    box: str
    stage: str = ""
    deployment: DeploymentState = DeploymentState()
    pause_ms: float = 0.0
    skew_ms: float = 0.0
    nodes: Mapping[str, NodeRecord]

    @property
    def memory_bytes(self) -> int:
        """Return the memory kept of all nodes."""
        return sum(node.memory_bytes for node in self.nodes.values())

    @property
    def grown_bytes(self) -> int:
        """Return the space the snapshot took in the pool when it was taken."""
        return sum(node.grown_bytes for node in self.nodes.values())


class Journal(Edge):
    """A verb under way; found by the next one, it says what has to be put right.

    Attributes:
        verb: Which; "check" is what a restore does before it touches anything but the pause.
        name: The snapshot's name.
        key: The snapshot being taken or restored.
        doomed: Snapshots to remove: those deleted, or replaced once the new one is published.
        running: Nodes that ran, and have to run again.
    """

    verb: Literal["take", "check", "restore", "delete"]
    name: str = ""
    key: str = ""
    doomed: tuple[str, ...] = ()
    running: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shelf:
    """The lab's directory of snapshots; `path` is `.labkit/<lab>/snapshots`."""

    path: Path

    @property
    def journal_file(self) -> Path:
        """Return where the note of a verb under way lies."""
        return self.path / "journal.json"

    @property
    def current_file(self) -> Path:
        """Return where the key of the snapshot the lab descends from lies."""
        return self.path / "current"

    def records(self) -> tuple[SnapshotRecord, ...]:
        """Return every published snapshot, oldest first.

        Raises:
            OperationError: A manifest is damaged.
        """
        return tuple(sorted(self._read(), key=lambda record: (record.created, record.name)))

    def find(self, name: str) -> SnapshotRecord | None:
        """Return the published snapshot of that name; None when there is none."""
        return next((record for record in self.records() if record.name == name), None)

    def publish(self, record: SnapshotRecord) -> None:
        """Write a manifest, or replace it: from here on the snapshot exists."""
        directory = self.path / record.name
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / MANIFEST, record.model_dump_json(indent=2) + "\n")

    def withdraw(self, name: str) -> None:
        """Remove a manifest: from here on the snapshot does not exist."""
        (self.path / name / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.path / name, ignore_errors=True)

    def current(self) -> str:
        """Return the key of the snapshot the lab was last at; empty for none."""
        try:
            return self.current_file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def set_current(self, key: str) -> None:
        """Remember the snapshot the lab is at."""
        write_atomically(self.current_file, f"{key}\n")

    def journal(self) -> Journal | None:
        """Return the note of a verb that did not finish; None when all did.

        Raises:
            OperationError: It is damaged.
        """
        try:
            text = self.journal_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return Journal.model_validate_json(text)
        except ValidationError as exc:
            raise _unreadable(self.journal_file, exc) from exc

    def note(self, journal: Journal) -> None:
        """Write down a verb before it changes anything."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.journal_file, journal.model_dump_json(indent=2) + "\n")

    def done(self) -> None:
        """Remove the note: nothing is left to put right."""
        self.journal_file.unlink(missing_ok=True)

    def _read(self) -> Iterator[SnapshotRecord]:
        for file in sorted(self.path.glob(f"*/{MANIFEST}")):
            try:
                yield SnapshotRecord.model_validate_json(file.read_text(encoding="utf-8"))
            except ValidationError as exc:
                raise _unreadable(file, exc) from exc


def _unreadable(file: Path, exc: ValidationError) -> OperationError:
    message = f"The file '{file}' cannot be read."
    return OperationError(
        message,
        details=tuple(f"{item['loc']}: {item['msg']}" for item in exc.errors()),
        hint=f"Put it back from a copy, or remove '{file.parent}' and take the snapshot again.",
    )
