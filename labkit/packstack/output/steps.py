"""The steps and manifests Packstack is going to work through, in order, for given answers."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from labkit.lab import conditions

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATA = "queens-steps.tsv"


def expected_steps(answers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the titles of the steps that a run is going to print, in order.

    Source: the sequences of packstack/plugins, stable/queens cfffafa9; 51 of the 52 titles
    were seen printed by that code.

    Args:
        answers: The effective answers: every key the conditions name, defaults included. A
            missing key counts as an empty value.
    """

    def value(key: str) -> str:
        return answers.get(key, "")

    return tuple(title for condition, title in _table() if conditions.holds(condition, value))


def known_steps() -> tuple[str, ...]:
    """Return the titles of all steps Packstack 12.0.1 has, in order, whatever the answers."""
    return tuple(title for _, title in _table())


def expected_manifests(answers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the file names of the manifests that a run is going to apply, group by group.

    Hosts of one group are worked side by side and end in any order. Source: prepare_puppet_modules
    and apply_puppet_manifest of packstack/plugins/puppet_950.py, stable/queens.

    Args:
        answers: As for `expected_steps`.
    """
    excluded = set(_hosts(answers, "EXCLUDE_SERVERS"))
    groups = (
        ("controller", "CONFIG_CONTROLLER_HOST"),
        ("network", "CONFIG_NETWORK_HOSTS"),
        ("compute", "CONFIG_COMPUTE_HOSTS"),
    )
    return tuple(
        f"{host}_{role}.pp"
        for role, key in groups
        for host in _hosts(answers, key)
        if host not in excluded
    )


def _hosts(answers: Mapping[str, str], key: str) -> tuple[str, ...]:
    words = conditions.SEPARATORS.split(answers.get(key, ""))
    return tuple(dict.fromkeys(word for word in words if word))


def _table() -> tuple[tuple[str, str], ...]:
    text = files(__package__).joinpath(_DATA).read_text(encoding="utf-8")
    rows = (line.partition("\t") for line in text.splitlines() if not line.startswith("#"))
    return tuple((condition, title) for condition, _, title in rows)
