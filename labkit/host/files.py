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
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from labkit.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_ELSEWHERE = "LABKIT_STATE_DIR for labs, LABKIT_CACHE_DIR for boxes"
# These come from a write too, and then without a name (write(2)).
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def cache_root() -> Path:
    """Return labkit's cache directory: LABKIT_CACHE_DIR, or where this system keeps caches."""
    chosen = os.environ.get("LABKIT_CACHE_DIR")
    if chosen:
        return utf8(Path(chosen).absolute())
    return utf8(home_directory(lambda: user_cache_path("labkit")))


def utf8(path: Path) -> Path:
    """Return a path that libvirt's XML and Vagrant's files can name: both are UTF-8.

    Raises:
        UsageError: Its bytes are not its text in UTF-8, by its name or by the locale.
    """
    found = os.fsencode(path)
    if found == str(path).encode("utf-8", "backslashreplace"):
        return path
    message = f"The path '{found.decode('utf-8', 'backslashreplace')}' cannot be used as UTF-8."
    raise UsageError(message, hint="Use another name, and a UTF-8 locale (LC_ALL=C.UTF-8).")


def home_directory(find: Callable[[], Path] = Path.home) -> Path:
    """Return the user's home directory, or what `find` looks for below it.

    Raises:
        HostError: HOME is not set, and the user database does not know the user.
    """
    try:
        return find()
    except RuntimeError as exc:
        message = f"User {os.geteuid()} has no home directory, and HOME is not set."
        raise HostError(message, hint="Set HOME to a directory of yours.") from exc


def read_beginning(path: Path, size: int) -> bytes:
    """Return the first bytes of a plain file; a pipe, which might never end, is not opened.

    Args:
        path: The file.
        size: How many bytes at most.

    Raises:
        OSError: It cannot be read, or is no plain file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a plain file")
    with path.open("rb") as stream:
        return stream.read(size)


def file_sha256(path: Path) -> str:
    """Return a file's sha256 in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file aside, flush it to disk and rename it into place.

    Raises:
        OSError: The file system refuses; it names `path`, also where the kernel names no file.
    """
    name = ""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
        flush(path.parent)
    except BaseException as exc:
        if name:
            Path(name).unlink(missing_ok=True)
        if isinstance(exc, OSError):
            exc.filename, exc.filename2 = str(path), None
        raise


def flush(path: Path) -> None:
    """Have the disk keep what was written to a file, or a directory's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_error(exc: OSError) -> HostError | None:
    """Return what the file system refused, for a person; None when it was no file's error."""
    try:
        Path.cwd()
    except OSError:
        message = "The current directory does not exist any more."
        return HostError(message, hint="Change to another directory.")
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
