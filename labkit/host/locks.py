"""Waiting for another labkit: with a word about who it is, an end, and a way out."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import HostError, OperationError
from labkit.waiting import Deadline, NotYet, Policy, WaitCancelled, WaitTimeout, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLICY = Policy(tick=0.1, growth=1.5, ceiling=1.0)
TOLD_SECONDS = 30.0
_PROC = Path("/proc")
_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EROFS}
# What a file system without locks answers, and NFS to a lock on a file that is only read.
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS}


@contextmanager
def held(
    path: Path,
    *,
    doing: str,
    seconds: float,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
    told_every: float = TOLD_SECONDS,
    make: bool = True,
) -> Iterator[None]:
    """Hold the lock of a file; of several processes and threads one at a time does.

    The lock of a file that can only be read works too: a cache may be another user's.

    Args:
        path: The file.
        doing: What the holder does, to follow "another labkit that": `builds the box 'x'`.
        seconds: How long to wait at most.
        progress: Told for whom one waits: at once, and every `told_every` seconds.
        cancelled: Asked at every try; True ends the wait.
        told_every: Seconds between two lines.
        make: Make the file, and its directory, when it is not there.

    Raises:
        HostError: The file cannot be opened.
        OperationError: The time was up, or `cancelled` said so; the holder is named.
    """
    descriptor = _opened(path, make=make)
    started = next_word = time.monotonic()

    def attempt() -> None:
        nonlocal next_word
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            now = time.monotonic()
            if now >= next_word:
                next_word = now + told_every
                so_far = f", {now - started:.0f} s so far" if now - started >= 1 else ""
                progress(f"waiting for another labkit{_who(descriptor)} that {doing}{so_far}")
            raise NotYet from exc
        except OSError as exc:
            # Where nobody can lock, nobody is waited for.
            if exc.errno not in _NO_LOCKS:
                raise

    what, deadline = f"another labkit that {doing}", Deadline.after(seconds)
    try:
        wait_until(attempt, what=what, deadline=deadline, policy=POLICY, cancelled=cancelled)
    except WaitCancelled as exc:
        msg = f"Waiting for another labkit{_who(descriptor)} that {doing} was cancelled."
        raise WaitCancelled(msg) from exc
    except WaitTimeout as exc:
        waited = time.monotonic() - started
        still, after = ("still ", f" after {waited:.0f} s of waiting") if waited >= 1 else ("", "")
        msg = f"Another labkit{_who(descriptor)} {still}{doing}{after}."
        hint = "Try again when that process has ended; 'kill' ends one that hangs."
        raise OperationError(msg, hint=hint) from exc
    else:
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path, *, make: bool) -> int:
    # NFS locks only what is open for writing.
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        try:
            if make:
                path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags | (os.O_CREAT if make else 0), 0o644)
        except OSError as exc:
            if exc.errno not in _NOT_OURS or not path.exists():
                raise
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        msg = f"'{path}' cannot be opened: {exc.strerror}."
        hint = (
            "Set LABKIT_CACHE_DIR to a directory of yours, or give yourself the right to use it."
        )
        raise HostError(msg, hint=hint) from exc


def _who(descriptor: int) -> str:
    """Return ` (process 12, 'labkit up')` of who holds the lock; empty when that is not known.

    The kernel knows it, so it is true also of a holder that was killed (proc(5), /proc/locks).
    """
    inode = str(os.fstat(descriptor).st_ino)
    try:
        lines = (_PROC / "locks").read_text(encoding="ascii").splitlines()
        # Not the device, which is another one on overlayfs and btrfs. '->' is one that waits.
        found = [line.split() for line in lines]
        pids = [it[4] for it in found if it[1] == "FLOCK" and it[5].rpartition(":")[2] == inode]
        words = (_PROC / pids[0] / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except (OSError, IndexError):
        return ""
    names = [Path(word).name for word in words]
    begin = names.index("labkit") if "labkit" in names else 0
    command = " ".join([names[begin], *words[begin + 1 :]]).strip()
    return f" (process {pids[0]}, '{command}')"
