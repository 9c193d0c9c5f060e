"""A web server on the loopback that plays a mirror of CentOS's release trees."""

from __future__ import annotations

import functools
import http.server
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
REPOMD = b'<?xml version="1.0"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo"/>\n'


@dataclass
class FakeMirror:
    """What the mirror holds; read anew for every request.

    Attributes:
        missing: Parts of paths that are answered with 404.
        redirect: Every request is sent there, with the path appended.
        body: What every repomd.xml holds.
        requests: What was asked, as sent: a path, or a whole URL when asked as a proxy.
        url: The address the release trees lie under.
    """

    missing: list[str] = field(default_factory=list)
    redirect: str | None = None
    body: bytes = REPOMD
    requests: list[str] = field(default_factory=list)
    url: str = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, mirror: FakeMirror, *args: Any) -> None:  # noqa: ANN401 -- passed on
        self.mirror = mirror
        super().__init__(*args)

    def do_GET(self) -> None:
        self.mirror.requests.append(self.path)
        if self.mirror.redirect is not None:
            self.send_response(301)
            self.send_header("Location", f"{self.mirror.redirect}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif any(part in self.path for part in self.mirror.missing):
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.mirror.body)))
            self.end_headers()
            self.wfile.write(self.mirror.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the parent's
        """Say nothing."""


@contextmanager
def mirroring(mirror: FakeMirror | None = None) -> Iterator[FakeMirror]:
    """Serve until the block ends."""
    held = mirror or FakeMirror()
    handler = functools.partial(_Handler, held)
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as listener:
        held.url = f"http://{HOST}:{listener.server_address[1]}/centos"
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield held
        finally:
            listener.shutdown()
            thread.join()
