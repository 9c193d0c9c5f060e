"""What is written down of snapshots: a manifest per snapshot, and a note of a verb under way."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from labkit.errors import UsageError
from labkit.host.files import write_atomically
from labkit.lab.types import Edge
from labkit.state.directory import DeploymentState, read_kept

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"
# No snapshot's name begins with "_": an older labkit put their directories beside this one.
NAMED = "_by-name"


def new_key(name: str) -> str:
    """Return a key for a snapshot of that name that no other has or had."""
    return f"labkit-{name}-{secrets.token_hex(4)}"


def name_in(key: str) -> str:
    """Return the name a snapshot was taken under, from its key."""
    return key.removeprefix("labkit-").rpartition("-")[0]


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

    def manifest(self, name: str) -> Path:
        """Return where the manifest of a snapshot lies."""
        return self.path / NAMED / name / MANIFEST

    def records(self) -> tuple[SnapshotRecord, ...]:
        """Return every snapshot there is, oldest first; not those whose removal has begun.

        Raises:
            OperationError: A manifest or the note of a verb under way is damaged.
        """
        doomed = self._doomed()
        return tuple(record for record in self.published() if record.key not in doomed)

    def published(self) -> tuple[SnapshotRecord, ...]:
        """Return every snapshot that has a manifest, oldest first.

        Raises:
            OperationError: A manifest is damaged.
        """
        return tuple(sorted(self._read(), key=lambda record: (record.created, record.name)))

    def interrupted(self) -> tuple[str, ...]:
        """Return the names of the snapshots whose removal has begun."""
        return tuple(name_in(key) for key in self._doomed())

    def has(self, name: str) -> bool:
        """Return whether there is a snapshot of that name."""
        return any(record.name == name for record in self.records())

    def named(self, name: str) -> SnapshotRecord:
        """Return the snapshot of that name.

        Raises:
            UsageError: There is none; says which there are.
        """
        records = self.records()
        found = next((record for record in records if record.name == name), None)
        if found is None:
            known = ", ".join(f"'{record.name}'" for record in records)
            message = f"The lab has no snapshot '{name}'; it has {known or 'none'}."
            raise UsageError(message, hint="'labkit snapshots' lists them.")
        return found

    def publish(self, record: SnapshotRecord) -> None:
        """Write a manifest, or replace it: from here on the snapshot exists."""
        manifest = self.manifest(record.name)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(manifest, record.model_dump_json(indent=2) + "\n")

    def withdraw(self, name: str) -> None:
        """Remove a manifest: from here on the snapshot does not exist."""
        manifest = self.manifest(name)
        manifest.unlink(missing_ok=True)
        shutil.rmtree(manifest.parent, ignore_errors=True)

    def move_over(self) -> None:
        """Put every snapshot where it belongs: an older labkit kept it one level higher.

        There a snapshot of the name 'current' was in the way of the file of that name.
        """
        for file in self._old_manifests():
            target = self.manifest(file.parent.name).parent
            target.parent.mkdir(exist_ok=True)
            file.parent.rename(target)

    def current(self) -> str:
        """Return the key of the snapshot the lab was last at; empty for none."""
        try:
            return self.current_file.read_text(encoding="utf-8").strip()
        except (FileNotFoundError, IsADirectoryError):
            # A directory: see `move_over`.
            return ""

    def set_current(self, key: str) -> None:
        """Remember the snapshot the lab is at."""
        write_atomically(self.current_file, f"{key}\n")

    def journal(self) -> Journal | None:
        """Return the note of a verb that did not finish; None when all did.

        Raises:
            OperationError: It is damaged.
        """
        hint = (
            f"Remove '{self.journal_file}' and restore a snapshot: what the verb that wrote it left "
            "is not put right otherwise."
        )
        try:
            return read_kept(Journal, self.journal_file, hint=hint)
        except FileNotFoundError:
            return None

    def note(self, journal: Journal) -> None:
        """Write down a verb before it changes anything."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.journal_file, journal.model_dump_json(indent=2) + "\n")

    def done(self) -> None:
        """Remove the note: nothing is left to put right."""
        self.journal_file.unlink(missing_ok=True)

    def _doomed(self) -> tuple[str, ...]:
        journal = self.journal()
        return journal.doomed if journal is not None and journal.verb == "delete" else ()

    def _old_manifests(self) -> list[Path]:
        found = sorted(self.path.glob(f"*/{MANIFEST}"))
        return [file for file in found if file.parent.name != NAMED]

    def _read(self) -> Iterator[SnapshotRecord]:
        for file in (*self._old_manifests(), *self.path.glob(f"{NAMED}/*/{MANIFEST}")):
            hint = (
                f"Put it back from a copy, or remove '{file.parent}' and take the snapshot again."
            )
            yield read_kept(SnapshotRecord, file, hint=hint)
