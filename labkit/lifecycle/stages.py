"""The stages of a whole job, timed: what each showed, or how it failed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.errors import LabkitError
from labkit.host.files import file_error

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedStage:
    """A stage that ended: its name, seconds, what it showed, and how it failed, if it did."""

    name: str
    seconds: float
    result: str = ""
    error: str = ""


@dataclass(slots=True, kw_only=True)
class Stages:
    """A job so far.

    Attributes:
        ended: Its stages that ended, in order.
    """

    ended: list[EndedStage] = field(default_factory=list)

    def run(self, name: str, work: Callable[[], str]) -> None:
        """Run a stage and keep its time, its result, and its error, which is raised again."""
        started = time.monotonic()
        result = error = ""
        try:
            result = work()
        except BaseException as exc:
            error = told(exc)
            raise
        finally:
            seconds = time.monotonic() - started
            self.ended.append(EndedStage(name=name, seconds=seconds, result=result, error=error))

    @property
    def failed(self) -> bool:
        """Return whether a stage failed."""
        return any(stage.error for stage in self.ended)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return table rows, the total last."""
        rows = [
            (each.name, f"{each.seconds:.1f}", (each.error or each.result).partition("\n")[0])
            for each in self.ended
        ]
        return [*rows, ("total", f"{sum(each.seconds for each in self.ended):.1f}", "")]


def told(error: BaseException) -> str:
    """Return an error as lines for a report; never empty."""
    known = file_error(error) if isinstance(error, OSError) else error
    if isinstance(known, LabkitError):
        hint = [f"hint: {known.hint}"] if known.hint else []
        return "\n".join((known.message, *known.details, *hint))
    if isinstance(error, Exception):
        return repr(error)
    return str(error) or "interrupted"
