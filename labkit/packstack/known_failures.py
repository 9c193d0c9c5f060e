"""The known failures of Packstack: how each shows, its cause, its remedy.

The records are in known-failures.yaml beside this module, whose head describes their keys. It is
read when a failure has to be explained, not at import.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, model_validator
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE = "known-failures.yaml"
_Sentence = Annotated[str, StringConstraints(pattern=r"[.}]$")]
_GROUP = re.compile(r"\{(\w+)\}")


class Where(StrEnum):
    """In which text a failure shows."""

    OUTPUT = "output"  # Packstack's error, tracebacks, and what tools print; stderr too
    BULLETS = "bullets"  # Packstack's additional information
    PUPPET = "puppet"  # an error in Puppet's log


class Failure(BaseModel):
    """A known failure; its fields are described at the head of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, StringConstraints(pattern=r"^[a-z]+(-[a-z]+)*$")]
    where: frozenset[Where] = Field(min_length=1)
    patterns: tuple[str, ...] = Field(min_length=1)
    cause: _Sentence
    remedy: _Sentence
    specificity: int = Field(default=2, ge=0, le=3)
    note: bool = False
    seen: tuple[str, ...] = ()
    source: str = Field(min_length=1)

    @property
    def pattern(self) -> re.Pattern[str]:
        """Return the one expression that stands for all patterns."""
        return re.compile("|".join(self.patterns), re.MULTILINE)

    @model_validator(mode="after")
    def _can_be_filled(self) -> Self:
        try:
            groups = self.pattern.groupindex
        except re.error as exc:
            msg = f"the patterns of '{self.id}' are no regular expressions: {exc}"
            raise ValueError(msg) from exc
        unknown = set(_GROUP.findall(self.cause + self.remedy)) - set(groups)
        if unknown:
            msg = f"no pattern of '{self.id}' has the group '{min(unknown)}'"
            raise ValueError(msg)
        return self

    def cause_for(self, told: Mapping[str, str]) -> str:
        """Return the cause with what the pattern's groups matched."""
        return _filled(self.cause, told)

    def remedy_for(self, told: Mapping[str, str]) -> str:
        """Return the remedy with what the pattern's groups matched."""
        return _filled(self.remedy, told)


def _filled(text: str, told: Mapping[str, str]) -> str:
    # Not str.format: what matched comes from a guest and may hold braces itself.
    return _GROUP.sub(lambda name: told.get(name[1], "(unknown)"), text)


@cache
def failures() -> tuple[Failure, ...]:
    """Return all known failures; of equally specific ones the earlier is told first."""
    return parse(files(__package__).joinpath(TABLE).read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Failure, ...]:
    """Return the records of a table.

    Raises:
        ValueError: A record is wrong; pydantic says which and how.
    """
    return TypeAdapter(tuple[Failure, ...]).validate_python(YAML(typ="safe").load(text))
