"""The `labkit explain` verb."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 -- typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.documents import print_json
from labkit.cli.options import JsonOption  # noqa: TC001 -- typer reads the annotations
from labkit.cli.output import notice
from labkit.errors import UsageError

if TYPE_CHECKING:
    from labkit.packstack.recorded import Recorded

NOT_UNDERSTOOD = 1
# A failure stands at the end of what it ended.
MOST_BYTES = 4 * 1024 * 1024
STANDARD_INPUT = "-"


def explain(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="What Packstack printed, its openstack-setup.log, logs of Puppet; '-' for "
            "standard input.",
        ),
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Say why a recorded Packstack run failed and what mends it; exit 1 where that is not known."""
    from labkit.packstack.recorded import recorded

    found = recorded(_texts(files))
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)
    if not found.understood:
        raise typer.Exit(NOT_UNDERSTOOD)


def _texts(files: list[Path]) -> dict[str, str]:
    texts: dict[str, str] = {}
    problems: list[str] = []
    for file in files:
        try:
            data = _read(file)
        except OSError as exc:
            problems.append(f"{file}: {exc.strerror}")
            continue
        texts[str(file)] = data.decode("utf-8", "replace")
    if problems:
        message = "What was recorded cannot be read."
        raise UsageError(message, details=tuple(problems), hint="Give the paths of text files.")
    return texts


def _read(file: Path) -> bytes:
    if str(file) == STANDARD_INPUT:
        return sys.stdin.buffer.read()[-MOST_BYTES:]
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - MOST_BYTES))
        return stream.read()


def _print(found: Recorded) -> None:
    lines: list[str] = []
    for one in found.findings:
        failure = one.known.failure
        head = "Note" if failure.note else "Cause"
        lines.append(f"{head}: {one.known.cause}")
        lines.append(f"  Remedy: {one.remedy}")
        host = f"on {one.host}; " if one.host else ""
        lines.append(f"  Known: {host}{one.certainty}; '{failure.id}' from {failure.source}")
    if found.lines:
        lines += ["Its words:", *(f"  {line}" for line in found.lines)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if found.broken_off:
        notice(f"the output ends before Packstack does, at '{found.broken_off}'")
    elif not found.failed:
        kinds = ", ".join(dict.fromkeys(kind.value for kind in found.kinds.values()))
        notice(f"no failure is in it; it was taken for {kinds}")
    elif found.trace:
        notice(f"more is in {found.trace} on the controller; give labkit that file too")
