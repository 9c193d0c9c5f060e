"""Packs real disks with qemu-img and reads the boxes back with other tools."""

from __future__ import annotations

import random
import tarfile
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.pack import package, virtual_size
from labkit.errors import CommandError
from labkit.host.process import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

MIB = 2**20
DOCUMENTS = {"metadata.json": "{}\n", "notes.txt": "x" * 513, "empty": ""}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk of 1 GiB with some compressible, some random and mostly no content."""
    raw, target = tmp_path / "raw", tmp_path / "disk.qcow2"
    with raw.open("wb") as stream:
        stream.write(b"labkit " * MIB)
        stream.seek(500 * MIB)
        stream.write(random.Random(2).randbytes(3 * MIB))  # noqa: S311 -- any bytes will do
        stream.truncate(1024 * MIB)
    run(["qemu-img", "convert", "-O", "qcow2", raw, target], timeout=60)
    raw.unlink()
    return target


def test_package_gives_a_tar_whose_image_is_the_disk(disk: Path, tmp_path: Path) -> None:
    box = tmp_path / "a, b.box"
    offset, length = package(disk, box, documents=DOCUMENTS)
    names = run(["tar", "--list", "--file", box], timeout=60).stdout.split()
    assert names == [*DOCUMENTS, "box.img"]
    with tarfile.open(box, "r:") as archive:
        for name, text in DOCUMENTS.items():
            member = archive.extractfile(name)
            assert member is not None
            assert member.read().decode() == text
        image = archive.getmember("box.img")
        assert (image.offset_data, image.size) == (offset, length)
    run(["tar", "--extract", "--file", box, "--directory", tmp_path, "box.img"], timeout=60)
    assert box.stat().st_size % 512 == 0
    run(["qemu-img", "check", tmp_path / "box.img"], timeout=60)
    run(["qemu-img", "compare", tmp_path / "box.img", disk], timeout=60)
    assert virtual_size(tmp_path / "box.img") == 1024 * MIB
    # The repeated text is nearly nothing; the random part cannot be compressed.
    assert 3 * MIB < length < 4 * MIB
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a, b.box",
        "box.img",
        "disk.qcow2",
    ]


def test_package_replaces_what_an_earlier_one_left(disk: Path, tmp_path: Path) -> None:
    box = tmp_path / "labkit.box"
    box.write_bytes(b"\xff" * 9 * MIB)
    package(disk, box, documents=DOCUMENTS)
    assert run(["tar", "--list", "--file", box], timeout=60).stdout.split()[-1] == "box.img"
    assert box.stat().st_size < 4 * MIB


def test_package_of_what_is_no_qcow2_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(MIB))
    with pytest.raises(CommandError, match="qemu-img"):
        package(disk, tmp_path / "labkit.box", documents={})
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]
