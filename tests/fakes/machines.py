"""Vagrant's machines in memory, for the verbs that remove a lab."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from labkit.host.vagrant import Machines


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeMachines(Machines):
    """Writes down that it was to destroy, and fails where told.

    Attributes:
        asked: What it was asked for.
        failures: What the next calls raise, one each.
    """

    root: Path = Path("/nowhere")
    log: Path = Path("/nowhere/vagrant.log")
    cache: Path = Path("/nowhere")
    asked: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def destroy(self) -> None:
        self.asked.append("destroy")
        if self.failures:
            raise self.failures.pop(0)
