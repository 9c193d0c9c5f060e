"""The part of the bench that needs neither sandbox nor guest."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from uuid import NAMESPACE_URL

from labkit.host.process import run
from labkit.lab import render
from labkit.lab.file import load
from labkit.lab.resolve import resolve
from labkit.lifecycle import seed
from labkit.lifecycle.seed import SeedFile

ROOT = Path(__file__).resolve().parents[2]
LABKIT = Path(sys.executable).with_name("labkit")


def main(report: Path, rounds: int) -> None:
    """Measure and write the samples."""
    run([LABKIT, "--help"], timeout=60)
    samples = {
        "help": [run([LABKIT, "--help"], timeout=60).seconds for _ in range(5 * rounds)],
        "seed": [_seed() for _ in range(5 * rounds)],
        "box cached": [
            run([LABKIT, "box", "build", "rehearsal"], timeout=600).seconds for _ in range(rounds)
        ],
    }
    report.write_text(json.dumps(samples), encoding="utf-8")


def _seed() -> float:
    lab = resolve(load(ROOT / "lab.yaml"), lab_id=NAMESPACE_URL)
    with TemporaryDirectory() as directory:
        started = time.perf_counter()
        for node in lab.nodes:
            files = [
                SeedFile(path=PurePosixPath(item.path), content=item.content.encode())
                for item in render.node_files(lab, node)
            ]
            seed.write_image(seed.compose(node, files), Path(directory) / f"{node.name}.iso")
        return (time.perf_counter() - started) / len(lab.nodes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
