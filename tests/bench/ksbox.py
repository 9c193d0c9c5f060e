"""The part of the bench about a kickstart box: labkit's own time around the installation; in a sandbox.

The installation itself is left out: its domain is started and powered off at once, and a disk
written before takes the place of the installed one, which is what the stop-watch stands still for.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from labkit.boxes.anaconda import install
from labkit.boxes.anaconda.domain import install_domain_xml
from labkit.boxes.build import build
from labkit.boxes.definition import find_box
from labkit.boxes.pack import COROUTINES
from labkit.host import iso
from labkit.host.files import cache_root
from labkit.host.libvirt.connection import connect
from labkit.host.process import run
from tests.support import standin_iso
from tests.support.boxtree import CHECKOUT, kickstart, stand_in_box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labkit.boxes.anaconda.install import InstallJob
    from labkit.boxes.definition import BoxDefinition

MIB = 2**20
DISK_MIB = 2048
ISO_BYTES = 950_009_856
# What the installer of CentOS 7 has in images/pxeboot, rounded up.
KERNEL_MIB, INITRD_MIB = 7, 56
PROGRAMS = ("/usr/bin", "/usr/lib", "/usr/share")


def main(report: Path, rounds: int) -> None:
    """Measure and write the samples: seconds, and MiB of memory."""
    samples: dict[str, list[float]] = {}
    # On the disk a user's cache is on, not in the sandbox's memory.
    with TemporaryDirectory(dir=cache_root(), prefix="bench-") as name:
        scratch = Path(name)
        image, disk = scratch / "mine.iso", scratch / "installed.qcow2"
        make_iso(image)
        make_disk(disk)
        definition = stand_in_box(scratch / "root", image)
        for number in range(rounds):
            cache = scratch / f"cache{number}"
            add = samples.setdefault
            add("convert", []).append(convert_alone(disk, scratch / "alone.qcow2"))
            add("around install", []).append(around(definition, cache, image, disk))
            add("box built again", []).append(again(scratch / "root", cache))
            seconds, mib = extraction(image, scratch)
            add("extraction", []).append(seconds)
            add("extraction memory", []).append(mib)
    report.write_text(json.dumps(samples), encoding="utf-8")


def make_iso(target: Path) -> None:
    """Write a stand-in ISO of the size of the real one, kernel and initrd included."""
    randomness = random.Random(7)  # noqa: S311 -- any bytes will do
    kernel = bytearray(randomness.randbytes(KERNEL_MIB * MIB))
    # QEMU starts only what says it speaks the boot protocol (Linux' x86/boot.rst), here 2.02.
    kernel[0x1F1], kernel[0x202:0x208] = 1, b"HdrS\x02\x02"
    boot = standin_iso.BootFiles(
        kernel=bytes(kernel),
        initrd=randomness.randbytes(INITRD_MIB * MIB),
    )
    names = [name for name in kickstart(find_box("centos7")).packages if name[0] != "@"]
    # Kernel and initrd are hard links in isolinux, so they count once.
    rest = ISO_BYTES - (KERNEL_MIB + INITRD_MIB + 1) * MIB
    standin_iso.make(target, boot=boot, packages=names, stage2_bytes=rest)


def make_disk(target: Path) -> None:
    """Write a disk of which 2 GiB are programs and documents of this host."""
    raw = target.with_suffix(".raw")
    size = DISK_MIB * MIB
    with raw.open("wb") as stream:
        for content in endlessly():
            stream.write(content[: size - stream.tell()])
            if stream.tell() >= size:
                break
        stream.truncate(60 * 2**30)
    run(["qemu-img", "convert", "-O", "qcow2", raw, target], timeout=300)
    raw.unlink()


def endlessly() -> Iterator[bytes]:
    """Yield the content of this host's programs, again and again."""
    while True:
        for top in PROGRAMS:
            for path in sorted(Path(top).rglob("*")):
                if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                    yield path.read_bytes()


def convert_alone(disk: Path, target: Path) -> float:
    """Compress the disk with labkit's options and nothing around it."""
    how = ["-c", "-m", str(COROUTINES), "-W", "-O", "qcow2", "-o", "compression_type=zstd"]
    seconds = run(["qemu-img", "convert", *how, disk, target], timeout=600).seconds
    target.unlink()
    return seconds


def around(definition: BoxDefinition, cache: Path, image: Path, disk: Path) -> float:
    """Build the box and return the seconds that took, putting the disk in place left out."""
    paused = 0.0

    def installer(
        job: InstallJob,
        progress: Callable[[str], None],
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        nonlocal paused
        del progress, cancelled
        job.logs.mkdir()
        domain = install.prepare(job)
        with connect() as host:
            host.run_while_connected(install_domain_xml(domain))
            host.power_off(domain.uuid)
        started = time.monotonic()
        job.disk.unlink()
        os.link(disk, job.disk)
        paused += time.monotonic() - started

    started = time.monotonic()
    build(definition, cache, print, own_iso=image, installer=installer)
    return time.monotonic() - started - paused


def again(root: Path, cache: Path) -> float:
    """Return the seconds a whole process needs to find the box in the cache."""
    done = run(itself("--again", root, cache), timeout=60, cwd=CHECKOUT)
    if "is cached" not in done.stdout:
        sys.exit(f"the box was not cached: {done.stdout}")
    return done.seconds


def extraction(image: Path, scratch: Path) -> tuple[float, float]:
    """Return seconds and peak memory in MiB of a process that extracts kernel and initrd."""
    done = run(itself("--extract", image, scratch), timeout=60, cwd=CHECKOUT)
    return done.seconds, float(done.stdout)


def itself(*words: str | Path) -> list[str | Path]:
    """Return a command line of this module: a process that is measured whole."""
    return [sys.executable, "-m", "tests.bench.ksbox", *words]


def extract(image: Path, scratch: Path) -> None:
    """Do what labkit does to get at kernel and initrd, and print the peak memory in MiB."""
    with iso.opened(image) as source:
        for name in ("vmlinuz", "initrd.img"):
            source.extract(PurePosixPath("/images/pxeboot", name), scratch / name)
    # Not getrusage: its figure has the memory of the process that forked this one in it.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(f"{int(peak) / 1024:.1f}\n")


if __name__ == "__main__":
    if sys.argv[1] == "--extract":
        extract(Path(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1] == "--again":
        build(find_box("centos7", Path(sys.argv[2])), Path(sys.argv[3]), print)
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]))
