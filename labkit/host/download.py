"""Fetches a file of known checksum from the first source that has it, resumed where it stopped."""

from __future__ import annotations

import errno
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2  # noqa: TID251 -- this module is the one allowed to

from labkit.errors import HostError, OperationError
from labkit.host.files import file_sha256, flush
from labkit.host.locks import held
from labkit.waiting import DOWNLOAD, Deadline, NotYet, Policy, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 2**20
TIMEOUT = httpx2.Timeout(60.0, connect=20.0)
WHOLE_BUDGET = 24 * 3600.0  # resumed over a slow line, an ISO may well take a night
TRIES_WITHOUT_PROGRESS = 3
PROGRESS_SECONDS = 2.0
# What httpx2 reads of the environment before it asks anybody.
FROM_ENVIRONMENT = frozenset(
    {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir"}
)
HTTP_OK, HTTP_PARTIAL, HTTP_RANGE_REFUSED, HTTP_SERVER_ERROR = 200, 206, 416, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file to fetch.

    Attributes:
        name: Its file name.
        size: Its length in bytes.
        sha256: Its checksum in hex.
        sources: URLs, tried in this order.
        instead: What to do with the file when it was got elsewhere, for a hint.
    """

    name: str
    size: int
    sha256: str
    sources: tuple[str, ...]
    instead: str = "give its path with --iso PATH or LABKIT_ISO=PATH"


class _SourceFailed(Exception):  # noqa: N818 -- reads as what happened; leaves this module never
    """A source cannot give the file; its text is the reason."""


def fetch(
    wanted: Wanted,
    *,
    cache: Path,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
    policy: Policy = DOWNLOAD,
) -> Path:
    """Return the file from the cache, downloaded first when the cache has not got it.

    It appears under its name whole and checked, or not at all. What an interrupted download got
    is kept as a .part file and continued by the next one. Of two at once the second waits.

    Args:
        wanted: What to fetch.
        cache: labkit's cache directory; the file goes to `downloads/<sha256>/<name>` in it.
        progress: Told what happens, one short line each, at most one in two seconds.
        cancelled: Asked between chunks and tries; True ends the download.
        policy: The pauses between tries of one source.

    Raises:
        HostError: No source has the file or can be reached, or the disk is full.
        OperationError: `cancelled` said so, or another download did not end.
    """
    final = cached_path(wanted, cache)
    try:
        if _is_whole(final, wanted):
            return final
        final.parent.mkdir(parents=True, exist_ok=True)
        with held(
            final.with_name(f"{wanted.name}.lock"),
            doing=f"downloads '{wanted.name}'",
            seconds=WHOLE_BUDGET,
            progress=progress,
            cancelled=cancelled,
        ):
            if not _is_whole(final, wanted):
                download = _Download(wanted, final, progress, cancelled)
                _from_any(wanted, download, policy)
    except OSError as exc:
        raise _disk_error(wanted, final.parent, exc) from exc
    return final


def cached_path(wanted: Wanted, cache: Path) -> Path:
    """Return where a downloaded file is kept; it need not be there."""
    return kept_at(cache, sha256=wanted.sha256, name=wanted.name)


def kept_at(cache: Path, *, sha256: str, name: str) -> Path:
    """Return where a downloaded file of this checksum and name is kept; it need not be there."""
    return cache / "downloads" / sha256 / name


def length(url: str) -> int:
    """Return the length of a file in bytes, as its server tells it before it sends it.

    Raises:
        HostError: The server cannot be reached, has no such file, or does not tell.
    """
    try:
        with (
            _client("say its path in box.yaml") as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            status = f"{response.status_code} {response.reason_phrase}"
            told = response.headers.get("Content-Length", "")
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        msg = f"'{url}' cannot be reached: {_reason(exc)}."
        hint = "Check the network and the proxy settings of this host."
        raise HostError(msg, hint=hint) from exc
    if response.status_code != HTTP_OK:
        msg = f"'{url}' cannot be downloaded: the server answered {status}."
        raise HostError(msg, hint="Check the URL in a browser.")
    if not told.isdecimal() or not int(told):
        msg = f"The server does not tell how long '{url}' is."
        raise HostError(msg, hint="Say so in box.yaml: 'size', in bytes.")
    return int(told)


def progress_line(name: str, *, done: int, size: int, gained: int, seconds: float) -> str:
    """Return one line of progress.

    Args:
        name: What is downloaded.
        done: Bytes on disk.
        size: Bytes in the end.
        gained: Bytes that came over the network in this run.
        seconds: How long that took.
    """
    line = f"{name}: {done // MIB} of {size // MIB} MiB"
    if seconds <= 0 or gained <= 0:
        return line
    rate = gained / seconds
    left = round((size - done) / rate)
    eta = f"{left // 60} min {left % 60:02d} s" if left >= 60 else f"{left} s"  # noqa: PLR2004 -- a minute
    return f"{line}, {rate / MIB:.1f} MiB/s, {eta} left"


def _from_any(wanted: Wanted, download: _Download, policy: Policy) -> None:
    free = shutil.disk_usage(download.final.parent).free
    needed = wanted.size - download.have()
    if free < needed:
        msg = (
            f"Downloading '{wanted.name}' needs {needed // MIB} MiB in "
            f"'{download.final.parent}', and {free // MIB} MiB are free."
        )
        raise HostError(msg, hint="Free some space, or set LABKIT_CACHE_DIR to another disk.")
    reasons = []
    for url in wanted.sources:
        try:
            download.get(url, policy)
        except _SourceFailed as exc:
            download.progress(f"{url}: {exc}")
            reasons.append(f"{url}: {exc}")
        else:
            return
    msg = f"'{wanted.name}' could not be downloaded from any of its {len(reasons)} source(s)."
    hint = (
        f"Check the network and the proxy settings of this host, or get the file elsewhere "
        f"(sha256 {wanted.sha256}) and {wanted.instead}."
    )
    raise HostError(msg, tuple(reasons), hint)


class _Download:
    """One download under way: the .part file and what is known about it."""

    def __init__(
        self,
        wanted: Wanted,
        final: Path,
        progress: Callable[[str], None],
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.wanted = wanted
        self.final = final
        self.progress = progress
        self.cancelled = cancelled
        self.part = final.with_name(f"{final.name}.part")
        self.gained = 0
        self.started = self.told = time.monotonic()

    def have(self) -> int:
        """Return how many bytes the .part file has."""
        return self.part.stat().st_size if self.part.exists() else 0

    def get(self, url: str, policy: Policy) -> None:
        """Get the file from one source, with as many resumed tries as make progress.

        Raises:
            _SourceFailed: This source cannot give it.
        """
        self.started, self.gained = time.monotonic(), 0
        resumed = self.have() > 0
        self._transfer(url, policy)
        if self._publish():
            return
        if resumed:
            # The beginning may have come from elsewhere: this source has not been proven wrong.
            self.progress(f"{self.wanted.name}: wrong checksum after resuming, beginning again")
            self._transfer(url, policy)
            if self._publish():
                return
        msg = f"its content has not the sha256 {self.wanted.sha256}"
        raise _SourceFailed(msg)

    def _transfer(self, url: str, policy: Policy) -> None:
        fruitless = 0

        def attempt() -> None:
            nonlocal fruitless
            before = self.have()
            try:
                self._request(url)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as exc:
                # Nobody is there; another source helps more than asking again.
                msg = f"cannot be reached: {_reason(exc)}"
                raise _SourceFailed(msg) from exc
            except (httpx2.TransportError, _Broken) as exc:
                fruitless = 0 if self.have() > before else fruitless + 1
                if fruitless >= TRIES_WITHOUT_PROGRESS:
                    msg = f"broke off {fruitless} times: {_reason(exc)}"
                    raise _SourceFailed(msg) from exc
                msg = f"{url} broke off: {_reason(exc)}"
                self.progress(f"{self.wanted.name}: {msg}; continuing")
                raise NotYet(msg) from exc
            except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
                raise _SourceFailed(_reason(exc)) from exc

        wait_until(
            attempt,
            what=f"'{self.wanted.name}' from {url}",
            deadline=Deadline.after(WHOLE_BUDGET),
            policy=policy,
            cancelled=self.cancelled,
        )

    def _request(self, url: str) -> None:
        have = self.have()
        if have == self.wanted.size:
            return
        if have > self.wanted.size:
            self.part.unlink(missing_ok=True)
            have = 0
        # A compressed transfer would make every length and offset meaningless.
        headers = {"Accept-Encoding": "identity"}
        if have:
            # Of which version the part is, its checksum says at the end.
            headers["Range"] = f"bytes={have}-"
        self.progress(f"{self.wanted.name}: {'continuing' if have else 'downloading'} from {url}")
        client = _client(self.wanted.instead)
        with client, client.stream("GET", url, headers=headers) as response:
            start = self._begin_of(response, have)
            self._receive(response, start)
        if self.have() < self.wanted.size:
            msg = f"{self.have()} of {self.wanted.size} bytes came"
            raise _Broken(msg)

    def _begin_of(self, response: httpx2.Response, have: int) -> int:
        """Return the offset the answer's body belongs to.

        Raises:
            _SourceFailed: It is no answer to be written anywhere.
        """
        status = response.status_code
        if status == HTTP_RANGE_REFUSED:
            self.part.unlink(missing_ok=True)
            msg = "the server refused to continue"
            raise _Broken(msg)
        if status not in {HTTP_OK, HTTP_PARTIAL}:
            msg = f"the server answered {status} {response.reason_phrase}"
            raise (_Broken if status >= HTTP_SERVER_ERROR else _SourceFailed)(msg)
        if status == HTTP_PARTIAL:
            place = response.headers.get("Content-Range", "")
            if place != f"bytes {have}-{self.wanted.size - 1}/{self.wanted.size}":
                self.part.unlink(missing_ok=True)
                msg = f"the server continued with '{place}', which does not fit"
                raise _Broken(msg)
            return have
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) != self.wanted.size:
            msg = f"the file there has {length} bytes, and {self.wanted.size} were expected"
            raise _SourceFailed(msg)
        return 0  # it ignores ranges: all of it comes again

    def _receive(self, response: httpx2.Response, start: int) -> None:
        done = start
        with self.part.open("r+b" if start else "wb") as sink:
            sink.seek(start)
            # As they arrive: collecting chunks to a size would lose the last one at every cut.
            for chunk in response.iter_raw():
                done += len(chunk)
                if done > self.wanted.size:
                    sink.truncate(0)
                    msg = f"more than the expected {self.wanted.size} bytes came"
                    raise _SourceFailed(msg)
                sink.write(chunk)
                self.gained += len(chunk)
                self._tell(done)
                if self.cancelled is not None and self.cancelled():
                    msg = f"Downloading '{self.wanted.name}' was cancelled."
                    raise OperationError(msg, hint="The next run continues where it stopped.")

    def _tell(self, done: int) -> None:
        now = time.monotonic()
        if now - self.told < PROGRESS_SECONDS and done < self.wanted.size:
            return
        self.told = now
        name, size, seconds = self.wanted.name, self.wanted.size, now - self.started
        self.progress(
            progress_line(name, done=done, size=size, gained=self.gained, seconds=seconds)
        )

    def _publish(self) -> bool:
        """Give the file its name when it is the wanted one; else remove it and return False."""
        if file_sha256(self.part) != self.wanted.sha256:
            self.part.unlink(missing_ok=True)
            return False
        flush(self.part)
        self.part.rename(self.final)
        return True


class _Broken(Exception):  # noqa: N818 -- reads as what happened; leaves this module never
    """An answer that ended or began wrongly; asking again may help."""


def _is_whole(path: Path, wanted: Wanted) -> bool:
    # Only checked files ever get this name; the length finds what somebody cut by hand.
    return path.is_file() and path.stat().st_size == wanted.size


def _client(instead: str) -> httpx2.Client:
    try:
        return httpx2.Client(follow_redirects=True, timeout=TIMEOUT)
    except (ImportError, OSError, ValueError, httpx2.InvalidURL) as exc:
        # The values stay out of it: a proxy's address may hold a password.
        names = sorted(name for name in os.environ if name.lower() in FROM_ENVIRONMENT)
        msg = f"The environment's settings for downloads cannot be used: {', '.join(names)}."
        if isinstance(exc, ImportError):  # of httpx2's optional package for them
            names = [name for name in names if os.environ[name].lower().startswith("socks")]
            msg = f"SOCKS proxies are not supported for downloads ({', '.join(names)})."
        hint = (
            "Unset or mend them (an HTTP proxy goes into http_proxy and https_proxy), or get the "
            f"file elsewhere and {instead}."
        )
        raise HostError(msg, hint=hint) from exc


def _reason(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


def _disk_error(wanted: Wanted, directory: Path, exc: OSError) -> HostError:
    if exc.errno == errno.ENOSPC:
        msg = f"The disk that holds '{directory}' ran full while '{wanted.name}' was downloaded."
    else:
        msg = f"'{wanted.name}' could not be written to '{directory}': {exc.strerror}."
    hint = "Free some space, or set LABKIT_CACHE_DIR to another disk; what came is kept."
    return HostError(msg, hint=hint)
