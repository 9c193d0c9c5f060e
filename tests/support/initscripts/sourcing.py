"""Reads shell assignments by bash itself, which runs nothing else of what it is given."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from labkit.host.process import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SCRIPT = Path(__file__).with_name("source.sh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """What a shell has after it sourced a text.

    Attributes:
        values: Each variable that was assigned, with its last value.
        faults: What bash said, and each command that it would have run.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def source(texts: Iterable[str]) -> dict[str, Sourced]:
    """Let one bash source each text in a shell of its own, and return what it then has."""
    each = list(dict.fromkeys(texts))
    with TemporaryDirectory() as made:
        directory = Path(made)
        for number, text in enumerate(each):
            (directory / str(number)).write_bytes(text.encode())
        env = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        run(["bash", SCRIPT, directory, str(len(each))], timeout=60, env=env)
        told = (directory / "out").read_bytes().decode().replace(f"{directory}/", "")
    return dict(zip(each, _parts(told.split("\0")[:-1]), strict=True))


def _parts(words: list[str]) -> Iterator[Sourced]:
    values: dict[str, str] = {}
    faults: list[str] = []
    rest = iter(words)
    started = False
    for kind in rest:
        if kind == "file":
            if started:
                yield Sourced(values=values, faults=tuple(faults))
            values, faults, started = {}, [], True
            next(rest)
        elif kind == "value":
            key = next(rest)
            values[key] = next(rest)
        else:
            line, text = next(rest), re.sub(r"^[0-9]+: ", "", next(rest).strip())
            faults.append(text if line == "0" else f"line {line} is no plain assignment: {text}")
    if started:
        yield Sourced(values=values, faults=tuple(faults))
