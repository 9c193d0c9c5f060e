"""When a run removes its lab: a choice of the command line."""

from __future__ import annotations

from enum import StrEnum


class Destroy(StrEnum):
    """When a run removes its lab at the end."""

    NEVER = "never"
    ON_SUCCESS = "on-success"
    ALWAYS = "always"
