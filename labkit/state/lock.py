"""One labkit at a time on a lab: the lock, and who holds it."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from labkit.errors import OperationError
from labkit.state.directory import unwritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.state.directory import LabDirectory


class LabInUseError(OperationError):
    """Another labkit is working on the lab."""


@contextmanager
def lab_lock(directory: LabDirectory, verb: str) -> Iterator[None]:
    """Hold the lab for one changing verb; the kernel frees it when the process dies.

    Raises:
        HostError: The lab's directory cannot be made.
        LabInUseError: Another labkit holds it; names its verb, pid and start time.
    """
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise unwritable(directory.path, exc) from exc
    holder = directory.path / "lock.holder"
    lock = FileLock(directory.path / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as exc:
        msg = f"Another labkit is working on the lab '{directory.path.name}'."
        raise LabInUseError(
            msg,
            details=(_describe_holder(holder),),
            hint="Wait until it is done, or end it, and run this command again.",
        ) from exc
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder.write_text(
            json.dumps({"pid": os.getpid(), "verb": verb, "since": since}), encoding="utf-8"
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _describe_holder(holder: Path) -> str:
    try:
        known = json.loads(holder.read_text(encoding="utf-8"))
        return f"'labkit {known['verb']}', process {known['pid']}, since {known['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"its lock is '{holder.with_name('lock')}'"
