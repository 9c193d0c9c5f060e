"""What labkit prints for programs: with `--json` one JSON document, however the command ends."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from labkit.errors import LabkitError, TimeOver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Raised when a key is taken away or means something else; new keys may come at any time.
FORMAT = 1
INTERRUPTED = 130
AGAIN = "run it again to go on, or 'labkit destroy'"
# The words after these are another program's, and '--json' of `run` names a file.
WITHOUT_FLAG = frozenset({"openstack", "run", "sandbox", "ssh"})


class ReportedError(Exception):
    """Ends a verb whose document has the error in it already.

    Attributes:
        error: What a person is told.
    """

    def __init__(self, error: LabkitError) -> None:
        super().__init__(error.message)
        self.error = error


def document(data: Mapping[str, object]) -> str:
    """Return data as the text of a JSON document that says which format it has."""
    return json.dumps({"format": FORMAT, **data}, indent=2) + "\n"


def print_json(data: Mapping[str, object]) -> None:
    """Print data for programs to standard output, as the only document of this command."""
    sys.stdout.write(document(data))


def print_judged(data: Mapping[str, object], error: LabkitError | None) -> None:
    """Print a report that may be followed by an error, which is part of the document then.

    Raises:
        ReportedError: There is an error.
    """
    if error is None:
        print_json(data)
        return
    print_json({**data, **error_data(error)})
    raise ReportedError(error)


def error_data(error: BaseException, log: str = "") -> dict[str, object]:
    """Return what ended a command, as the part of its document that says so.

    Args:
        error: What was raised, expected or not.
        log: The path of the command's log; empty where there is none.
    """
    known, code = expected(error), None
    if isinstance(error, KeyboardInterrupt):
        known, code = LabkitError("interrupted", hint=AGAIN), INTERRUPTED
    elif known is None:
        known = LabkitError(f"unexpected {type(error).__name__}: {error}")
    return {
        "error": {
            "message": known.message,
            "details": list(known.details),
            "hint": known.hint,
            "exit_code": code or known.exit_code,
            "log": log or None,
        }
    }


def expected(error: BaseException) -> LabkitError | None:
    """Return what is to be told a person; None when nobody expected that."""
    if isinstance(error, TimeOver | ReportedError):
        return error.error
    if isinstance(error, OSError):
        from labkit.host.files import file_error

        return file_error(error)
    return error if isinstance(error, LabkitError) else None


def is_asked_for(words: Sequence[str]) -> bool:
    """Say whether a command line asks for a document; also of one that cannot be understood."""
    own = words[: words.index("--")] if "--" in words else words
    verb = next((word for word in own if not word.startswith("-")), "")
    return verb not in WITHOUT_FLAG and "--json" in own
