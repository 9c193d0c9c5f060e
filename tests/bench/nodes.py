"""The part of the bench about labs of three, five and nine nodes: how cost grows with them.

Run by `make bench` inside the sandbox; labkit and the floor in turn, A B A B, for each lab.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from labkit.host.process import environment, run
from labkit.snapshots.record import Shelf
from tests.bench.lab import floor, keep
from tests.support.many_nodes import lab_text

if TYPE_CHECKING:
    from labkit.host.process import CommandResult

LABKIT = Path(sys.executable).with_name("labkit")
LIMIT_SECONDS = 3600.0
GIB = 2**30
COMPUTES = (2, 4, 8)
# Deployed, so that there is something to verify.
DEPLOYED = (2, 8)
SNAPSHOT = "bench"


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab under measurement."""

    name: str
    file: Path

    def run(self, *words: str) -> CommandResult:
        """Run a verb on it to its end."""
        env = environment(LABKIT_LAB=str(self.file))
        return run([LABKIT, *words], timeout=LIMIT_SECONDS, env=env, cwd=self.file.parent)

    def seconds(self, *words: str) -> float:
        """Run a verb on it and return the seconds it took."""
        return self.run(*words).seconds


Samples = dict[str, list[float]]


class Add(Protocol):
    """Takes a sample of the lab at hand."""

    def __call__(self, name: str, value: float) -> None:
        """Add it."""


def main(report: Path, rounds: int) -> None:
    """Measure and write the samples."""
    if os.environ.get("LABKIT_SANDBOX") != "1":
        sys.exit("run it with 'make bench': it removes domains and volumes by name")
    samples: Samples = {}
    for computes in COMPUTES:
        one_size(samples, computes, rounds)
    for _ in range(rounds):
        side_by_side(samples)
    report.write_text(json.dumps(samples), encoding="utf-8")


def written(name: str, computes: int, *, number: int) -> Lab:
    """Write a lab file."""
    directory = Path(os.environ["TMPDIR"]) / name
    directory.mkdir(exist_ok=True)
    file = directory / "lab.yaml"
    file.write_text(lab_text(name, computes, number=number), encoding="utf-8")
    return Lab(name, file)


def one_size(samples: Samples, computes: int, rounds: int) -> None:
    """Measure a lab of so many compute nodes."""
    nodes = computes + 1
    lab = written(f"n{nodes}", computes, number=nodes)

    def add(name: str, value: float) -> None:
        samples.setdefault(f"{name} of {nodes}", []).append(value)

    # Not measured: fills the pool and libvirt's caches for both.
    lab.run("up")
    kept = keep(lab.file)
    for _ in range(rounds):
        lab.run("destroy")
        add("floor", floor(kept))
        add("up", lab.seconds("up"))
    if computes in DEPLOYED:
        while_up(lab, rounds, add=add, whole=computes == max(COMPUTES))
    lab.run("destroy")


def while_up(lab: Lab, rounds: int, *, add: Add, whole: bool) -> None:
    """Measure what needs a lab that is up, then what needs one that is deployed."""
    for _ in range(rounds):
        if whole:
            add("status", lab.seconds("status"))
        lab.run("snapshot", SNAPSHOT)
        root = Path(os.environ["LABKIT_STATE_DIR"]) / lab.name / "snapshots"
        known = Shelf(root).named(SNAPSHOT)
        add("pause per GiB", known.pause_ms / 1000 / (known.memory_bytes / GIB))
        add("restore", lab.seconds("restore", SNAPSHOT))
        lab.run("snapshot", "--delete", SNAPSHOT)
    report = json.loads(lab.run("deploy", "--no-snapshot", "--json").stdout)
    if whole:
        stages = report["seconds"]
        beside = ("start", "bring home", "verify")
        add("deploy share", sum(stages[name] for name in beside))
    for _ in range(rounds):
        add("verify", lab.seconds("verify"))


def side_by_side(samples: Samples) -> None:
    """Bring two labs of three nodes up at once, and one after the other."""
    labs = [written(f"pair{number}", 2, number=number) for number in (21, 22)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        began = time.monotonic()
        list(pool.map(lambda lab: lab.run("up"), labs))
        samples.setdefault("labs at once", []).append(time.monotonic() - began)
    for lab in labs:
        lab.run("destroy")
    samples.setdefault("labs in turn", []).append(sum(lab.seconds("up") for lab in labs))
    for lab in labs:
        lab.run("destroy")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
