"""`make bench-trims`: what each trim of the rehearsal box saves, by leaving it out.

Names of trims as arguments leave out those alone; NAME,NAME leaves out both at once.
Builds the box once without each trim (that needs the network) and boots each build alone, in turn
with the full set, which is booted twice a turn: the row of the second says what chance alone does.
The processor time QEMU used until SSH answered says more than the wall clock.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from labkit.boxes.build import build
from labkit.boxes.definition import find_box
from labkit.boxes.file import DebianBoxFile
from labkit.host.files import cache_root
from labkit.host.process import environment, run
from tests.support.bare_guest import booted, bridge
from tests.support.boxtree import without

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labkit.boxes.cache import CachedBox
    from labkit.boxes.definition import BoxDefinition

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 4
FULL = "(nothing)"
AGAIN = "(nothing again)"
SECONDS = 3600.0
HEAD = ("left out", "CPU s", "saves", "wall s", "saves", "image MB")


def variants(definition: BoxDefinition, names: Sequence[str]) -> dict[str, BoxDefinition]:
    """Return the full box and the box without each of the named trims or, without names, of all.

    Args:
        definition: The box.
        names: Trims; those joined by commas are left out together.
    """
    if not isinstance(definition.file, DebianBoxFile):
        sys.exit(f"the box '{definition.name}' has no trims")
    unknown = ", ".join(sorted(set(",".join(names).split(",")) - {"", *definition.file.trims}))
    if unknown:
        sys.exit(f"the box '{definition.name}' has no trim {unknown}")
    wanted = names or tuple(definition.file.trims)
    left_out = {name: without(definition, *name.split(",")) for name in wanted}
    return {FULL: definition, **left_out, AGAIN: definition}


def built(cache: Path, names: Sequence[str]) -> dict[str, CachedBox]:
    """Build every variant that is not there yet."""
    return {
        name: build(each, cache, lambda _line: None)
        for name, each in variants(find_box("rehearsal"), names).items()
    }


def boot(cache: Path, report: Path, names: Sequence[str]) -> None:
    """Boot every variant, in turn, and write (wall seconds, CPU seconds) of each."""
    found = built(cache, names)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    with TemporaryDirectory(prefix="labkit-trims-") as directory, bridge():
        for turn in range(ROUNDS):
            for at, (name, box) in enumerate(found.items()):
                with booted(box, Path(directory) / f"{turn}-{at}") as guest:
                    wall = guest.wait_for_ssh()
                    samples[name].append((wall, cpu_seconds(guest.process.pid)))
    report.write_text(json.dumps(samples), encoding="utf-8")


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rows(
    samples: Mapping[str, Sequence[tuple[float, float]]], image_mb: Mapping[str, int]
) -> list[tuple[str, ...]]:
    """Return a row for each variant, what costs most first: medians, and what is over the full set.

    Args:
        samples: (wall seconds, CPU seconds) of each boot, by what was left out.
        image_mb: Size of the images, in millions of bytes, by the same names.
    """
    walls, cpus = (
        {name: statistics.median(pair[at] for pair in taken) for name, taken in samples.items()}
        for at in (0, 1)
    )
    order = sorted(samples, key=lambda name: (name != FULL, -cpus[name]))
    return [
        (
            name,
            f"{cpus[name]:.1f}",
            "" if name == FULL else f"{cpus[name] - cpus[FULL]:+.1f}",
            f"{walls[name]:.1f}",
            "" if name == FULL else f"{walls[name] - walls[FULL]:+.1f}",
            str(image_mb[name]),
        )
        for name in order
    ]


def main(names: Sequence[str]) -> None:
    """Build outside, boot in a network namespace, print a Markdown table."""
    with TemporaryDirectory(prefix="labkit-trims-", dir=cache_root()) as name:
        cache, report = Path(name), Path(name) / "report.json"
        found = built(cache, names)
        inside = ["unshare", "--net", sys.executable, "-m", "tests.bench.trims", "boot"]
        run([*inside, cache, report, *names], timeout=SECONDS, cwd=ROOT, env=environment())
        samples = json.loads(report.read_text(encoding="utf-8"))
        image_mb = {name: box.image_length // 10**6 for name, box in found.items()}
        for row in (HEAD, ["---"] * len(HEAD), *rows(samples, image_mb)):
            sys.stdout.write(f"| {' | '.join(row)} |\n")
        for trim, taken in samples.items():
            sys.stdout.write(
                f"{trim}: {' '.join(f'{wall:.1f}/{cpu:.1f}' for wall, cpu in taken)}\n"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["boot"]:
        boot(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    else:
        main(sys.argv[1:])
