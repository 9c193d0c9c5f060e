"""A web server on the loopback that holds one file and misbehaves as told."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"


@dataclass
class FakeFileServer:
    """What the server holds and how it behaves; read anew for every request.

    Attributes:
        content: The file, whatever its path.
        cuts: One answer each is broken off after so many bytes.
        statuses: One answer each has this status and no file.
        ignores_range: Every answer is the whole file.
        shift: Continued answers begin so many bytes later than they were asked to.
        redirect: Every request is sent there.
        gate: When set, the second half of an answer waits for it.
        requests: The path and the headers of what was asked.
    """

    content: bytes
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ignores_range: bool = False
    shift: int = 0
    redirect: str | None = None
    gate: threading.Event | None = None
    half_sent: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def ranges(self) -> list[str]:
        """Return the Range header of every request, empty where there was none."""
        return [headers.get("range", "") for _path, headers in self.requests]


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, server: FakeFileServer, *args: Any) -> None:  # noqa: ANN401 -- passed on
        self.held = server
        super().__init__(*args)

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.held.requests.append((self.path, headers))
        if self.held.redirect is not None:
            self.send_response(301)
            self.send_header("Location", self.held.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.held.statuses:
            self.send_error(self.held.statuses.pop(0))
            return
        self._answer(headers)

    def _answer(self, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        start = 0
        if asked and not self.held.ignores_range:
            start = int(asked[1]) + self.held.shift
            if start >= len(self.held.content):
                self.send_error(416)
                return
            self.send_response(206)
            total = len(self.held.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        body = self.held.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.held.cuts:
            self.wfile.write(body[: self.held.cuts.pop(0)])
            return
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        self.held.half_sent.set()
        if self.held.gate is not None:
            self.held.gate.wait(30)
        self.wfile.write(body[half:])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the parent's
        """Say nothing."""


@contextmanager
def serving(server: FakeFileServer) -> Iterator[FakeFileServer]:
    """Serve until the block ends; `server.url` is the file's address."""

    handler = functools.partial(_Handler, server)
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as listener:
        server.url = f"http://{HOST}:{listener.server_address[1]}/any.iso"
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            if server.gate is not None:
                server.gate.set()
            listener.shutdown()
            thread.join()
