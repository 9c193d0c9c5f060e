"""Where labkit keeps what can be made again: boxes and downloads."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from platformdirs import user_cache_path


def cache_root() -> Path:
    """Return labkit's cache directory: LABKIT_CACHE_DIR, or where this system keeps caches."""
    chosen = os.environ.get("LABKIT_CACHE_DIR")
    return Path(chosen).absolute() if chosen else user_cache_path("labkit")


def file_sha256(path: Path) -> str:
    """Return a file's sha256 in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file aside, flush it to disk and rename it into place."""
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
