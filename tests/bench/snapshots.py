"""Snapshots of a lab of two nodes, and of four, beside Vagrant's and beside bare libvirt's.

Run by `make bench` inside the sandbox; everything is taken in turn, A B A B, on one running lab.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.cli.session import looking
from labkit.host.process import environment, run
from labkit.snapshots.record import Shelf
from tests.bench.lab import answered, vagrant_by_hand

if TYPE_CHECKING:
    from labkit.snapshots.record import SnapshotRecord

ROOT = Path(__file__).resolve().parents[2]
LABKIT = Path(sys.executable).with_name("labkit")
LIMIT_SECONDS = 900.0
GIB = 2**30
TOLD = re.compile(r"SSH in ([0-9.]+) s, healthy in ([0-9.]+) s")

# As much memory as the document's two nodes have, on twice as many.
FOUR = """\
name: four
box: rehearsal
dns: {servers: [192.0.2.53], domain: four.test}
networks:
  lan: {mode: nat, cidr: 10.79.1.0/24, gateway: 10.79.1.254}
nodes:
"""
NODE = """\
  n{number}:
    roles: [{role}]
    cpus: 1
    memory: 3 GiB
    disk: 60 GiB
    nics: {{enp0s3: {{network: lan, address: 10.79.1.{number}}}}}
"""


@dataclass(slots=True)
class Bench:
    """Samples by name, of the lab at hand."""

    file: Path
    name: str
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Add one sample."""
        self.samples.setdefault(name, []).append(value)

    def labkit(self, *words: str) -> float:
        """Run a verb on the lab and return the seconds it took."""
        env = environment(LABKIT_LAB=str(self.file))
        return run([LABKIT, *words], timeout=LIMIT_SECONDS, cwd=ROOT, env=env).seconds

    def vagrant(self, *words: str) -> float:
        """Run Vagrant on the lab and return the seconds it took."""
        root = Path(os.environ["LABKIT_STATE_DIR"]) / self.name / "vagrant"
        env = vagrant_by_hand(root)
        return run(["vagrant", *words], timeout=LIMIT_SECONDS, cwd=root, env=env).seconds

    def manifest(self, snapshot: str) -> SnapshotRecord:
        """Return what labkit wrote down of a snapshot."""
        root = Path(os.environ["LABKIT_STATE_DIR"]) / self.name / "snapshots"
        return Shelf(root).named(snapshot)


def main(report: Path, rounds: int) -> None:
    """Measure and write the samples."""
    if os.environ.get("LABKIT_SANDBOX") != "1":
        sys.exit("run it with 'make bench': it removes snapshots by name")
    two = Bench(file=ROOT / "lab.yaml", name="packstack")
    two.labkit("up", "--box", "rehearsal")
    for number in range(rounds):
        beside_others(two, f"r{number}")
    two.labkit("destroy")
    four = Bench(file=_four(Path(os.environ["TMPDIR"])), name="four")
    four.labkit("up")
    for number in range(rounds):
        figures = one_snapshot(four, f"r{number}")
        four.add("pause per GiB of four", figures["pause"] / figures["GiB"])
        four.add("skew", figures["skew"])
    four.labkit("destroy")
    # The worst of all counts: an absolute figure is judged by its best sample.
    skew = max(two.samples.pop("skew") + four.samples.pop("skew"))
    samples = {**two.samples, **four.samples, "pause skew": [skew]}
    report.write_text(json.dumps(samples), encoding="utf-8")


def beside_others(bench: Bench, name: str) -> None:
    """Take, restore and remove one of each kind, so that each finds the same room in the images."""
    single = slowest_single(bench)
    figures = one_snapshot(bench, name)
    bench.add("single libvirt snapshot", single)
    bench.add("pause", figures["pause"])
    bench.add("pause per GiB of two", figures["pause"] / figures["GiB"])
    bench.add("skew", figures["skew"])
    bench.add("snapshot", figures["seconds"])
    bench.add("restore to SSH", restore_to_ssh(bench, name))
    bench.labkit("snapshot", "--delete", name)
    bench.add("vagrant save", bench.vagrant("snapshot", "save", f"v{name}"))
    words = ("snapshot", "restore", f"v{name}", "--no-provision")
    started = time.monotonic()
    bench.vagrant(*words)
    session = looking(bench.file)
    answered([session.endpoint(node) for node in session.lab.nodes], started)
    bench.add("vagrant restore to SSH", time.monotonic() - started)
    for machine in machines(bench):
        run(["virsh", "snapshot-delete", machine, f"v{name}"], timeout=120)


def one_snapshot(bench: Bench, name: str) -> dict[str, float]:
    """Take one and return its figures in seconds, GiB and ms."""
    seconds = bench.labkit("snapshot", name)
    known = bench.manifest(name)
    return {
        "seconds": seconds,
        "pause": known.pause_ms / 1000,
        "skew": known.skew_ms,
        "GiB": known.memory_bytes / GIB,
    }


def restore_to_ssh(bench: Bench, name: str) -> float:
    """Restore, and return the seconds from the start of labkit until every node took SSH."""
    env = environment(LABKIT_LAB=str(bench.file))
    done = run([LABKIT, "restore", name], timeout=LIMIT_SECONDS, cwd=ROOT, env=env)
    told = TOLD.search(done.stderr)
    if told is None:
        sys.exit(f"labkit restore said nothing of its times: {done.stderr}")
    return done.seconds - (float(told[2]) - float(told[1]))


def slowest_single(bench: Bench) -> float:
    """Snapshot each node alone, by bare libvirt, and return the longest time."""
    taken = []
    for machine in machines(bench):
        words = ["virsh", "snapshot-create-as", machine, "single"]
        taken.append(run(words, timeout=LIMIT_SECONDS).seconds)
        run(["virsh", "snapshot-delete", machine, "single"], timeout=120)
    return max(taken)


def machines(bench: Bench) -> list[str]:
    """Return the lab's domains."""
    listed = run(["virsh", "list", "--name"], timeout=60).stdout.split()
    return [name for name in listed if name.startswith(f"{bench.name}_")]


def _four(directory: Path) -> Path:
    roles = {11: "controller", 12: "compute", 13: "compute", 14: "compute"}
    file = directory / "four.yaml"
    nodes = "".join(NODE.format(number=number, role=role) for number, role in roles.items())
    file.write_text(FOUR + nodes, encoding="utf-8")
    return file


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
