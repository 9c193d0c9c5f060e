"""What three ways of snapshotting a whole lab cost: the figures behind docs/explanation/snapshot-engine.md.

Run as `python -m tests.bench.engines`; it enters the sandbox, brings the document's lab up on
stand-in guests, and prints a table. Nothing of labkit's own snapshots is used: each engine is the
bare libvirt calls it stands on, both nodes side by side.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from xml.etree import ElementTree as ET

import libvirt  # noqa: TID251 -- a stop-watch around the bare calls, not product code

from labkit.cli.output import print_table
from labkit.host.files import cache_root
from labkit.host.libvirt.errors import silence_libvirt
from labkit.host.process import environment, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).resolve().parents[2]
LABKIT = Path(sys.executable).with_name("labkit")
POOL = Path("/var/lib/libvirt/images")
CHAIN = 20
SECONDS = 1800.0


class Engine(Protocol):
    """A way of keeping one node's memory and disk, and of going back; the node is paused."""

    name: str

    def take(self, domain: libvirt.virDomain, label: str) -> None:
        """Keep the paused domain's memory and disk; it is paused afterwards as well."""

    def restore(self, domain: libvirt.virDomain, label: str) -> None:
        """Put the domain back to that point, paused."""

    def delete(self, domain: libvirt.virDomain, label: str) -> None:
        """Forget the newest snapshot; the domain may run."""


class Internal:
    """System checkpoints inside the qcow2 image (virDomainSnapshotCreateXML)."""

    name = "internal"

    def take(self, domain: libvirt.virDomain, label: str) -> None:
        """See Engine."""
        domain.snapshotCreateXML(f"<domainsnapshot><name>{label}</name></domainsnapshot>", 0)

    def restore(self, domain: libvirt.virDomain, label: str) -> None:
        """See Engine."""
        found = domain.snapshotLookupByName(label, 0)
        domain.revertToSnapshot(found, libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED)

    def delete(self, domain: libvirt.virDomain, label: str) -> None:
        """See Engine."""
        domain.snapshotLookupByName(label, 0).delete(0)


class _Files:
    """What the two engines with a memory file share: overlays, and going back by hand."""

    def restore(self, domain: libvirt.virDomain, label: str) -> None:
        """See Engine; libvirt 9.0 cannot revert these, so: end, fresh overlay, restore."""
        if domain.isActive():
            domain.destroy()
        fresh = POOL / f"{domain.name()}.{label}.again"
        fresh.unlink(missing_ok=True)
        overlay(sealed(domain, label), fresh)
        connection: libvirt.virConnect = domain.connect()  # type: ignore[no-untyped-call]  # libvirt-python annotates most of itself
        xml = connection.saveImageGetXMLDesc(str(memory(domain, label)), 0)
        flags = libvirt.VIR_DOMAIN_SAVE_PAUSED
        connection.restoreFlags(str(memory(domain, label)), on_disk(xml, fresh), flags)

    def delete(self, domain: libvirt.virDomain, label: str) -> None:
        """See Engine; merges the newest overlay into what it covers."""
        flags = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE | libvirt.VIR_DOMAIN_BLOCK_COMMIT_SHALLOW
        domain.blockCommit("vda", cast("str", None), cast("str", None), 0, flags)
        while True:
            job = cast("dict[str, int]", domain.blockJobInfo("vda", 0))
            if job and job["cur"] == job["end"]:
                try:
                    domain.blockJobAbort("vda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
                    break
                except libvirt.libvirtError:
                    continue
        memory(domain, label).unlink()


class External(_Files):
    """External checkpoints (virDomainSnapshotCreateXML with files of their own)."""

    name = "external"

    def take(self, domain: libvirt.virDomain, label: str) -> None:
        """See Engine."""
        SEALED[domain.name(), label] = disk(domain)
        domain.snapshotCreateXML(
            f"<domainsnapshot><name>{label}</name>"
            f"<memory snapshot='external' file='{memory(domain, label)}'/>"
            f"<disks><disk name='vda' snapshot='external'>"
            f"<source file='{POOL / f'{domain.name()}.{label}'}'/></disk></disks>"
            "</domainsnapshot>",
            libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA,
        )


class Saved(_Files):
    """virDomainSave and virDomainRestore, the disk sealed below a new overlay."""

    name = "saved"

    def take(self, domain: libvirt.virDomain, label: str) -> None:
        """See Engine."""
        SEALED[domain.name(), label] = disk(domain)
        domain.saveFlags(str(memory(domain, label)), None, 0)
        new = POOL / f"{domain.name()}.{label}"
        overlay(sealed(domain, label), new)
        connection: libvirt.virConnect = domain.connect()  # type: ignore[no-untyped-call]  # libvirt-python annotates most of itself
        xml = connection.saveImageGetXMLDesc(str(memory(domain, label)), 0)
        connection.restoreFlags(
            str(memory(domain, label)), on_disk(xml, new), libvirt.VIR_DOMAIN_SAVE_PAUSED
        )


SEALED: dict[tuple[str, str], Path] = {}


def sealed(domain: libvirt.virDomain, label: str) -> Path:
    """Return the image that holds the disk as it was at that point."""
    return SEALED[domain.name(), label]


def memory(domain: libvirt.virDomain, label: str) -> Path:
    """Return the memory file of that point."""
    return POOL / f"{domain.name()}.{label}.memory"


def disk(domain: libvirt.virDomain) -> Path:
    """Return the image the domain writes to."""
    source = ET.fromstring(domain.XMLDesc(0)).find("devices/disk[@device='disk']/source")  # noqa: S314
    assert source is not None
    return Path(source.get("file", ""))


def overlay(base: Path, new: Path) -> None:
    """Make an empty image on top of another one."""
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, new], timeout=60)


