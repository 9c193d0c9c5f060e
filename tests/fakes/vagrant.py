"""A script that stands in for vagrant: writes down how it was called, then does what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SCRIPT = """\
#!/bin/sh
printf '%s\\n' "$@" > "$RECORD/arguments"
env > "$RECORD/environment"
pwd > "$RECORD/directory"
echo "one line of output"
echo "one line of error" >&2
exec sh -c "$BEHAVE"
"""


def install(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put it first on PATH; return the directory where it writes how it was called.

    The environment variable BEHAVE is the shell command it ends as.
    """
    (directory / "bin").mkdir()
    script = directory / "bin" / "vagrant"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    record = directory / "record"
    record.mkdir()
    monkeypatch.setenv("PATH", f"{directory / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("RECORD", str(record))
    monkeypatch.setenv("BEHAVE", "true")
    return record


def environment_in(record: Path) -> dict[str, str]:
    """Return the environment it was called with."""
    lines = (record / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)
