"""Everything a person sees: errors, tables and live progress. Data goes to stdout by the CLI."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from labkit.cli.hiding import shown
from labkit.state.progress import LAB, Event, Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

    from labkit.errors import LabkitError

WIDTH = 80
# Of a column of sentences, in characters, before another column is left out for it.
READABLE = 24
MARKS = {Phase.STARTED: "…", Phase.DONE: "ok", Phase.FAILED: "FAILED"}


def print_error(error: LabkitError, log: str = "") -> None:
    """Print an error to standard error: message, evidence, what mends it."""
    from rich.text import Text

    console = _lines()
    console.print(Text("error: ", style="bold red") + Text(error.message, style="bold"))
    for line in error.details:
        console.print(Text(f"  {line}"))
    if error.hint:
        console.print(Text("hint: ", style="bold cyan") + Text(error.hint))
    if log:
        console.print(Text(f"log: {log}", style="dim"))


def answer(text: str) -> None:
    """Print one line of what was asked for to standard output."""
    sys.stdout.write(f"{text}\n")


def notice(text: str) -> None:
    """Print one line beside what was asked for to standard error."""
    _lines().print(text, markup=False, emoji=False)


def _lines() -> Console:
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()
) -> None:
    """Print a table to standard output, 80 columns where neither a terminal nor COLUMNS says else.

    A row with several lines in a cell has its first cell in each of them, so that grep finds all.

    Args:
        columns: Their headings.
        rows: A cell for each column.
        spare: The columns to leave out, in this order, where the table is too wide.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, emoji=False)
    if not (console.is_terminal or "COLUMNS" in os.environ):
        console.width = WIDTH
    # Before a line is broken within a secret.
    lines = [tuple(map(shown, line)) for row in rows for line in _lines_of(row)]
    kept = _fitting(columns, lines, spare, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index in kept:
        table.add_column(columns[index], overflow="fold")
    for line in lines:
        table.add_row(*(Text(line[index]) for index in kept))
    console.print(table)


def _fitting(
    columns: Sequence[str], lines: Sequence[Sequence[str]], spare: Sequence[str], width: int
) -> Sequence[int]:
    """Return the columns that stay: as few spare ones are left out as have to be."""
    *whole, last = zip(columns, *lines, strict=True)
    # A sentence stands in the last column, and may be broken between its words.
    words = [word for cell in last for word in cell.split()]
    sentence = min(max(map(len, last)), max(READABLE, *map(len, words)))
    widths = [*(max(map(len, cells)) for cells in whole), sentence]
    kept = list(range(len(columns)))
    for name in spare:
        # Two blanks between columns.
        if sum(widths[index] + 2 for index in kept) - 2 > width:
            kept.remove(columns.index(name))
    return kept


def _lines_of(row: Sequence[str]) -> Iterator[tuple[str, ...]]:
    columns = [cell.split("\n") for cell in row]
    for number in range(max(map(len, columns))):
        lines = (lines[number] if number < len(lines) else "" for lines in columns[1:])
        yield (columns[0][0], *lines)


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Show progress on standard error: a live table in a terminal, plain lines elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        live = _LiveProgress(console)
        with live.live:
            yield live
    else:
        yield PlainProgress(sys.stderr)


class PlainProgress:
    """One time-stamped line per finished stage, and per started stage of the whole lab."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Print the event."""
        if event.phase is Phase.STARTED and event.node != LAB:
            return
        clock = time.strftime("%H:%M:%S")
        seconds = "" if event.phase is Phase.STARTED else f" {event.seconds:.1f} s"
        note = f" ({event.note})" if event.note else ""
        line = f"{clock} {event.node:<12} {event.stage:<22} {MARKS[event.phase]}{seconds}{note}"
        with self._lock:
            self._stream.write(f"{line}\n")
            self._stream.flush()


class _LiveProgress:
    """A table with one row per node, redrawn a few times a second."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._rows: dict[str, tuple[Event, float]] = {}
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.live = Live(
            get_renderable=self._table, console=console, refresh_per_second=4, transient=False
        )

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._rows[event.node] = (event, time.monotonic())

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=False)
        with self._lock:
            rows = list(self._rows.values())
        for event, since in rows:
            running = event.phase is Phase.STARTED
            seconds = time.monotonic() - since if running else event.seconds
            style = {Phase.STARTED: "yellow", Phase.DONE: "green", Phase.FAILED: "red"}
            table.add_row(
                Text(event.node, style="bold"),
                Text(event.stage),
                Text(f"{seconds:6.1f} s"),
                Text(MARKS[event.phase], style=style[event.phase]),
                Text(event.note, style="dim"),
            )
        table.add_row(Text("elapsed", style="dim"), "", f"{time.monotonic() - self._began:6.1f} s")
        return table
