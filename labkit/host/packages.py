"""What brings a command to this host: `make setup` in a clone, the system's package elsewhere."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TABLE = "packages.tsv"
OS_RELEASE = Path("/etc/os-release")
# By the word for it in os-release(5), ID or ID_LIKE: the column of the table, and what installs.
FAMILIES = {
    "debian": ("debian", ("apt", "install")),
    "ubuntu": ("debian", ("apt", "install")),
    "fedora": ("fedora", ("dnf", "install")),
    "rhel": ("el9", ("dnf", "install")),
}
NO_PACKAGE = "-"


def how_to_install(*commands: str) -> str:
    """Return a hint by which commands that are missing on this host can be had, as a sentence."""
    clone = Path(__file__).parents[2]
    if (clone / ".ci" / "setup").is_file():
        return "Run 'make setup', which installs everything labkit needs."
    return package_of(*commands)


def package_of(*commands: str) -> str:
    """Return the hint that names the packages, for what only few need and `make setup` leaves out."""
    try:
        system = OS_RELEASE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        system = ""
    return install_line(commands, system)


def install_line(commands: Sequence[str], os_release: str) -> str:
    """Return the sentence that names the packages of a system, as far as they are known.

    Args:
        commands: What is missing.
        os_release: The text of os-release(5).
    """
    family = _family(os_release)
    if family is None:
        return f"Install the packages of this system that have {', '.join(commands)}."
    column, installer = family
    known = _table(column)
    packages = sorted({known[command] for command in commands if command in known})
    unknown = [command for command in commands if command not in known]
    parts = [f"Run '{shlex.join(['sudo', *installer, *packages])}'."] if packages else []
    if unknown:
        parts.append(f"Install what has {', '.join(unknown)}.")
    return " ".join(parts)


def _family(os_release: str) -> tuple[str, tuple[str, ...]] | None:
    found = dict(re.findall(r"^(ID|ID_LIKE)=[\"']?([^\"'\n]*)", os_release, re.MULTILINE))
    words = [*found.get("ID", "").split(), *found.get("ID_LIKE", "").split()]
    return next((FAMILIES[word] for word in words if word in FAMILIES), None)


def _table(column: str) -> dict[str, str]:
    text = files(__package__).joinpath(_TABLE).read_text(encoding="utf-8")
    heading, *rows = (line.split("\t") for line in text.splitlines())
    index = heading.index(column)
    return {row[0]: row[index] for row in rows if row[index] != NO_PACKAGE}
