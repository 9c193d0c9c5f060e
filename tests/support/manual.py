"""The manual page of labkit, `docs/labkit.1`, made from the program and from the reference pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from typer.core import TyperArgument, TyperOption

from labkit import __version__
from labkit.cli.app import app
from labkit.cli.help import HELP
from tests.support import documentation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typer.core import TyperCommand

MANUAL = documentation.ROOT / "docs" / "labkit.1"
FILES = "docs/reference/exit-codes-and-files.md"
# Characters that troff would take for its own, or print as another one: groff_char(7).
PLAIN = {
    "\\": r"\e",
    "-": r"\-",
    "'": r"\(aq",
    "`": r"\(ga",
    '"': r"\(dq",
    "^": r"\(ha",
    "~": r"\(ti",
}
OPENING = """\
One lab file, lab.yaml, describes nodes, cards and networks. labkit makes them on libvirt by
Vagrant, proves that each is ready, keeps and restores all of them at one instant, installs
OpenStack by Packstack, and verifies the result. 'labkit VERB --help' says what this page says of
a verb."""


def quoted(text: str) -> str:
    """Return any text as one line of roff that prints just that text."""
    words = " ".join(text.split())
    line = "".join(PLAIN.get(char, char if char.isascii() else _named(char)) for char in words)
    # At the beginning of a line a dot is a request; \\(aq is none.
    return rf"\&{line}" if line.startswith(".") else line


def _named(char: str) -> str:
    return rf"\[u{ord(char):04X}]"


def page() -> str:
    """Return the whole manual page."""
    lines = [
        r".\" Made from the program by 'pytest --regenerate tests/unit/test_manual.py'.",
        f'.TH LABKIT 1 "" "labkit {quoted(__version__)}" "labkit"',
        ".SH NAME",
        rf"labkit \- {quoted(str(app.info.help).rstrip('.'))}",
        ".SH SYNOPSIS",
        ".B labkit",
        r".I VERB",
        r"[\fIOPTIONS\fR] [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        quoted(OPENING),
        *_verbs(),
    ]
    for title, heading in (
        ("EXIT STATUS", "Exit codes"),
        ("FILES", "The lab's directory"),
        ("ENVIRONMENT", "Environment variables"),
    ):
        lines += [f".SH {title}", *_rows(heading)]
    lines += [".SH SEE ALSO", r".BR ssh (1),", r".BR virsh (1)"]
    return "\n".join(lines) + "\n"


def _verbs() -> Iterator[str]:
    known = documentation.verbs()
    for group in dict.fromkeys(group for group, _ in HELP.values()):
        yield f".SH {quoted(group).upper()}"
        for name, (theirs, examples) in HELP.items():
            if theirs == group:
                yield from _verb(name, known[name], examples)


def _verb(name: str, verb: TyperCommand, examples: Iterable[str]) -> Iterator[str]:
    parts = [part for part in verb.params if isinstance(part, TyperArgument | TyperOption)]
    arguments = [documentation.argument_words(p) for p in parts if isinstance(p, TyperArgument)]
    options = [r"[\fIOPTIONS\fR]"] if len(parts) > len(arguments) else []
    words = [rf"\fBlabkit {quoted(name)}\fR", *options, *map(quoted, arguments)]
    yield f".SS {' '.join(words)}"
    yield quoted(str(verb.help))
    for part in parts:
        yield ".TP"
        if isinstance(part, TyperArgument):
            yield rf"\fI{quoted(documentation.argument_words(part))}\fR"
        else:
            value = "" if part.is_flag else rf" \fI{quoted(part.metavar or 'FILE')}\fR"
            yield ", ".join(rf"\fB{quoted(each)}\fR{value}" for each in part.opts)
        yield quoted(documentation.meaning(part))
    yield ".PP"
    yield "Examples:"
    yield ".PP"
    yield ".nf"
    yield from (quoted(example) for example in examples)
    yield ".fi"


def _rows(heading: str) -> Iterator[str]:
    """Return a table of the page of exit codes and files as a list of its first cells."""
    part = documentation.text(FILES).split(f"## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in part.splitlines() if line.startswith("|")][2:]
    for line in table:
        first, meaning = (cell.strip() for cell in line.split("|")[1:3])
        yield ".TP"
        yield rf"\fB{quoted(_without_marks(first))}\fR"
        yield quoted(_without_marks(meaning))


def _without_marks(cell: str) -> str:
    """Return Markdown's words without the marks of code and links."""
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", cell.replace("`", ""))
