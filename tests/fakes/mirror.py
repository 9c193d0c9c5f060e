"""A web server on the loopback that plays a mirror of CentOS's release trees."""

from __future__ import annotations

import functools
import gzip
import http.server
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
REPOMD = b"""\
<?xml version="1.0"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo">
<data type="filelists"><location href="repodata/filelists.xml.gz"/></data>
<data type="primary"><location href="repodata/primary.xml.gz"/></data>
</repomd>
"""
LISTED = b"<metadata><package><name>centos-release-openstack-queens</name></package></metadata>\n"


@dataclass
class FakeMirror:
    """What the mirror holds; read anew for every request.

    Attributes:
        missing: Parts of paths that are answered with 404.
        redirect: Every request is sent there, with the path appended.
        body: What every repomd.xml holds.
        listed: What every other file holds: the list of packages that repomd.xml names.
        headers: Sent with every file.
        requests: What was asked, as sent: a path, or a whole URL when asked as a proxy.
        url: The address the release trees lie under.
    """

    missing: list[str] = field(default_factory=list)
    redirect: str | None = None
    body: bytes = REPOMD
    listed: bytes = gzip.compress(LISTED)
    headers: dict[str, str] = field(default_factory=dict)
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
            index = self.path.endswith("repomd.xml")
            body = self.mirror.body if index else self.mirror.listed
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            for name, value in self.mirror.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

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
