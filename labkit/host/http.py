"""Asks a web server for one small file and tells what came back: for looking, not for fetching."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx2  # noqa: TID251 -- one of the two modules allowed to

LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What a server answered.

    Attributes:
        status: The HTTP status; None when nothing answered.
        location: Where a redirection leads; empty without one.
        error: Why nothing answered; empty when something did.
        body: The beginning of what came.
        seconds: How long it took.
    """

    status: int | None
    location: str = ""
    error: str = ""
    body: bytes = b""
    seconds: float = 0.0


def ask(url: str, *, proxy: str | None, timeout: float) -> HttpAnswer:
    """Send one GET, follow nothing, and return what came back, whatever it is.

    Args:
        url: What to ask for.
        proxy: The HTTP proxy to go by; None for none, whatever the environment says.
        timeout: Seconds for connecting, and again for every pause in the answer.
    """
    started = time.monotonic()
    try:
        client = httpx2.Client(proxy=proxy, timeout=timeout, trust_env=False)
        with client, client.stream("GET", url) as response:
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) >= LIMIT_BYTES:
                    break
            return HttpAnswer(
                status=response.status_code,
                location=response.headers.get("Location", ""),
                body=body[:LIMIT_BYTES],
                seconds=time.monotonic() - started,
            )
    except (httpx2.HTTPError, httpx2.InvalidURL, ImportError, ValueError) as exc:
        reason = str(exc) or type(exc).__name__
        return HttpAnswer(status=None, error=reason, seconds=time.monotonic() - started)