def on_disk(xml: str, new: Path) -> str:
    """Return a domain's XML with another disk."""
    root = ET.fromstring(xml)  # noqa: S314 -- libvirt's own
    node = root.find("devices/disk[@device='disk']")
    assert node is not None
    source = node.find("source")
    assert source is not None
    source.set("file", str(new))
    for stale in node.findall("backingStore"):
        node.remove(stale)
    return ET.tostring(root, encoding="unicode")


def used() -> float:
    """Return the MiB the pool's files take."""
    return sum(path.stat().st_blocks * 512 for path in POOL.iterdir()) / 2**20


def side_by_side(work: Callable[[libvirt.virDomain], object], names: Iterable[str]) -> float:
    """Run the same on every domain at once, each on a connection of its own."""

    def one(name: str) -> None:
        with connected() as connection:
            work(connection.lookupByName(name))

    chosen = list(names)
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        list(pool.map(one, chosen))
    return time.monotonic() - started


@contextmanager
def connected() -> Iterator[libvirt.virConnect]:
    """Connect to the sandbox's libvirt."""
    silence_libvirt()
    connection = libvirt.open("qemu:///system")
    try:
        yield connection
    finally:
        connection.close()


def take(engine: Engine, names: list[str], label: str) -> tuple[float, float]:
    """Take one of all nodes; return the seconds it took and those of them they stood still."""
    run(["sync"], timeout=60)
    started = time.monotonic()
    side_by_side(lambda domain: domain.suspend(), names)
    paused = time.monotonic()
    side_by_side(lambda domain: engine.take(domain, label), names)
    side_by_side(lambda domain: domain.resume(), names)
    ended = time.monotonic()
    return ended - started, ended - paused


def restore(engine: Engine, names: list[str], label: str) -> float:
    """Go back with all nodes; return the seconds until all run on."""
    started = time.monotonic()
    side_by_side(lambda domain: engine.restore(domain, label), names)
    side_by_side(lambda domain: domain.resume(), names)
    return time.monotonic() - started


def measure(engine: Engine, names: list[str], chain: int) -> tuple[str, ...]:
    """Measure one engine on the running lab; return a table row."""
    before = used()
    total, pause = take(engine, names, "s00")
    growth = used() - before
    back = restore(engine, names, "s00")
    times = [take(engine, names, f"s{number:02}")[0] for number in range(1, chain)]
    grown = used() - before
    last = restore(engine, names, f"s{chain - 1:02}")
    first = restore(engine, names, "s00")
    forget = f"s{chain - 1:02}"
    restore(engine, names, forget)
    gone = side_by_side(lambda domain: engine.delete(domain, forget), names)
    return (
        engine.name,
        f"{total:.2f}",
        f"{pause:.2f}",
        f"{growth:.0f}",
        f"{back:.2f}",
        f"{gone:.2f}",
        f"{times[0]:.1f}-{times[-1]:.1f}",
        f"{grown:.0f}",
        f"{first:.1f}-{last:.1f}",
    )


def inside(chain: int, rounds: int) -> None:
    """Measure every engine on a fresh lab, in turn, and print the table."""
    rows: list[tuple[str, ...]] = []
    engines: tuple[Engine, ...] = (Internal(), External(), Saved())
    for _ in range(rounds):
        for engine in engines:
            run([LABKIT, "up", "--box", "rehearsal"], timeout=SECONDS, cwd=ROOT)
            listed = run(["virsh", "list", "--name"], timeout=30).stdout
            try:
                rows.append(measure(engine, listed.split(), chain))
            except libvirt.libvirtError as exc:
                rows.append((engine.name, str(exc)))
            clear(listed.split())
    columns = ("engine", "take", "pause", "MiB", "back", "delete", "chain", "MiB", "back")
    print_table(columns, [row + ("",) * (len(columns) - len(row)) for row in rows])


def clear(names: list[str]) -> None:
    """Remove the lab and every file the engines made beside it."""
    run([LABKIT, "destroy"], timeout=300, cwd=ROOT)
    for path in POOL.iterdir():
        if path.name.startswith(tuple(f"{name}." for name in names)):
            path.unlink()
    SEALED.clear()


def main() -> int:
    """Enter the sandbox, or measure when inside."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engines", description=__doc__)
    parser.add_argument("--chain", type=int, default=CHAIN, help="snapshots one after the other")
    parser.add_argument("--rounds", type=int, default=1, help="repetitions, in turn")
    chosen = parser.parse_args()
    if os.environ.get("LABKIT_SANDBOX") == "1":
        inside(chosen.chain, chosen.rounds)
        return 0
    module = [sys.executable, "-m", "tests.bench.engines"]
    options = ["--chain", str(chosen.chain), "--rounds", str(chosen.rounds)]
    merged = environment(LABKIT_CACHE_DIR=str(cache_root()), PYTHONPATH=str(ROOT))
    argv: list[str | Path] = [LABKIT, "sandbox", "--", *module, *options]
    result = run(argv, timeout=2 * SECONDS, cwd=ROOT, env=merged, check=False)
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
