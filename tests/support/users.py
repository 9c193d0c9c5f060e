"""Being somebody without root's rights for a moment, where the tests run as root."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@contextmanager
def public_directory() -> Iterator[Path]:
    """Make a directory that every user may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="labkit-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def without_root() -> Iterator[None]:
    """Be another user in the block; nothing happens where the tests do not run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
