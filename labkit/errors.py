"""The errors labkit raises on purpose: what happened, the evidence, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class LabkitError(Exception):
    """An expected failure, worded for the person who has to act on it.

    Attributes:
        message: One full sentence naming what was expected and what was found.
        details: Evidence, one line each: every problem of a file, a log's last lines.
        hint: The command or the key that mends it; empty when there is none.
        exit_code: What the process ends with.
    """

    message: str
    details: tuple[str, ...] = ()
    hint: str = ""

    exit_code: ClassVar[int] = 4

    def __post_init__(self) -> None:
        """Let tracebacks, in the log and in tests, show the evidence too."""
        for line in self.details:
            self.add_note(line)

    def __str__(self) -> str:
        """Return the message alone; `labkit.cli.output` prints details and hint."""
        return self.message


class UsageError(LabkitError):
    """A command line that asks for something that does not exist."""

    exit_code = 2


class LabFileError(LabkitError):
    """A lab.yaml or box.yaml that cannot be used; `details` lists every problem."""

    exit_code = 2


class HostError(LabkitError):
    """The host lacks something: a tool, a daemon, a bridge, root, space."""

    exit_code = 3


class OperationError(LabkitError):
    """An operation on the lab failed although file and host were in order."""

    exit_code = 4


class CommandError(OperationError):
    """An external command failed; `details` holds the end of its output."""


class TimeOver(BaseException):
    """The time a command was given has passed.

    Like KeyboardInterrupt no Exception: whoever deals with a step's own failure lets it pass.
    """

    def __init__(self, error: LabkitError) -> None:
        super().__init__(error.message)
        self.error = error


def joined(errors: Sequence[LabkitError], message: str) -> LabkitError:
    """Return one error for several that happened side by side; a single one stays as it is."""
    if len(errors) == 1:
        return errors[0]
    details: list[str] = []
    for error in errors:
        details += [error.message, *(f"  {line}" for line in error.details)]
    return OperationError(message, details=tuple(details), hint=errors[0].hint)
