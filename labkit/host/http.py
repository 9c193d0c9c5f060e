"""Asks a web server for one small file and tells what came back: for looking, not for fetching."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx2  # noqa: TID251 -- one of the two modules allowed to

LIMIT_BYTES = 64 * 1024
# As long as labkit-prepare waits for an answer.
MOST_SECONDS = 40.0


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


def ask(
    url: str,
    *,
    proxy: str | None,
    timeout: float,
    limit: int = LIMIT_BYTES,
    at_most: float = MOST_SECONDS,
) -> HttpAnswer:
    """Send one GET, follow nothing, and return what came back, whatever it is.

    It is what the server sent, byte by byte: a file that is packed stays so.

    Args:
        url: What to ask for.
        proxy: The HTTP proxy to go by; None for none, whatever the environment says.
        timeout: Seconds for connecting, and again for every pause in the answer.
        limit: How many bytes of the answer to take.
        at_most: Seconds for the whole answer.
    """
    started = time.monotonic()
    try:
        client = httpx2.Client(proxy=proxy, timeout=timeout, trust_env=False)
        as_it_is = {"Accept-Encoding": "identity"}
        with client, client.stream("GET", url, headers=as_it_is) as response:
            return HttpAnswer(
                status=response.status_code,
                location=response.headers.get("Location", ""),
                body=_beginning(response, limit, started + at_most),
                seconds=time.monotonic() - started,
            )
    except (httpx2.HTTPError, httpx2.InvalidURL, ImportError, ValueError, TimeoutError) as exc:
        reason = str(exc) or type(exc).__name__
        return HttpAnswer(status=None, error=reason, seconds=time.monotonic() - started)


def _beginning(response: httpx2.Response, limit: int, deadline: float) -> bytes:
    body = bytearray()
    for piece in response.iter_raw():
        body += piece
        if len(body) >= limit:
            break
        if time.monotonic() > deadline:
            msg = "the answer takes too long to come"
            raise TimeoutError(msg)
    return bytes(body[:limit])
