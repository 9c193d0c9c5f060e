"""The steps and manifests Packstack is going to work through, in order, for given answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab import conditions, releases
from labkit.lab.topology import Release

if TYPE_CHECKING:
    from collections.abc import Mapping


def expected_steps(
    answers: Mapping[str, str], release: Release = Release.QUEENS
) -> tuple[str, ...]:
    """Return the titles of the steps that a run is going to print, in order.

    Source: the sequences of packstack/plugins, as the head of each release's steps.tsv says; of
    Queens 51 of the 52 titles were seen printed by that code.

    Args:
        answers: The effective answers: every key the conditions name, defaults included. A
            missing key counts as an empty value.
        release: Whose Packstack it is.
    """

    def value(key: str) -> str:
        return answers.get(key, "")

    return tuple(
        title for condition, title in _table(release) if conditions.holds(condition, value)
    )


def _table(release: Release) -> tuple[tuple[str, str], ...]:
    text = releases.text(release, "steps.tsv")
    rows = (line.partition("\t") for line in text.splitlines() if not line.startswith("#"))
    return tuple((condition, title) for condition, _, title in rows)
