"""Where the cache is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.host.files import cache_root

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_cache_root_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("LABKIT_CACHE_DIR")
    assert cache_root().name == "labkit"
