"""Checks an ISO that the user brings along, and reads it only once for that."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from labkit.errors import HostError, UsageError
from labkit.host.download import read_record, write_record
from labkit.host.files import file_sha256

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.host.download import Wanted


def own_copy(path: Path, wanted: Wanted, *, cache: Path) -> Path:
    """Check that a file of the user's is the wanted one and return its absolute path.

    It is read once; as long as it has the same length and time it is not read again.

    Raises:
        UsageError: It is missing or another file.
        HostError: It cannot be read.
    """
    path = path.absolute()
    try:
        about = path.stat()
    except FileNotFoundError as exc:
        msg = f"The ISO '{path}' does not exist."
        raise UsageError(msg, hint=f"Give the path of '{wanted.name}' with --iso.") from exc
    except OSError as exc:
        msg = f"The ISO '{path}' cannot be read: {exc.strerror}."
        raise HostError(msg, hint="Give yourself the right to read it.") from exc
    hint = f"Give the file '{wanted.name}' with the sha256 {wanted.sha256}."
    if not path.is_file():
        msg = f"'{path}' was expected to be an ISO file and is none."
        raise UsageError(msg, hint=hint)
    if about.st_size != wanted.size:
        how = "is cut short" if about.st_size < wanted.size else "is another file"
        msg = (
            f"The ISO '{path}' {how}: '{wanted.name}' was expected to have {wanted.size} bytes, "
            f"and it has {about.st_size}."
        )
        raise UsageError(msg, hint=hint)
    mark = {
        "path": str(path),
        "size": about.st_size,
        "mtime_ns": about.st_mtime_ns,
        "inode": about.st_ino,
    }
    key = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    record = cache / "downloads" / wanted.sha256 / f"checked-{key}.json"
    if read_record(record) == mark:
        return path
    found = file_sha256(path)
    if found != wanted.sha256:
        msg = (
            f"The ISO '{path}' is another file: the sha256 {wanted.sha256} was expected, "
            f"and it has {found}."
        )
        raise UsageError(msg, hint=hint)
    write_record(record, mark)
    return path
