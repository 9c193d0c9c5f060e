"""Loads a module while something else is waited for."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def beside(module: str) -> Iterator[None]:
    """Load a module beside the body, which waits for libvirt or a guest most of its time.

    Args:
        module: Its full name; an error in it is raised where it is imported for use.
    """
    with ThreadPoolExecutor(max_workers=1) as loader:
        loader.submit(importlib.import_module, module)
        yield
