"""What a snapshot needs and whether it may be taken, and how a list of them hangs together; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import HostError, OperationError, UsageError
from labkit.host.libvirt.xml import DomainInfo, DomainState
from labkit.snapshots.record import Kept, SnapshotRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
NOTE_LENGTH = 200
# The tables qcow2 adds per snapshot, and device state, beside the memory itself.
TABLE_BYTES = 8 * 2**20
# What a guest may write between the question and the pause.
MARGIN = 1.05

_KEPT = {
    DomainState.RUNNING: Kept.RUNNING,
    DomainState.BLOCKED: Kept.RUNNING,
    DomainState.PAUSED: Kept.PAUSED,
    DomainState.SHUTOFF: Kept.OFF,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSeen:
    """A node as it is before its snapshot.

    Attributes:
        name: Its name.
        domain: Its domain; None when it was never made or is gone.
        resident_bytes: Host memory its QEMU holds; 0 while it is off.
    """

    name: str
    domain: DomainInfo | None
    resident_bytes: int = 0

    @property
    def memory_bytes(self) -> int:
        """Return the most memory its snapshot can hold: what its guest touched, at most all."""
        if self.domain is None or self.domain.state is DomainState.SHUTOFF:
            return 0
        return min(self.resident_bytes, self.domain.memory_mib * 2**20)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakePlan:
    """What `snapshot` does.

    Attributes:
        name: The snapshot's name.
        nodes: Every node and what it does.
        replaced: The snapshot of that name which goes once the new one is complete.
        needed_bytes: Estimate of the space it takes.
        free_bytes: Space the pool has; None when it is not active and cannot say.
    """

    name: str
    nodes: tuple[tuple[str, Kept], ...]
    replaced: SnapshotRecord | None
    needed_bytes: int
    free_bytes: int | None


def check_note(note: str) -> None:
    """Require one printable line of moderate length.

    Raises:
        UsageError: It is not.
    """
    if len(note) > NOTE_LENGTH or not (note.isprintable() or note == ""):
        message = f"A note is one printable line of at most {NOTE_LENGTH} characters."
        raise UsageError(message)


# What Vagrant's and virsh's users type after 'snapshot', and the command that does it here.
_SAVE, _REMOVE, _RESTORE = (
    "labkit snapshot {}",
    "labkit snapshot --delete {}",
    "labkit restore {}",
)
HABITS = {
    "list": "labkit snapshots",
    "show": "labkit snapshots",
    **dict.fromkeys(("save", "push", "take", "create"), _SAVE),
    **dict.fromkeys(("delete", "remove", "rm"), _REMOVE),
    **dict.fromkeys(("pop", "restore", "revert", "apply"), _RESTORE),
}


def require_one_name(words: Sequence[str]) -> None:
    """Refuse what a habit of another tool makes of a snapshot's name: `save x`, or `list` alone.

    Raises:
        UsageError: The first word is such a habit, or there are several words.
    """
    meant = HABITS.get(words[0]) if words else None
    if meant is None and len(words) < 2:  # noqa: PLR2004 -- one name
        return
    if meant is not None:
        message = f"'{words[0]}' is not taken for a snapshot's name: other tools have a verb of that name."
        hint = f"Run '{meant.format(' '.join(words[1:2]) or 'NAME')}'."
    else:
        message = f"A snapshot has one name; found {len(words)} words: {', '.join(words)}."
        hint = "Join them by '-'."
    raise UsageError(message, hint=hint)


def to_replace(
    name: str, records: Sequence[SnapshotRecord], *, replace: bool
) -> SnapshotRecord | None:
    """Return the snapshot that a new one of that name takes the place of; None for none.

    Raises:
        UsageError: The name is none.
        OperationError: It is taken, and nothing is to be replaced.
    """
    # A plain name of a directory, and of a snapshot in libvirt and QEMU.
    if NAME.fullmatch(name) is None:
        message = (
            f"'{name}' is no name for a snapshot; expected 1 to 40 of the characters A-Z, a-z, "
            "0-9, '.', '_', '-', the first a letter or digit."
        )
        raise UsageError(message)
    known = next((record for record in records if record.name == name), None)
    if known is not None and not replace:
        message = f"A snapshot '{name}' exists already, taken {known.created:%Y-%m-%d %H:%M} UTC."
        raise OperationError(
            message, hint="Choose another name, or add --replace to put a new one in its place."
        )
    return known


def plan_take(
    name: str,
    seen: Sequence[NodeSeen],
    records: Sequence[SnapshotRecord],
    *,
    free_bytes: int | None,
    replace: bool,
) -> TakePlan:
    """Decide whether and how a snapshot is taken.

    Raises:
        UsageError: The name is none.
        HostError: The pool has too little space.
        OperationError: The name is taken, or a node is in no state to be kept.
    """
    known = to_replace(name, records, replace=replace)
    problems = tuple(line for node in seen for line in _unfit(node))
    if problems:
        message = "Not every node is in a state that can be kept."
        raise OperationError(message, details=problems, hint="Run 'labkit up', then try again.")
    needed = int(sum(node.memory_bytes for node in seen) * MARGIN) + TABLE_BYTES * len(seen)
    if free_bytes is not None and free_bytes < needed:
        message = (
            f"The snapshot '{name}' needs about {needed // 2**20} MiB, and the storage pool has "
            f"{free_bytes // 2**20} MiB free; nothing was paused."
        )
        raise HostError(
            message,
            details=tuple(f"{node.name}: {node.memory_bytes // 2**20} MiB" for node in seen),
            hint="'labkit snapshots' shows what each costs; 'labkit snapshot --delete NAME' "
            "frees one's space for the next.",
        )
    return TakePlan(
        name=name,
        nodes=tuple(
            (node.name, _KEPT[node.domain.state]) for node in seen if node.domain is not None
        ),
        replaced=known,
        needed_bytes=needed,
        free_bytes=free_bytes,
    )


def _unfit(node: NodeSeen) -> tuple[str, ...]:
    if node.domain is None:
        return (f"{node.name}: it does not exist",)
    if node.domain.state not in _KEPT:
        return (f"{node.name}: it is {node.domain.state.value}; expected running, paused or off",)
    if node.domain.has_managed_save:
        remedy = f"'virsh managedsave-remove {node.domain.name}'"
        return (f"{node.name}: a saved memory image waits for it; remove it with {remedy}",)
    return ()


def tree(records: Sequence[SnapshotRecord]) -> tuple[tuple[SnapshotRecord, int], ...]:
    """Return the snapshots, each with the number of those above it.

    Parents come first and their children below them, each group by age.
    """
    known = {record.key for record in records}
    found: list[tuple[SnapshotRecord, int]] = []
    waiting = [(record, 0) for record in records if record.parent not in known][::-1]
    while waiting:
        record, depth = waiting.pop()
        found.append((record, depth))
        children = [child for child in records if child.parent == record.key]
        waiting += [(child, depth + 1) for child in children][::-1]
    return tuple(found)


def reparented(
    records: Sequence[SnapshotRecord], gone: SnapshotRecord, heir: str
) -> tuple[SnapshotRecord, ...]:
    """Return the children of a snapshot that goes, given to another parent."""
    return tuple(
        record.model_copy(update={"parent": heir})
        for record in records
        if record.parent == gone.key
    )
