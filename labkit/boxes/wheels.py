"""Python packages of a box, from the package index that this host's pip is set up for."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from labkit.boxes.pack import NO_SPACE, disk_full
from labkit.errors import CommandError, HostError
from labkit.host.process import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOWNLOAD_TIMEOUT = 600.0
TAIL_LINES = 6
# Words of pip (src/pip/_internal/exceptions.py, index/package_finder.py).
DIFFERS = re.compile(r"DO NOT MATCH THE HASHES")
ABSENT = re.compile(r"No module named pip")
UNREACHABLE = re.compile(
    r"connection broken|could not find a version|failed to establish a new connection"
    r"|cannot connect to proxy|read timed out|max retries exceeded",
    re.IGNORECASE,
)


def fetch(
    box: str,
    requirements: bytes,
    directory: Path,
    *,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, bytes]:
    """Return the wheels that a requirements file of pip pins, by file name.

    Only wheels are taken and no dependencies: nothing of the index is run on this host.

    Args:
        box: Name of the box they are for, for the messages.
        requirements: The file's content; every line has a hash.
        directory: Where pip may write; made if missing.
        cancelled: Asked now and then; True gives the download up.

    Raises:
        HostError: pip is missing, the index cannot be reached, has another file than the pinned
            one, or the disk is full.
        CommandError: pip failed otherwise, or was cancelled.
    """
    directory.mkdir(parents=True, exist_ok=True)
    listed = directory / "requirements.txt"
    listed.write_bytes(requirements)
    found = directory / "wheels"
    words = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--retries=2"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-input"]
    try:
        run(
            [*pip, *words, "-r", listed, "-d", found],
            timeout=DOWNLOAD_TIMEOUT,
            cancelled=cancelled,
        )
    except CommandError as exc:
        if cancelled is not None and cancelled():
            raise
        raise explain_failure(box, exc) from exc
    return {path.name: path.read_bytes() for path in sorted(found.glob("*.whl"))}


def explain_failure(box: str, error: CommandError) -> HostError | CommandError:
    """Return the error for wheels that could not be had, by what pip says."""
    log = "\n".join(error.details)
    tail = tuple(error.details[-TAIL_LINES:])
    if ABSENT.search(log):
        msg = f"The box '{box}' needs a package of the Python index, and this Python has no pip."
        return HostError(msg, hint=f"Give it one: {sys.executable} -m ensurepip")
    if DIFFERS.search(log):
        msg = (
            f"The Python index has another file for the box '{box}' than the one it is pinned to."
        )
        hint = "Do not use that index: ask who runs it, or set PIP_INDEX_URL to another one."
        return HostError(msg, tail, hint)
    if NO_SPACE.search(log):
        return disk_full(box, tail)
    if UNREACHABLE.search(log):
        msg = f"The Python packages of the box '{box}' could not be downloaded."
        hint = (
            "Check the network and the proxy settings of this host, or set PIP_INDEX_URL to the "
            "URL of a Python package index that it can reach."
        )
        return HostError(msg, tail, hint)
    return CommandError(f"Building the box '{box}' failed: {error.message}", tail)
