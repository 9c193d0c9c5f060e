"""What downloads say and what is checked of an ISO the user brings along; no network."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.own_iso import own_copy
from labkit.errors import HostError, UsageError
from labkit.host.download import Wanted, cached_path, fetch, progress_line

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"an image" * 1000
WANTED = Wanted(
    name="any.iso",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    sources=("http://nowhere.invalid/any.iso",),
)
MIB = 2**20


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.iso"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize(
    ("gained", "seconds", "line"),
    [
        (0, 0.0, "any.iso: 10 of 100 MiB"),
        (10 * MIB, 5.0, "any.iso: 10 of 100 MiB, 2.0 MiB/s, 45 s left"),
        (5 * MIB, 5.0, "any.iso: 10 of 100 MiB, 1.0 MiB/s, 1 min 30 s left"),
    ],
)
def test_progress_line_has_rate_and_time_left(gained: int, seconds: float, line: str) -> None:
    told = progress_line("any.iso", done=10 * MIB, size=100 * MIB, gained=gained, seconds=seconds)
    assert told == line


def test_fetch_of_a_cached_file_asks_nobody(tmp_path: Path) -> None:
    path = cached_path(WANTED, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    said: list[str] = []
    assert fetch(WANTED, cache=tmp_path, progress=said.append) == path
    assert said == []


def test_fetch_into_a_place_that_is_no_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "downloads").write_text("")
    with pytest.raises(HostError, match=r"could not be written") as caught:
        fetch(WANTED, cache=tmp_path, progress=lambda _line: None)
    assert "LABKIT_CACHE_DIR" in caught.value.hint


def test_fetch_of_more_than_fits_says_how_much_is_free(tmp_path: Path) -> None:
    huge = Wanted(name="any.iso", size=2**60, sha256="0" * 64, sources=WANTED.sources)
    with pytest.raises(HostError, match=r"needs \d+ MiB in .*, and \d+ MiB are free"):
        fetch(huge, cache=tmp_path, progress=lambda _line: None)


def test_own_copy_that_is_right_is_used_where_it_is(own: Path, tmp_path: Path) -> None:
    assert own_copy(own, WANTED, cache=tmp_path / "cache") == own
    assert not cached_path(WANTED, tmp_path / "cache").exists()


def test_own_copy_is_not_read_again_until_it_changes(own: Path, tmp_path: Path) -> None:
    own_copy(own, WANTED, cache=tmp_path)
    before = own.stat()
    own.write_bytes(b"X" + CONTENT[1:])
    os.utime(own, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert own_copy(own, WANTED, cache=tmp_path) == own
    os.utime(own, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(UsageError, match="is another file"):
        own_copy(own, WANTED, cache=tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (CONTENT[:-1], "is cut short: 'any.iso' was expected to have 8000 bytes, and it has 7999"),
        (CONTENT + b"x", "is another file: 'any.iso' was expected to have 8000 bytes"),
        (b"", "is cut short"),
        (bytes(len(CONTENT)), f"is another file: the sha256 {WANTED.sha256} was expected"),
    ],
)
def test_own_copy_that_is_another_file_is_refused(
    own: Path, tmp_path: Path, content: bytes, told: str
) -> None:
    own.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        own_copy(own, WANTED, cache=tmp_path)
    assert told in caught.value.message
    assert WANTED.sha256 in caught.value.hint


def test_own_copy_that_is_missing_or_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist") as caught:
        own_copy(tmp_path / "no.iso", WANTED, cache=tmp_path)
    assert "--iso" in caught.value.hint
    with pytest.raises(UsageError, match="expected to be an ISO file"):
        own_copy(tmp_path, WANTED, cache=tmp_path)
