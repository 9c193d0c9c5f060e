"""A kernel packed with LZ4: the header that remains, and what is unpacked where."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import lz4.block
import pytest

from labkit import bzimage
from labkit.bzimage import KernelFormatError, repacked
from labkit.diskimage import repack_kernel
from labkit.errors import OperationError
from tests.bzimages import ENTRY, Kernel, pieces

if TYPE_CHECKING:
    from pathlib import Path

SETUP = 1024


def unpacked(image: bytes) -> bytes:
    """Return the memory from the kernel's first byte on, as LZ4 itself unpacks it.

    QEMU shows in tests/integration/test_box_build.py that the image's own program does the same.
    """
    program = image[SETUP:]
    before = b"\x41\xb8"  # mov r8d,end of what is packed
    at = program.index(before, bzimage.LONG_MODE_CODE)
    (behind,) = struct.unpack_from("<I", program, at - 4)
    (end,) = struct.unpack_from("<I", program, at + 2)
    packed = program[bzimage.CONTENT : bzimage.CONTENT + end - behind]
    content: bytes = lz4.block.decompress(packed, uncompressed_size=1 << 20)
    return content


def test_repacked_kernel_has_every_piece_in_its_place() -> None:
    memory = unpacked(repacked(Kernel().image()))
    for address, content, size in pieces():
        at = address - ENTRY
        assert memory[at : at + len(content)] == content
        assert not any(memory[at + len(content) : at + size])


def test_repacked_kernel_does_not_store_the_zeros_at_its_end() -> None:
    (first, second) = pieces()
    padded = (first, (second[0], second[1] + bytes(4096), second[2] + 4096))
    image = repacked(Kernel(segments=padded).image())
    assert unpacked(image) == unpacked(repacked(Kernel().image()))
    assert (
        b"\xb9" + struct.pack("<I", 512) + b"\x31\xc0\xf3\x48\xab" in image
    )  # 512 words of zeros


def test_repacked_kernel_is_smaller_than_it_runs() -> None:
    assert len(repacked(Kernel().image())) < sum(size for _, _, size in pieces())


def test_repacked_kernel_keeps_the_header_and_cannot_be_relocated() -> None:
    before, after = Kernel().image(), repacked(Kernel().image())
    changed = {at for at in range(SETUP) if before[at] != after[at]}
    assert changed <= {
        *range(0x1F4, 0x1F8),
        0x234,
        *range(0x236, 0x238),
        *range(0x248, 0x250),
        *range(0x258, 0x264),
    }
    assert after[0x234] == 0
    preferred, room = struct.unpack_from("<QI", after, 0x258)
    assert (preferred, preferred + room) == (0x100000, 0x1200000)  # the room it asked for before
    (paragraphs,) = struct.unpack_from("<I", after, 0x1F4)
    assert paragraphs * 16 == len(after) - SETUP


def test_repacked_kernel_larger_than_it_said_gets_the_room_it_needs() -> None:
    large = (*pieces(), (0x2000000, b"x", 0x100000))
    image = repacked(Kernel(segments=large).image())
    preferred, room = struct.unpack_from("<QI", image, 0x258)
    # What is packed waits behind the kernel until it is unpacked.
    packed = len(image) - SETUP - bzimage.CONTENT
    assert abs(preferred + room - 0x2100000 - packed) < 16


def test_repacked_kernel_is_entered_at_its_entry() -> None:
    program = repacked(Kernel().image())[SETUP:]
    assert b"\xb8" + struct.pack("<I", ENTRY) + b"\xff\xe0" in program[: bzimage.GDT_POINTER]


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (Kernel(magic=b"\0\0\0\0"), "it is no bzImage"),
        (Kernel(version=0x209), "its boot protocol is 2.09"),
        (Kernel(elf_magic=b"\x7fELF\x01\x01"), "no 64-bit ELF file"),
        (Kernel(told_size=1), "another size than it says"),
        (Kernel(cut=8), "reaches beyond its file"),
        (Kernel(init_size=0xFFFFFFFF), "asks for memory up to 0x100ffffff"),
        (Kernel(entry=0x900000), "its entry 0x900000 lies in none"),
        (Kernel(segments=((ENTRY + 4, b"x", 8),), entry=ENTRY + 4), "not aligned"),
        (Kernel(segments=((ENTRY, b"x", 9), (ENTRY + 8, b"x", 8))), "overlap"),
        (Kernel(segments=((ENTRY, b"x", 8), (0xFFFFF000, b"x", 0x2000))), "above 4 GiB"),
        (Kernel(segments=((0x100000, b"x", 8),), entry=0x100000), "below where it is loaded"),
        (
            Kernel(segments=((ENTRY, b"x" * 0x4000, 0x4000), (ENTRY + 0x4000, b"x", 8)), entry=0),
            "none of its segments",
        ),
        (Kernel(segments=((ENTRY, b"x", 8), (ENTRY + (256 << 20), b"x", 8))), "268435464 bytes"),
    ],
)
def test_repacked_kernel_of_another_kind_is_refused(kernel: Kernel, reason: str) -> None:
    with pytest.raises(KernelFormatError, match=reason):
        repacked(kernel.image())


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"\x28\xb5\x2f\xfd rest", "not packed with xz but begins with 28b52ffd"),
        (b"", "begins with nothing"),
        (b"\xfd7zXZ\0" + b"broken" * 9, "its xz stream is broken"),
    ],
)
def test_repacked_kernel_packed_otherwise_is_refused(packed: bytes, reason: str) -> None:
    with pytest.raises(KernelFormatError, match=reason):
        repacked(Kernel().image(packed=packed))


def test_repacked_kernel_cut_short_is_refused() -> None:
    whole = Kernel().image()
    for length in (0, 100, 0x264, 1024, len(whole) - 1):
        with pytest.raises(KernelFormatError):
            repacked(whole[:length])


def test_repack_kernel_behind_a_link_changes_the_file_in_place(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    real = tmp_path / "boot/vmlinuz-6.1"
    real.write_bytes(Kernel().image())
    inode = real.stat().st_ino
    (tmp_path / "boot/vmlinuz").symlink_to("vmlinuz-6.1")
    told: list[str] = []

    repack_kernel(tmp_path, "/boot/vmlinuz", told.append)

    assert (real.read_bytes(), told) == (repacked(Kernel().image()), [])
    assert real.stat().st_ino == inode


def test_repack_kernel_of_an_unknown_kind_leaves_it_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"something else")
    told: list[str] = []

    repack_kernel(tmp_path, "/vmlinuz", told.append)

    assert (tmp_path / "vmlinuz").read_bytes() == b"something else"
    assert told == ["The kernel cannot be stored in LZ4: it is no bzImage. It boots as it is."]


def test_repack_kernel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").symlink_to("vmlinuz-gone")
    with pytest.raises(OperationError, match="has no kernel '/vmlinuz'"):
        repack_kernel(tmp_path, "/vmlinuz", print)


def test_repack_kernel_behind_a_link_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "host"
    outside.write_bytes(Kernel().image())
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "vmlinuz").symlink_to(outside)
    with pytest.raises(OperationError, match="leads out of the root file system"):
        repack_kernel(tree, "/vmlinuz", print)
    assert outside.read_bytes() == Kernel().image()
