"""Which labs this user has on this host: a record of each, outside the directories they live in."""

from __future__ import annotations

import logging
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID  # noqa: TC003 -- pydantic reads the annotations

from platformdirs import user_state_path
from pydantic import ValidationError

from labkit.host.files import home_directory, utf8, write_atomically
from labkit.lab.types import Edge
from labkit.state.directory import LabDirectory, LabState

log = logging.getLogger(__name__)


class Record(Edge):
    """What is known of a lab when its directory is gone.

    Attributes:
        version: Format of this file.
        directory: The lab's directory.
        state: Its state when it was last brought up: what it has claimed, and its end.
    """

    version: Literal[1] = 1
    directory: Path
    state: LabState


@dataclass(frozen=True, slots=True)
class Registry:
    """The records, one file per lab; `path` is a directory of the user's own.

    A record is a help, not a promise: a lab whose record cannot be written comes up all the same.
    """

    path: Path

    def enter(self, directory: LabDirectory, state: LabState) -> None:
        """Write a lab down, or anew."""
        record = Record(directory=directory.path, state=state)
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(self._file(state.lab_id), record.model_dump_json(indent=2) + "\n")
        except OSError as exc:
            log.warning("the lab is not on record in '%s': %s", self.path, exc)

    def forget(self, lab_id: UUID) -> None:
        """Remove a lab's record, and what a killed removal may have left of a lent directory."""
        shutil.rmtree(self._lent(lab_id), ignore_errors=True)
        try:
            self._file(lab_id).unlink(missing_ok=True)
        except OSError as exc:
            log.warning("the record '%s' stays: %s", self._file(lab_id), exc)

    def find(self, lab_id: UUID) -> Record | None:
        """Return a lab's record; None when there is none that can be read."""
        return self._read(self._file(lab_id))

    def records(self) -> tuple[tuple[Record, ...], tuple[Path, ...]]:
        """Return all records by the labs' names, and the files that are none."""
        found = {file: self._read(file) for file in sorted(self.path.glob("*.json"))}
        known = (record for record in found.values() if record is not None)
        damaged = (file for file, record in found.items() if record is None and file.exists())
        by_name = sorted(known, key=lambda each: (each.state.lab, str(each.directory)))
        return tuple(by_name), tuple(damaged)

    def stand_in_directory(self, record: Record) -> LabDirectory:
        """Make a directory for a lab that has lost its own, so that it can be removed."""
        directory = LabDirectory(self._lent(record.state.lab_id))
        directory.create()
        directory.save(record.state)
        return directory

    def _file(self, lab_id: UUID) -> Path:
        return self.path / f"{lab_id}.json"

    def _lent(self, lab_id: UUID) -> Path:
        return self.path / "orphans" / str(lab_id)

    def _read(self, file: Path) -> Record | None:
        try:
            return Record.model_validate_json(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, ValidationError) as exc:
            log.warning("the record '%s' cannot be read: %s", file, exc)
            return None


def user_registry() -> Registry:
    """Return the registry of the user this process belongs to, for this host.

    It lies below XDG_STATE_HOME. Homes are shared between hosts, labs are not: what one host has
    on record must not be looked for on another.
    """
    place = utf8(home_directory(lambda: user_state_path("labkit")))
    return Registry(place / "labs" / (platform.node() or "localhost"))
