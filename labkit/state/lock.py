"""One labkit at a time on a lab: the lock, and who holds it."""

from __future__ import annotations

import json
import logging
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from labkit.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.state.directory import LabDirectory

log = logging.getLogger(__name__)

TRIES = 5


class LabInUseError(OperationError):
    """Another labkit is working on the lab."""


@contextmanager
def lab_lock(directory: LabDirectory, verb: str) -> Iterator[None]:
    """Hold the lab for one changing verb; the kernel frees it when the process dies.

    Nobody is waited for. A lab of which nothing is there at the end, because it was destroyed or
    the verb refused, keeps no directory.

    Raises:
        OSError: The lab's directory or the lock cannot be made.
        LabInUseError: Another labkit holds it; names its verb, pid and start time.
    """
    holder = directory.path / "lock.holder"
    lock = _acquired(directory, holder)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note = json.dumps({"pid": os.getpid(), "verb": verb, "since": since})
    try:
        _tell(holder, note)
        log.debug("holding the lab '%s' for 'labkit %s'", directory.path, verb)
        yield
    finally:
        _withdraw(holder)
        directory.remove_if_bare()
        lock.release()


def _acquired(directory: LabDirectory, holder: Path) -> FileLock:
    lock = FileLock(directory.lock, timeout=0)
    tries = TRIES
    while True:
        tries -= 1
        try:
            directory.make()
            lock.acquire()
        except FileNotFoundError:
            # Another labkit has just removed the directory: it destroyed the lab that was here.
            if not tries:
                raise
        except Timeout as exc:
            msg = f"Another labkit is working on the lab '{directory.path.name}'."
            raise LabInUseError(
                msg,
                details=(_describe_holder(holder),),
                hint="Wait until it is done, or end it, and run this command again.",
            ) from exc
        else:
            return lock


def _tell(holder: Path, note: str) -> None:
    try:
        holder.write_text(note, encoding="utf-8")
    except OSError as exc:
        # A full disk: the lab is held all the same, and 'destroy' may be what frees some.
        log.warning("nobody is told who holds the lab: %s", exc)


def _withdraw(holder: Path) -> None:
    try:
        holder.unlink(missing_ok=True)
    except OSError as exc:
        log.warning("the note '%s' stays: %s", holder, exc)


def _describe_holder(holder: Path) -> str:
    try:
        known = json.loads(holder.read_text(encoding="utf-8"))
        return f"'labkit {known['verb']}', process {known['pid']}, since {known['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"its lock is '{holder.with_name('lock')}'"
