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
    """Return one error for several that happened side by side; a single one stays as it is.

    Those of one kind stay that kind, by which a wait knows what to try again.
    """
    first = errors[0]
    if len(errors) == 1:
        return first
    details: list[str] = []
    for error in errors:
        details += [error.message, *(f"  {line}" for line in error.details)]
    kind = type(first) if {type(error) for error in errors} == {type(first)} else OperationError
    return kind(message, details=tuple(details), hint=first.hint)


def cause(errors: Sequence[Exception], *, doing: str) -> Exception:
    """Return one error for all that failed side by side, expected or not, the first cause first.

    Args:
        errors: In the order they happened; a single one stays as it is.
        doing: Completes "could not ...": `bring the lab up`.
    """
    if len(errors) == 1:
        return errors[0]
    known = [
        each
        if isinstance(each, LabkitError)
        else OperationError(f"Unexpected {type(each).__name__}: {each}")
        for each in errors
    ]
    one = joined(known, f"labkit could not {doing}: {len(errors)} things failed.")
    # The log shows a cause with its traceback.
    one.__cause__ = next((each for each in errors if not isinstance(each, LabkitError)), errors[0])
    return one
