"""The part of the bench that boots the rehearsal box with and without its trims; in a sandbox."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from labkit.boxes import cache
from labkit.boxes.definition import find_box
from labkit.host.files import cache_root
from tests.support.bare_guest import bridge, measure

NAMES = {"trimmed": "rehearsal", "untrimmed": "rehearsal-untrimmed"}


def main(report: Path, rounds: int) -> None:
    """Measure and write the samples: seconds from power-on to the SSH banner."""
    found = [cache.cached(find_box(name), cache_root()) for name in NAMES.values()]
    built = [box for box in found if box is not None]
    if len(built) != len(NAMES):
        sys.exit("build both boxes first: 'make bench' does")
    with TemporaryDirectory(prefix="labkit-bench-") as directory, bridge():
        seconds = measure(built, Path(directory), rounds=rounds)
    samples = {what: seconds[box.key] for what, box in zip(NAMES, built, strict=True)}
    report.write_text(json.dumps(samples), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
