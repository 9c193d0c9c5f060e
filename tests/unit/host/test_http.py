"""Asking a web server: what it sent, as it sent it, and neither more nor for longer than it should be."""

from __future__ import annotations

import gzip

from labkit.host.http import ask
from tests.fakes.mirror import FakeMirror, mirroring


def test_packed_file_is_taken_as_it_was_sent() -> None:
    packed = gzip.compress(b"text")
    with mirroring(FakeMirror(body=packed, headers={"Content-Encoding": "gzip"})) as mirror:
        answer = ask(f"{mirror.url}/repomd.xml", proxy=None, timeout=20)
    assert (answer.status, answer.body) == (200, packed)


def test_no_more_is_taken_than_was_asked_for() -> None:
    with mirroring(FakeMirror(body=b"x" * 1000)) as mirror:
        answer = ask(f"{mirror.url}/repomd.xml", proxy=None, timeout=20, limit=10)
    assert answer.body == b"x" * 10


def test_answer_that_takes_too_long_is_none() -> None:
    with mirroring() as mirror:
        answer = ask(f"{mirror.url}/repomd.xml", proxy=None, timeout=20, at_most=0)
    assert (answer.status, answer.error) == (None, "the answer takes too long to come")
