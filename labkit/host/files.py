"""Files: where labkit keeps what can be made again, the one atomic write, and what a refusal means."""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import shlex
import stat
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

from labkit.errors import HostError

_ELSEWHERE = "LABKIT_STATE_DIR for labs, LABKIT_CACHE_DIR for boxes"
# These come from a write too, and then without a name (write(2)).
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def cache_root() -> Path:
    """Return labkit's cache directory: LABKIT_CACHE_DIR, or where this system keeps caches."""
    chosen = os.environ.get("LABKIT_CACHE_DIR")
    return Path(chosen).absolute() if chosen else user_cache_path("labkit")


def file_sha256(path: Path) -> str:
    """Return a file's sha256 in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file aside, flush it to disk and rename it into place.

    Raises:
        OSError: The file system refuses; it names `path`, also where the kernel names no file.
    """
    try:
        _write_aside(path, text, mode)
    except OSError as exc:
        exc.filename, exc.filename2 = str(path), None
        raise


def _write_aside(path: Path, text: str, mode: int) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def file_error(exc: OSError) -> HostError | None:
    """Return what the file system refused, for a person; None when it was no file's error."""
    if exc.filename is None and exc.errno not in _DISK:
        return None
    path = None if exc.filename is None else Path(os.fsdecode(exc.filename)).absolute()
    if path is not None and exc.errno in {errno.EACCES, errno.EPERM}:
        return _forbidden(path)
    named = "what labkit writes" if path is None else f"'{path}'"
    found = Path("/") if path is None else _nearest(path)
    if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
        message = f"No space is left for {named}."
        hint = (
            "'labkit destroy' frees a lab's space and 'labkit box remove' a box's; they work on "
            "a full disk."
        )
    elif exc.errno in {errno.ENOTDIR, errno.EEXIST} and not found.is_dir():
        message = f"'{found}' has to be a directory for labkit to use {named}, and is a file."
        hint = f"Move it away, or set {_ELSEWHERE}."
    else:
        message = f"labkit cannot use {named}: {exc.strerror}."
        hint = f"Mend that, or set {_ELSEWHERE}, to another place."
    return HostError(message, hint=hint)


def _forbidden(path: Path) -> HostError:
    nearest = _nearest(path)
    found = nearest.stat()
    me, owner = _user(os.geteuid()), _user(found.st_uid)
    message = f"User '{me}' may not use '{path}'."
    details = (
        f"'{nearest}' belongs to user '{owner}', its mode is {stat.S_IMODE(found.st_mode):04o}.",
    )
    if found.st_uid == os.geteuid():
        hint = f"Run 'chmod -R u+rwX {shlex.quote(str(nearest))}'."
        return HostError(message, details=details, hint=hint)
    theirs = _topmost(nearest, found.st_uid)
    hand_over = (
        f"set {_ELSEWHERE}"
        if theirs is None
        else f"hand it over: sudo chown -R {shlex.quote(me)}: {shlex.quote(str(theirs))}"
    )
    hint = f"Run it as '{owner}', as whoever made it did, or {hand_over}"
    return HostError(message, details=details, hint=hint)


def _topmost(path: Path, owner: int) -> Path | None:
    """Return what lies in a directory of this user's and belongs to somebody else from there on."""
    for each in (path, *path.parents):
        above = each.parent.stat().st_uid
        if above != owner:
            return each if above == os.geteuid() else None
    return None


def _nearest(path: Path) -> Path:
    """Return the path, or the nearest directory above it, that can be seen."""
    for each in (path, *path.parents):
        try:
            each.stat()
        except OSError:
            continue
        return each
    return Path("/")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
