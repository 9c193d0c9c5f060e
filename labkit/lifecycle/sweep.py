"""`sweep`: remove the labs whose time is over and, when asked, those whose directory is gone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from labkit.errors import LabkitError
from labkit.host.inventory import look
from labkit.lifecycle.plan import possessions
from labkit.lifecycle.stages import told
from labkit.lifecycle.teardown import destroy_by_name
from labkit.state.directory import LabDirectory
from labkit.state.lock import LabInUseError
from labkit.state.progress import LAB, Event, Phase

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.lifecycle.plan import Possessions
    from labkit.state.directory import LabState
    from labkit.state.progress import Progress
    from labkit.state.registry import Record, Registry
    from labkit.state.tools import Tools

log = logging.getLogger(__name__)

ORPHAN_HINT = "its directory is gone; 'labkit sweep --orphans' removes it"


class Standing(StrEnum):
    """What is to be said of a lab on record."""

    KEPT = "kept"  # its time is not over, or it has no end
    EXPIRED = "expired"
    ORPHANED = "orphaned"  # its directory is gone, what it has on the host is not
    VANISHED = "vanished"  # nothing of it is left but its record


class _ChangedError(LabkitError):
    """The lab is no longer what it was when it was judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """A lab on record, and what became of it.

    Attributes:
        lab: Its name.
        directory: Its directory.
        expires: When its time is over; None for never.
        standing: What was found.
        removed: Whether it was removed; for a dry run whether it would be.
        failed: Whether it should have been removed and could not.
        result: The same in words.
    """

    lab: str
    directory: Path
    expires: datetime | None
    standing: Standing
    removed: bool
    failed: bool
    result: str

    def as_json(self) -> dict[str, object]:
        """Return it as plain data for `json.dumps`."""
        return {
            "lab": self.lab,
            "directory": str(self.directory),
            "expires": self.expires.isoformat(timespec="seconds") if self.expires else None,
            "verdict": self.standing.value,
            "removed": self.removed,
            "failed": self.failed,
            "result": self.result,
        }


def judge(state: LabState, *, now: datetime, here: bool, things: int) -> Standing:
    """Decide about a lab.

    Args:
        state: The lab's state.
        now: The present.
        here: Whether the lab still has its directory.
        things: How many domains, networks and volumes it has on the host.
    """
    if not here:
        return Standing.ORPHANED if things else Standing.VANISHED
    if state.expires is not None and state.expires <= now:
        return Standing.EXPIRED
    return Standing.KEPT


def sweep(
    registry: Registry,
    progress: Progress,
    *,
    tools: Tools,
    orphans: bool = False,
    dry_run: bool = False,
) -> tuple[Swept, ...]:
    """Judge every lab on record, one after another, and remove what is to go.

    A lab that cannot be removed keeps no other from being removed.

    Args:
        registry: Which labs there are.
        progress: Told of every stage of a removal.
        tools: libvirt and Vagrant.
        orphans: Also remove labs whose directory is gone. It may only have been moved, or be on a
            disk that is not mounted, so this is not done unasked.
        dry_run: Only say what would be done.

    Raises:
        HostError: libvirtd does not answer.
    """
    records, _ = registry.records()
    found = []
    for record in records:
        here = state_in_directory(record)
        state = here or record.state
        things = _things(state, tools)
        work = Sweeping(
            registry=registry,
            progress=progress,
            record=record,
            state=state,
            standing=judge(
                state, now=datetime.now(UTC), here=here is not None, things=len(things)
            ),
            things=things,
            tools=tools,
        )
        found.append(work.run(orphans=orphans, dry_run=dry_run))
    return tuple(found)


def state_in_directory(record: Record) -> LabState | None:
    """Return the lab's state in its directory; None when this very lab is not there.

    Where the file is damaged the lab is there all the same, as it is on record; a directory that
    cannot be reached counts as gone, because then nothing is removed unasked.
    """
    directory = LabDirectory(record.directory)
    try:
        if not directory.state_file.exists():
            return None
        state = directory.load(record.state.lab)
    except OSError as exc:
        log.warning("'%s' cannot be reached: %s", directory.path, exc)
        return None
    except LabkitError as exc:
        log.warning("%s", exc.message)
        return record.state
    return state if state.lab_id == record.state.lab_id else None


def _things(state: LabState, tools: Tools) -> tuple[str, ...]:
    with tools.connect() as hypervisor:
        owned = possessions(None, state, look(hypervisor, state.pool, define_pool=False))
    return owned.describe()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeping:
    """What is done about one lab.

    Attributes:
        registry: Where it is on record.
        progress: Told of every stage.
        record: What is on record of it.
        state: Its state, by which it was judged.
        standing: What was found.
        things: What it has on the host, one line each.
        tools: libvirt and Vagrant.
    """

    registry: Registry
    progress: Progress
    record: Record
    state: LabState
    standing: Standing
    things: tuple[str, ...]
    tools: Tools

    def run(self, *, orphans: bool, dry_run: bool) -> Swept:
        """Remove it if it is to go, and say what became of it; nothing is raised."""
        spared = {Standing.KEPT: "kept", Standing.ORPHANED: "" if orphans else ORPHAN_HINT}
        reason = spared.get(self.standing)
        if reason:
            return self._said(reason)
        if dry_run:
            return self._said(f"would remove {_count(self.things)}", removed=True)
        if self.standing is Standing.VANISHED:
            self.registry.forget(self.state.lab_id)
            return self._said(f"removed {_count(())}", removed=True)
        return self._removed()

    def _removed(self) -> Swept:
        try:
            owned = self._remove()
        except LabInUseError as exc:
            return self._said(f"left alone: {' '.join(exc.details)} is working on it")
        except _ChangedError as exc:
            return self._said(exc.message)
        except LabkitError as exc:
            log.warning("%s %s", exc.message, exc.details)
            return self._said(" ".join((exc.message, *exc.details)), failed=True)
        except OSError as exc:
            log.warning("not swept", exc_info=True)
            return self._said(told(exc).replace("\n", " "), failed=True)
        return self._said(f"removed {_count(owned.describe())}", removed=True)

    def _remove(self) -> Possessions:
        name = self.state.lab
        self.progress(Event(node=LAB, stage=f"sweeping '{name}'", phase=Phase.STARTED))
        if self.standing is Standing.EXPIRED:
            directory = LabDirectory(self.record.directory)
        else:
            directory = self.registry.stand_in_directory(self.record)
        return destroy_by_name(
            name,
            directory,
            self.progress,
            registry=self.registry,
            tools=self.tools,
            once_held=self._require_unchanged,
        )

    def _require_unchanged(self) -> None:
        if self.standing is Standing.EXPIRED:
            same = state_in_directory(self.record) == self.state
        else:
            same = self.registry.find(self.state.lab_id) == self.record
        if not same:
            message = "left alone: it changed meanwhile"
            raise _ChangedError(message)

    def _said(self, result: str, *, removed: bool = False, failed: bool = False) -> Swept:
        return Swept(
            lab=self.state.lab,
            directory=self.record.directory,
            expires=self.state.expires,
            standing=self.standing,
            removed=removed,
            failed=failed,
            result=result,
        )


def _count(things: tuple[str, ...]) -> str:
    if not things:
        return "its record; nothing else was left"
    return f"{len(things)} thing{'' if len(things) == 1 else 's'}"
