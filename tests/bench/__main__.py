"""`make bench`: every promised ratio, measured in one run, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from labkit.cli.output import print_table
from labkit.host.files import cache_root
from labkit.host.process import environment, run
from tests.bench.figures import Figure, exit_code, judge
from tests.bench.picture import cost

ROOT = Path(__file__).resolve().parents[2]
LABKIT = Path(sys.executable).with_name("labkit")
SECONDS = 3600.0
# Rounds of each part. On two processors an emulated lab of two takes 15 s or 18 s to boot, by
# chance: three sets of eight, one day, said 1.00, 1.08 and 1.12 for up / floor.
PARTS = {"host": 2, "deploy": 2, "ksbox": 2, "lab": 8, "box": 2, "snapshots": 2, "nodes": 2}


def main() -> int:
    """Measure, print, write; return 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("bench.json"))
    parser.add_argument("--rounds", type=int, help="repetitions of each, in turn")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument(
        "--picture", type=Path, help="write cost against nodes there, as SVG; of the part 'nodes'"
    )
    chosen = parser.parse_args()
    if chosen.picture and chosen.only not in {None, "nodes"}:
        parser.error("--picture is of the part 'nodes': leave --only out, or say --only nodes")
    figures: list[Figure] = []
    with TemporaryDirectory(prefix="labkit-bench-") as name:
        for part, rounds in PARTS.items():
            if chosen.only in {None, part}:
                report = Path(name) / f"{part}.json"
                figures += _measured(part, chosen.rounds or rounds, report)
    rows = [figure.row() for figure in figures]
    print_table(("what", "measured", "promised", "kept", "from"), rows)
    load = os.getloadavg()[2]
    found = {"cores": os.cpu_count(), "load15": load, "figures": [f.as_json() for f in figures]}
    chosen.report.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if chosen.picture:
        samples = {name: found for each in figures for name, found in each.samples.items()}
        chosen.picture.write_text(cost(samples), encoding="utf-8")
    return exit_code(figures)


def _measured(part: str, rounds: int, report: Path) -> list[Figure]:
    module = [sys.executable, "-m", f"tests.bench.{part}", str(report), str(rounds)]
    argv = module if part == "host" else [str(LABKIT), "sandbox", "--", *module]
    merged = environment(LABKIT_CACHE_DIR=str(cache_root()), PYTHONPATH=str(ROOT))
    log = report.with_suffix(".log")
    result = run(argv, timeout=SECONDS, cwd=ROOT, env=merged, output=log, check=False)
    if result.returncode != 0:
        sys.stderr.write(log.read_text(encoding="utf-8", errors="replace"))
        sys.exit(f"the part '{part}' failed with {result.returncode}")
    return judge(json.loads(report.read_text(encoding="utf-8")), cores=os.cpu_count() or 1)


if __name__ == "__main__":
    sys.exit(main())
