"""The stand-in ISO as other tools see it, and what labkit takes out of it or refuses."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.anaconda.install import InstallJob, check_iso, prepare
from labkit.boxes.definition import KICKSTART, find_box
from labkit.boxes.file import KickstartBoxFile
from labkit.errors import OperationError
from labkit.host import iso
from labkit.host.process import run
from tests.support import standin_iso
from tests.support.standin_iso import INIT, BootFiles, cpio

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

BOOT = BootFiles(kernel=b"kernel " * 4096, initrd=b"initrd\n")
INITRD = PurePosixPath("/images/pxeboot/initrd.img")


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., InstallJob]:
    """Return what makes an ISO and the job of installing the CentOS 7 box from it."""

    def make(**changes: object) -> InstallJob:
        definition = find_box("centos7")
        file = definition.file
        assert isinstance(file, KickstartBoxFile)
        image = tmp_path / "stand-in.iso"
        packages = [name for name in file.packages if name[0] != "@"]
        standin_iso.make(image, **{"boot": BOOT, "packages": packages, **changes})  # type: ignore[arg-type]  # -- each test names what it changes
        work = tmp_path / "work"
        (work / "logs").mkdir(parents=True)
        return InstallJob(
            name="centos7",
            box=file,
            iso=image,
            work=work,
            kickstart=definition.sources[KICKSTART].decode(),
            domain_type="qemu",
        )

    return make


def test_standin_iso_seen_by_isoinfo_and_blkid_is_laid_out_like_centos(
    make_job: Callable[..., InstallJob],
) -> None:
    image = make_job().iso
    about = run(["isoinfo", "-d", "-i", image], timeout=10).stdout
    rock_ridge = run(["isoinfo", "-R", "-f", "-i", image], timeout=10).stdout.splitlines()
    joliet = run(["isoinfo", "-J", "-f", "-i", image], timeout=10).stdout.splitlines()
    blkid = run(["blkid", "-p", "-s", "LABEL", "-o", "value", image], timeout=10).stdout.strip()

    assert blkid == "CentOS 7 x86_64"
    for fact in ("El Torito VD version 1", "Joliet with UCS level 3", "Rock Ridge signatures"):
        assert fact in about
    for path in (
        "/.treeinfo",
        "/.discinfo",
        "/images/pxeboot/vmlinuz",
        "/images/pxeboot/initrd.img",
        "/isolinux/isolinux.bin",
        "/isolinux/vmlinuz",
        "/isolinux/initrd.img",
        "/LiveOS/squashfs.img",
        "/Packages/qemu-guest-agent-1.0-1.el7.x86_64.rpm",
        "/repodata/repomd.xml",
    ):
        assert path in rock_ridge
        assert path in joliet or path.startswith("/isolinux/")


def test_prepare_takes_kernel_and_initrd_and_makes_the_kickstarts_iso(
    make_job: Callable[..., InstallJob],
) -> None:
    job = make_job()
    domain = prepare(job)

    assert domain.kernel.read_bytes() == BOOT.kernel
    assert domain.initrd.read_bytes() == BOOT.initrd + b"\0" + cpio({"init": INIT.read_bytes()})
    assert r"inst.stage2=hd:LABEL=CentOS\x207\x20x86_64" in domain.cmdline
    seen = run(["isoinfo", "-R", "-i", domain.kickstart_iso, "-x", "/ks.cfg"], timeout=10).stdout
    assert seen == job.kickstart
    info = run(["qemu-img", "info", "--output=json", domain.disk], timeout=10).stdout
    assert f'"virtual-size": {job.box.disk_gib << 30}' in info


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"label": "CentOS 8 x86_64"},
            "have the label 'CentOS 7 x86_64' and has 'CentOS 8 x86_64'",
        ),
        ({"family": "Fedora"}, "expected to be of CentOS 7 x86_64 and is of Fedora 7 x86_64"),
        ({"packages": ["chrony", "rsync"]}, "lacks 2 package(s) of the box 'centos7'"),
    ],
)
def test_prepare_iso_of_something_else_is_refused_before_anything_starts(
    make_job: Callable[..., InstallJob], changes: dict[str, object], words: str
) -> None:
    job = make_job(**changes)
    with pytest.raises(OperationError) as caught:
        prepare(job)

    assert words in caught.value.message
    assert not job.disk.exists()


def test_iso_with_nothing_of_centos_is_refused(
    make_job: Callable[..., InstallJob], tmp_path: Path
) -> None:
    job = make_job()
    other = tmp_path / "other.iso"
    iso.write(other, "CentOS 7 x86_64", [])
    with iso.opened(other) as image, pytest.raises(OperationError, match=r"hold '/\.treeinfo'"):
        check_iso(image, job)


@pytest.mark.parametrize("length", [0, 1000, 40_000, 70_000, 100_000])
def test_truncated_iso_is_named_and_not_a_traceback(
    make_job: Callable[..., InstallJob], length: int
) -> None:
    job = make_job()
    os.truncate(job.iso, length)
    with pytest.raises(OperationError) as caught:
        prepare(job)

    assert str(job.iso) in caught.value.message


def test_iso_that_ends_within_a_file_is_not_taken_for_whole(
    make_job: Callable[..., InstallJob], tmp_path: Path
) -> None:
    job = make_job(stage2_bytes=1 << 20)
    os.truncate(job.iso, job.iso.stat().st_size - (1 << 19))
    squashfs = PurePosixPath("/LiveOS/squashfs.img")
    with pytest.raises(OperationError) as caught, iso.opened(job.iso) as image:
        image.extract(squashfs, tmp_path / "squashfs.img")

    assert caught.value.hint == iso.INCOMPLETE_HINT


def test_missing_iso_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"none\.iso' cannot be opened"):
        iso.opened(tmp_path / "none.iso").__enter__()


MEASURE = """
import resource, sys
from pathlib import Path, PurePosixPath
from labkit.host import iso
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with iso.opened(Path(sys.argv[1])) as image:
    image.extract(PurePosixPath("/LiveOS/squashfs.img"), Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_extract_large_file_needs_little_memory(
    make_job: Callable[..., InstallJob], tmp_path: Path
) -> None:
    size = 256 << 20
    job = make_job(stage2_bytes=size)
    target = tmp_path / "squashfs.img"
    grown_kib = int(run([sys.executable, "-c", MEASURE, job.iso, target], timeout=60).stdout)

    assert target.stat().st_size == size
    assert grown_kib < 32 << 10


def test_standin_init_passes_shellcheck() -> None:
    run(["shellcheck", "-s", "dash", INIT], timeout=30)
