"""Where labkit keeps what can be made again: boxes, downloads, what Ruby compiled of Vagrant."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_root() -> Path:
    """Return labkit's cache directory: LABKIT_CACHE_DIR, or where this system keeps caches."""
    chosen = os.environ.get("LABKIT_CACHE_DIR")
    return Path(chosen).absolute() if chosen else user_cache_path("labkit")
