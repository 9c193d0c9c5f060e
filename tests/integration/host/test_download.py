"""Downloads over real HTTP from a server on the loopback that misbehaves in every known way."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import socket
import subprocess  # noqa: TID251 -- a labkit of its own is what gets killed here
import sys
import textwrap
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError, OperationError
from labkit.host.download import Wanted, cached_path, fetch
from labkit.waiting import Policy
from tests.fakes.http_server import HOST, FakeFileServer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

CONTENT = random.Random(1).randbytes(3 * 2**20 + 17)  # noqa: S311 -- any bytes will do
OTHER = bytes(len(CONTENT))
AT_ONCE = Policy(tick=0.0)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", HOST)
    monkeypatch.setenv("no_proxy", HOST)


@pytest.fixture
def server() -> Iterator[FakeFileServer]:
    with serving(FakeFileServer(CONTENT)) as running:
        yield running


def wanted(*sources: str, content: bytes = CONTENT) -> Wanted:
    digest = hashlib.sha256(content).hexdigest()
    return Wanted(name="any.iso", size=len(content), sha256=digest, sources=sources)


def get(cache: Path, *sources: str, said: list[str] | None = None) -> Path:
    told = [] if said is None else said
    return fetch(wanted(*sources), cache=cache, progress=told.append, policy=AT_ONCE)


def left(cache: Path) -> list[str]:
    """What a download left in its directory, the lock aside."""
    directory = cached_path(wanted("http://x"), cache).parent
    return sorted(path.name for path in directory.iterdir() if path.suffix != ".lock")


def test_fetch_gives_the_file_and_asks_nobody_the_second_time(
    server: FakeFileServer, tmp_path: Path
) -> None:
    said: list[str] = []
    found = get(tmp_path, server.url, said=said)
    assert found.read_bytes() == CONTENT
    assert left(tmp_path) == ["any.iso"]
    assert said[0] == f"any.iso: downloading from {server.url}"
    assert re.fullmatch(r"any\.iso: 3 of 3 MiB, [\d.]+ MiB/s, 0 s left", said[-1])
    assert get(tmp_path, server.url) == found
    assert len(server.requests) == 1


def test_fetch_cut_answers_are_continued_where_they_ended(
    server: FakeFileServer, tmp_path: Path
) -> None:
    server.cuts = [1000, 2000]
    assert get(tmp_path, server.url).read_bytes() == CONTENT
    assert server.ranges() == ["", "bytes=1000-", "bytes=3000-"]


def test_fetch_cut_every_time_without_a_byte_goes_to_the_next_source(
    server: FakeFileServer, tmp_path: Path
) -> None:
    with serving(FakeFileServer(CONTENT, cuts=[0] * 9)) as dead:
        assert get(tmp_path, dead.url, server.url).read_bytes() == CONTENT
    assert len(dead.requests) == 3


def test_fetch_server_without_ranges_sends_all_of_it_again(
    server: FakeFileServer, tmp_path: Path
) -> None:
    server.cuts, server.ignores_range = [1000], True
    assert get(tmp_path, server.url).read_bytes() == CONTENT
    assert server.ranges() == ["", "bytes=1000-"]


def test_fetch_file_changed_between_two_parts_is_fetched_whole(
    server: FakeFileServer, tmp_path: Path
) -> None:
    server.content, server.cuts = OTHER, [1000, 0, 0, 0]
    with pytest.raises(HostError):
        get(tmp_path, server.url)
    assert left(tmp_path) == ["any.iso.part"]
    server.content = CONTENT
    assert get(tmp_path, server.url).read_bytes() == CONTENT
    assert server.ranges()[-2:] == ["bytes=1000-", ""]


def test_fetch_part_of_another_file_is_found_by_its_checksum(
    server: FakeFileServer, tmp_path: Path
) -> None:
    part = cached_path(wanted(), tmp_path).with_name("any.iso.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(OTHER[:5000])
    said: list[str] = []
    assert get(tmp_path, server.url, said=said).read_bytes() == CONTENT
    assert server.ranges() == ["bytes=5000-", ""]
    assert any("wrong checksum after resuming" in line for line in said)


@pytest.mark.parametrize("length", [len(CONTENT) + 1, len(CONTENT)])
def test_fetch_part_as_long_as_the_file_or_longer_is_not_trusted(
    server: FakeFileServer, tmp_path: Path, length: int
) -> None:
    part = cached_path(wanted(), tmp_path).with_name("any.iso.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(length))
    assert get(tmp_path, server.url).read_bytes() == CONTENT


def test_fetch_answer_that_continues_elsewhere_is_not_put_together(
    server: FakeFileServer, tmp_path: Path
) -> None:
    server.cuts, server.shift = [1000], 5
    assert get(tmp_path, server.url).read_bytes() == CONTENT
    assert server.ranges() == ["", "bytes=1000-", ""]


def test_fetch_redirect_is_followed(server: FakeFileServer, tmp_path: Path) -> None:
    with serving(FakeFileServer(b"", redirect=server.url)) as first:
        assert get(tmp_path, first.url).read_bytes() == CONTENT


def test_fetch_redirect_in_a_circle_is_given_up(tmp_path: Path) -> None:
    with serving(FakeFileServer(b"")) as first:
        first.redirect = first.url
        with pytest.raises(HostError) as caught:
            get(tmp_path, first.url)
    assert "redirects" in caught.value.details[0]


def test_fetch_redirect_to_https_is_followed_there(tmp_path: Path) -> None:
    """Nothing speaks TLS on the loopback: that the handshake begins there is what is shown."""
    with socket.create_server((HOST, 0)) as secure:
        port = secure.getsockname()[1]
        first_bytes: list[bytes] = []

        def answer() -> None:
            connection, _peer = secure.accept()
            with connection:
                first_bytes.append(connection.recv(3))

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            serving(FakeFileServer(b"", redirect=f"https://{HOST}:{port}/any.iso")) as first,
            pytest.raises(HostError),
        ):
            get(tmp_path, first.url)
        thread.join(10)
    assert first_bytes[0][:2] == b"\x16\x03"  # a TLS handshake record


@pytest.mark.parametrize("content", [OTHER, CONTENT[:-1], CONTENT + b"x"])
def test_fetch_wrong_file_keeps_nothing_and_takes_the_next_source(
    server: FakeFileServer, tmp_path: Path, content: bytes
) -> None:
    with serving(FakeFileServer(content)) as wrong:
        with pytest.raises(HostError) as caught:
            get(tmp_path, wrong.url)
        assert left(tmp_path) == []
        assert get(tmp_path, wrong.url, server.url).read_bytes() == CONTENT
    assert caught.value.details[0].startswith(f"{wrong.url}: ")


def test_fetch_missing_file_goes_to_the_next_source_at_once(
    server: FakeFileServer, tmp_path: Path
) -> None:
    with serving(FakeFileServer(b"", statuses=[404])) as empty:
        assert get(tmp_path, empty.url, server.url).read_bytes() == CONTENT
    assert len(empty.requests) == 1


def test_fetch_server_that_is_busy_is_asked_again(server: FakeFileServer, tmp_path: Path) -> None:
    server.statuses = [503, 503]
    assert get(tmp_path, server.url).read_bytes() == CONTENT


def test_fetch_without_network_names_url_checksum_and_option(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as closed:
        port = closed.getsockname()[1]
    url = f"http://{HOST}:{port}/any.iso"
    with pytest.raises(HostError) as caught:
        get(tmp_path, url, "http://nowhere.invalid/any.iso")
    error = caught.value
    assert [line.split(": ")[0] for line in error.details] == [
        url,
        "http://nowhere.invalid/any.iso",
    ]
    assert wanted().sha256 in error.hint
    assert "--iso" in error.hint
    assert "LABKIT_ISO" in error.hint


def test_fetch_cancelled_keeps_the_part_and_the_next_continues(
    server: FakeFileServer, tmp_path: Path
) -> None:
    server.gate = threading.Event()
    with pytest.raises(OperationError, match="cancelled"):
        fetch(
            wanted(server.url),
            cache=tmp_path,
            progress=lambda _line: None,
            cancelled=server.half_sent.is_set,
        )
    part = cached_path(wanted(), tmp_path).with_name("any.iso.part")
    kept = part.stat().st_size
    assert kept > 0
    server.gate.set()
    assert get(tmp_path, server.url).read_bytes() == CONTENT
    assert server.ranges() == ["", f"bytes={kept}-"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_fetch_killed_is_continued_by_the_next(
    server: FakeFileServer, tmp_path: Path, number: signal.Signals
) -> None:
    server.gate = threading.Event()
    item = wanted(server.url)
    program = f"""
        from pathlib import Path
        from labkit.host.download import Wanted, fetch
        item = Wanted(name={item.name!r}, size={item.size}, sha256={item.sha256!r},
                      sources={item.sources!r})
        fetch(item, cache=Path({str(tmp_path)!r}), progress=print)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stderr=subprocess.DEVNULL
    )
    try:
        assert server.half_sent.wait(30)
        part = cached_path(item, tmp_path).with_name("any.iso.part")
        while not part.exists() or part.stat().st_size < 2**20:
            assert child.poll() is None
        child.send_signal(number)
        assert child.wait(30) != 0
    finally:
        child.kill()
        child.wait()
    assert not cached_path(item, tmp_path).exists()
    server.gate.set()
    assert get(tmp_path, server.url).read_bytes() == CONTENT
    assert re.fullmatch(r"bytes=\d{7}-", server.ranges()[-1])


def test_fetch_two_at_once_download_it_once(server: FakeFileServer, tmp_path: Path) -> None:
    server.gate = threading.Event()
    waiting = threading.Event()
    found: list[Path] = []

    def told(line: str) -> None:
        if line.startswith("waiting for another labkit"):
            waiting.set()

    def one() -> None:
        found.append(fetch(wanted(server.url), cache=tmp_path, progress=told))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert waiting.wait(30)
    server.gate.set()
    for thread in threads:
        thread.join(30)
    assert [path.read_bytes() == CONTENT for path in found] == [True, True]
    assert len(server.requests) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="a full file system has to be mounted")
def test_fetch_on_a_full_disk_says_so(server: FakeFileServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        small = tmp_path / "small"
        small.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)]
        if subprocess.run(command, check=False, capture_output=True).returncode != 0:
            pytest.skip("nothing can be mounted here")
        stack.callback(subprocess.run, ["umount", str(small)], check=True)
        with pytest.raises(HostError, match=r"needs 3 MiB in .* free"):
            get(small, server.url)
    assert server.requests == []
