"""Reads the last lines of `ping` (iputils s20160308, CentOS 7's, to 20221126)."""

from __future__ import annotations

import re

_STATISTICS = re.compile(
    r"^--- (?P<address>[0-9.]+) ping statistics ---\n\d+ packets transmitted, (?P<count>\d+) received",
    re.MULTILINE,
)


def parse(text: str) -> dict[str, int]:
    """Return how many answers came from each address that was asked.

    Raises:
        ValueError: There are no statistics in it, so it is no output of `ping`.
    """
    answers = {found["address"]: int(found["count"]) for found in _STATISTICS.finditer(text)}
    if not answers:
        msg = "no statistics are in it, so it is not what 'ping' prints"
        raise ValueError(msg)
    return answers
