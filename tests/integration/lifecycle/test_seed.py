from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from labkit.host.process import run
from labkit.lifecycle.seed import SeedFile, compose, write_image
from tests.support import labs

pytestmark = pytest.mark.integration

LONG = "/etc/sysconfig/network-scripts/ifcfg-enp0s3"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    target = tmp_path / "seed.iso"
    files = [
        SeedFile(path=PurePosixPath(LONG), content=b"DEVICE=enp0s3\n"),
        SeedFile(path=PurePosixPath("/etc/key"), content=b"secret\n", mode=0o600),
    ]
    write_image(compose(labs.lab().nodes[0], files), target)
    return target


def test_blkid_sees_the_label(image: Path) -> None:
    found = run(["blkid", "-p", "-o", "value", "-s", "LABEL", image], timeout=10)
    assert found.stdout.strip() == "LABKIT"


@pytest.mark.parametrize("names", ["-R", "-J"])
def test_isoinfo_reads_files_in_both_name_spaces(image: Path, names: str) -> None:
    found = run(["isoinfo", names, "-i", image, "-x", f"/rootfs{LONG}"], timeout=10)
    assert found.stdout == "DEVICE=enp0s3\n"


def test_isoinfo_sees_private_files_as_private(image: Path) -> None:
    listing = run(["isoinfo", "-R", "-l", "-i", image], timeout=10).stdout
    line = next(line for line in listing.splitlines() if line.rstrip().endswith(" key"))
    assert line.startswith("-rw-------")
