"""A kernel stored without compression: the header that remains, and what is moved where."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from labkit.boxes import kernel as bzimage
from labkit.boxes.disk import unpack_kernel
from labkit.boxes.kernel import KernelFormatError, unpacked
from labkit.errors import OperationError
from tests.support.bzimages import DATA, ENTRY, ZEROS, Kernel, pieces

if TYPE_CHECKING:
    from pathlib import Path

SETUP = 1024


def moved(image: bytes) -> bytearray:
    """Return memory after the image's program moved what it lists, word by word, downwards."""
    memory = bytearray(b"\xaa" * (2 << 20))
    program = image[SETUP:]
    memory[bzimage.LOADED_AT : bzimage.LOADED_AT + len(program)] = program
    for number in range(bzimage.GDT_POINTER):
        entry = struct.unpack_from("<4I", program, bzimage.MOVES + 16 * number)
        source, target, words, _ = entry
        if target == 0:
            break
        for word in range(words):
            at = target - 8 * word
            taken = memory[source - 8 * word : source - 8 * word + 8] if source else bytes(8)
            memory[at : at + 8] = taken
    return memory


def test_unpacked_kernel_is_moved_into_place_whole() -> None:
    memory = moved(unpacked(Kernel().image()))
    for address, content, size in pieces():
        assert memory[address : address + len(content)] == content
        assert not any(memory[address + len(content) : address + size])
    assert memory[ZEROS[1] : DATA] != bytes(DATA - ZEROS[1])  # the zeros end where they should


def test_unpacked_kernel_with_zeros_at_its_end_does_not_store_them() -> None:
    padded = tuple((at, content + bytes(4096), size + 4096) for at, content, size in pieces())
    padded = (padded[0][0], padded[0][1], padded[0][2]), (DATA + 0x2000, *padded[1][1:])
    image = unpacked(Kernel(segments=padded).image())
    assert len(image) == len(unpacked(Kernel().image()))
    at, content, size = padded[1]
    assert moved(image)[at : at + size] == content


def test_unpacked_kernel_keeps_the_header_and_cannot_be_relocated() -> None:
    before, after = Kernel().image(), unpacked(Kernel().image())
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


def test_unpacked_kernel_larger_than_it_said_gets_the_room_it_needs() -> None:
    large = (*pieces(), (0x2000000, b"x", 0x100000))
    preferred, room = struct.unpack_from("<QI", unpacked(Kernel(segments=large).image()), 0x258)
    assert preferred + room == 0x2100000


def test_unpacked_kernel_is_entered_at_its_entry() -> None:
    program = unpacked(Kernel().image())[SETUP:]
    assert b"\xb8" + struct.pack("<I", ENTRY) + b"\xff\xe0" in program[: bzimage.MOVES]


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
        (Kernel(segments=tuple((ENTRY + 16 * n, b"x", 8) for n in range(200))), "200 segments"),
    ],
)
def test_unpacked_kernel_of_another_kind_is_refused(kernel: Kernel, reason: str) -> None:
    with pytest.raises(KernelFormatError, match=reason):
        unpacked(kernel.image())


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"\x28\xb5\x2f\xfd rest", "not packed with xz but begins with 28b52ffd"),
        (b"", "begins with nothing"),
        (b"\xfd7zXZ\0" + b"broken" * 9, "its xz stream is broken"),
    ],
)
def test_unpacked_kernel_packed_otherwise_is_refused(packed: bytes, reason: str) -> None:
    with pytest.raises(KernelFormatError, match=reason):
        unpacked(Kernel().image(packed=packed))


def test_unpacked_kernel_cut_short_is_refused() -> None:
    whole = Kernel().image()
    for length in (0, 100, 0x264, 1024, len(whole) - 1):
        with pytest.raises(KernelFormatError):
            unpacked(whole[:length])


def test_unpack_kernel_behind_a_link_changes_the_file_in_place(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    real = tmp_path / "boot/vmlinuz-6.1"
    real.write_bytes(Kernel().image())
    inode = real.stat().st_ino
    (tmp_path / "boot/vmlinuz").symlink_to("vmlinuz-6.1")
    told: list[str] = []

    unpack_kernel(tmp_path, "/boot/vmlinuz", told.append)

    assert (real.read_bytes(), told) == (unpacked(Kernel().image()), [])
    assert real.stat().st_ino == inode


def test_unpack_kernel_of_an_unknown_kind_leaves_it_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"something else")
    told: list[str] = []

    unpack_kernel(tmp_path, "/vmlinuz", told.append)

    assert (tmp_path / "vmlinuz").read_bytes() == b"something else"
    assert told == ["The kernel cannot be stored unpacked: it is no bzImage. It boots as it is."]


def test_unpack_kernel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").symlink_to("vmlinuz-gone")
    with pytest.raises(OperationError, match="has no kernel '/vmlinuz'"):
        unpack_kernel(tmp_path, "/vmlinuz", print)


def test_unpack_kernel_behind_a_link_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "host"
    outside.write_bytes(Kernel().image())
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "vmlinuz").symlink_to(outside)
    with pytest.raises(OperationError, match="leads out of the root file system"):
        unpack_kernel(tree, "/vmlinuz", print)
    assert outside.read_bytes() == Kernel().image()
