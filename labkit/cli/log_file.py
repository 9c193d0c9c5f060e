"""labkit's own log: everything, at DEBUG, in the lab's directory."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 20
FORMAT = "%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"


def start(directory: Path, verb: str) -> Path:
    """Send all of labkit's log records to a new file and return its path.

    Only the newest files are kept, so that a CI host's directory does not fill up.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = directory / f"{stamp}-{os.getpid()}-{verb}.log"
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    formatter = logging.Formatter(FORMAT)
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger = logging.getLogger("labkit")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    for old in sorted(directory.glob("*Z-*-*.log"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return path
