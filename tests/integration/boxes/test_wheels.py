"""Python packages of a box, fetched by the real pip; from a directory or from nowhere, offline."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING

import pytest

from labkit.boxes import wheels
from labkit.errors import HostError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that pip takes for the whole world."""
    place = tmp_path / "index"
    place.mkdir()
    with zipfile.ZipFile(place / WHEEL, "w") as archive:
        archive.writestr("demo.py", "")
        archive.writestr(
            "demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
        )
        archive.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("demo-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    return place


def pinned(digest: str) -> bytes:
    return f"demo==1.0 \\\n    --hash=sha256:{digest}\n".encode()


def test_pinned_wheel_is_fetched_whole(index: Path, tmp_path: Path) -> None:
    content = (index / WHEEL).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert wheels.fetch("some", pinned(digest), tmp_path / "work") == {WHEEL: content}


@pytest.mark.usefixtures("index")
def test_wheel_with_another_hash_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        wheels.fetch("some", pinned("0" * 64), tmp_path / "work")
    assert "has another file for the box 'some'" in caught.value.message
    assert "PIP_INDEX_URL" in (caught.value.hint or "")


def test_index_that_cannot_be_reached_is_a_sentence(index: Path, tmp_path: Path) -> None:
    (index / WHEEL).unlink()
    with pytest.raises(HostError) as caught:
        wheels.fetch("some", pinned("0" * 64), tmp_path / "work")
    assert caught.value.message == (
        "The Python packages of the box 'some' could not be downloaded."
    )
    assert caught.value.details


def test_index_that_refuses_connections_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(HostError) as caught:
        wheels.fetch("some", pinned("0" * 64), tmp_path / "work")
    assert "could not be downloaded" in caught.value.message
