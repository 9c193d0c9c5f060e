"""What a guest wrote on its serial ports: its console, and firstboot's reports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CONSOLE_LINES = 15

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[\x00-\x08\x0b-\x1f\x7f]")


def set_aside(log: Path) -> tuple[Path, ...]:
    """Return the files in which virtlogd put aside what was too long for one, the oldest first.

    It begins a new one after 2 MiB and keeps three (max_size and max_backups of virtlogd.conf);
    the new one is for root alone.
    """
    found = {path.suffix[1:]: path for path in log.parent.glob(f"{log.name}.*")}
    numbers = sorted((int(each) for each in found if each.isdecimal()), reverse=True)
    return tuple(found[str(number)] for number in numbers)


def last_report(log: Path) -> tuple[str, str] | None:
    """Return the last complete firstboot line as (applied|unchanged|failed, id or reason).

    Raises:
        PermissionError: The file is for root alone, as virtlogd makes it.
    """
    try:
        text = log.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    found = re.findall(
        r"^labkit-firstboot: (applied|unchanged|failed) (.*?)\r?\n", text, re.MULTILINE
    )
    return found[-1] if found else None


def settled_report(log: Path) -> tuple[str, str] | None:
    """Return what firstboot last said of the system: systemd's word for it, and the boot id."""
    try:
        text = log.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    found = re.findall(r"^labkit-firstboot: system ([a-z]+) ([0-9a-f-]+)\r?\n", text, re.MULTILINE)
    return found[-1] if found else None


def console_tail(log: Path, lines: int = CONSOLE_LINES) -> tuple[str, ...]:
    """Return the last non-empty lines of a serial console, without control sequences.

    Raises:
        PermissionError: The file is for root alone, as virtlogd makes it.
    """
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16384))
            text = file.read().decode("utf-8", "replace")
    except PermissionError:
        raise
    except OSError:
        return ()
    clean = (_CONTROL.sub("", line).rstrip() for line in text.splitlines())
    return tuple(line for line in clean if line)[-lines:]
