from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import run
from labkit.host.qcow2 import DamagedImageError, Header, Snapshot, examine, examine_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLE = 65536


def entry(name: bytes, *, memory: int, extra: bool = True, key: bytes = b"1") -> bytes:
    """Return a snapshot's entry as QEMU's docs/interop/qcow2.txt describes it."""
    beyond = struct.pack(">QQQ", memory, 2**30, 0) if extra else b""
    head = struct.pack(
        ">QIHHIIQII", 0x30000, 1, len(key), len(name), 0, 0, 0, memory % 2**32, len(beyond)
    )
    whole = head + beyond + key + name
    return whole + b"\0" * (-len(whole) % 8)


def image(*entries: bytes, version: int = 3, features: int = 0, count: int | None = None) -> bytes:
    header = struct.pack(
        ">4sIQIIQIIQQIIQQ",
        *(b"QFI\xfb", version, 0, 0, 16, 2**30, 0, 1, 0x30000, 0x10000, 1),
        *(len(entries) if count is None else count, TABLE, features),
    )
    return header.ljust(TABLE, b"\0") + b"".join(entries)


def reader(content: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: content[offset : offset + length]


def test_examine_image_with_snapshots_names_them_with_their_memory() -> None:
    content = image(
        entry(b"labkit-base-1", memory=5 * 2**32 + 7, key=b"12"),
        entry("späte".encode(), memory=0, extra=False),
    )

    found = examine(reader(content))

    assert found.snapshots == (
        Snapshot(name="labkit-base-1", memory_bytes=5 * 2**32 + 7),
        Snapshot(name="späte", memory_bytes=0),
    )
    assert found.snapshot("labkit-base-1") == found.snapshots[0]
    assert found.snapshot("other") is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not begin with a qcow2 header"),
        (b"\0" * 512, "does not begin with a qcow2 header"),
        (image(version=7), "qcow2 version 7"),
        (image(features=2), "marked it as corrupt"),
        (image(count=2**31), "2147483648 snapshots"),
        (image(count=1), "cut off"),
        (image(entry(b"name", memory=1))[:-6], "cut off"),
    ],
)
def test_examine_damaged_image_says_what_is_wrong(content: bytes, reason: str) -> None:
    with pytest.raises(DamagedImageError, match=reason):
        examine(reader(content))


def test_examine_old_image_ignores_what_version_2_does_not_have() -> None:
    assert examine(reader(image(version=2, features=2))).snapshots == ()


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
def test_examine_agrees_with_qemu_img(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "8M"], timeout=20)
    for name in ("first", "second"):
        run(["qemu-img", "snapshot", "-c", name, disk], timeout=20)

    found = examine(reader(disk.read_bytes()))

    assert [item.name for item in found.snapshots] == ["first", "second"]


def header(*, backing: int = 0, crypt: int = 0, version: int = 3, features: int = 0) -> bytes:
    fields = (b"QFI\xfb", version, backing, 0, 16, 3 * 2**30, crypt, 1, 0, 0, 1, 0, 0, features)
    return struct.pack(">4sIQIIQIIQQIIQQ", *fields)


def test_examine_header_of_a_whole_image_gives_the_size_of_its_disk() -> None:
    assert examine_header(header()) == Header(virtual_bytes=3 * 2**30, needs="")
    # In version 2 there are no features there.
    assert examine_header(header(version=2, features=4)).needs == ""


@pytest.mark.parametrize(
    ("content", "needs"),
    [
        (header(backing=512), "another file, which it names"),
        (header(features=4), "another file, which it names"),
        (header(crypt=2), "a password, it is encrypted"),
    ],
)
def test_examine_header_of_an_image_that_is_not_whole_says_what_it_needs(
    content: bytes, needs: str
) -> None:
    assert examine_header(content).needs == needs


@pytest.mark.parametrize("content", [b"", b"QFI\xfb", header(features=2), bytes(112)])
def test_examine_header_of_no_sound_image_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedImageError):
        examine_header(content)
