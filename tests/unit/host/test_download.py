"""What downloads say and when they ask nobody; no network."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError
from labkit.host.download import FROM_ENVIRONMENT, Wanted, cached_path, fetch, progress_line

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


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ALL_PROXY", "socks5h://u:s3cret@127.0.0.1:1", "SOCKS proxies are not supported"),
        ("all_proxy", "socks5://127.0.0.1:1", "SOCKS proxies are not supported"),
        ("http_proxy", "SOCKS5://127.0.0.1:1", "SOCKS proxies are not supported"),
        ("all_proxy", "socks4://127.0.0.1:1", "http_proxy"),
        ("http_proxy", "ftp://u:s3cret@127.0.0.1:1", "http_proxy"),
        ("http_proxy", "http://u:s3cret/x@127.0.0.1:1", "http_proxy"),
        ("http_proxy", "http://127.0.0.1:99999", "proxy settings of this host"),
        ("http_proxy", "http://[::1", "http_proxy"),
        ("http_proxy", "http://", "proxy settings of this host"),
        ("http_proxy", "://", "http_proxy"),
        ("http_proxy", "nonsense of a proxy", "proxy settings of this host"),
        ("http_proxy", "http://x\udce9y:1", "http_proxy"),
        ("https_proxy", "nonsense://x", "https_proxy"),
        ("SSL_CERT_FILE", "/nonexistent", "SSL_CERT_FILE"),
        ("SSL_CERT_FILE", "/etc/passwd", "SSL_CERT_FILE"),
    ],
)
def test_case_20_fetch_by_any_proxy_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    for each in list(os.environ):
        if each.lower() in FROM_ENVIRONMENT:
            monkeypatch.delenv(each)
    monkeypatch.setenv(name, value)
    with pytest.raises(HostError) as caught:
        fetch(WANTED, cache=tmp_path, progress=lambda _line: None)
    assert told in caught.value.message + caught.value.hint
    assert "--iso" in caught.value.hint
    assert "s3cret" not in "".join((str(caught.value), *caught.value.details))
