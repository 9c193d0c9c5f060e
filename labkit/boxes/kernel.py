"""Stores a Linux kernel without compression: an emulated processor unpacks it for seconds.

A bzImage is a header, a program that unpacks, and the packed kernel, an ELF file. `unpacked`
keeps the header, which tells the boot loader what to do, and replaces the rest by the kernel as it
is and a program that moves it into place. Sources: Linux, Documentation/arch/x86/boot.rst (the
header, the 32-bit entry) and arch/x86/kernel/head_64.S (what the kernel's own entry expects: 64-bit
mode, memory mapped to itself, RSI at the boot parameters). The moving is what
arch/x86/boot/compressed/misc.c does after unpacking, for a kernel that stays at its own address.
"""

from __future__ import annotations

import lzma
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from labkit.errors import OperationError

if TYPE_CHECKING:
    from typing import Final

SECTOR: Final = 512
# Offsets in the header, and the version that has all of them (boot.rst).
SETUP_SECTORS: Final = 0x1F1
SIZE_IN_PARAGRAPHS: Final = 0x1F4
MAGIC: Final = 0x202
VERSION: Final = 0x206
RELOCATABLE: Final = 0x234
EXTRA_FLAGS: Final = 0x236
PAYLOAD: Final = 0x248
PREFERRED_ADDRESS: Final = 0x258
INIT_SIZE: Final = 0x260
OLDEST_VERSION: Final = 0x20A
DEFAULT_SETUP_SECTORS: Final = 4

# Where every boot loader puts a kernel that cannot be moved.
LOADED_AT: Final = 0x100000
# Offsets in what is loaded there.
LONG_MODE_CODE: Final = 0x100
MOVES: Final = 0x800
GDT_POINTER: Final = 0xF00
GDT: Final = 0xF20
PAGE_TABLE_4: Final = 0x1000
PAGE_TABLE_3: Final = 0x2000
PAGE_TABLE_2: Final = 0x3000
CONTENT: Final = 0x7000
PAGE: Final = 0x1000
WORD: Final = 8
# As far as the page tables reach.
FOUR_GIB: Final = 1 << 32

XZ: Final = b"\xfd7zXZ\0"
ELF_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")
ELF64_LITTLE: Final = b"\x7fELF\x02\x01"
LOAD: Final = 1


class KernelFormatError(OperationError):
    """The kernel is not built the way this module knows; it boots as it is, only slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of the kernel and where it belongs.

    Attributes:
        address: Physical address, a multiple of 8.
        content: Its bytes without the zeros at their end.
        size: Bytes it takes in memory; what `content` does not fill is zero.
    """

    address: int
    content: bytes
    size: int


def unpacked(image: bytes) -> bytes:
    """Return a bzImage that boots the same kernel without unpacking it.

    The kernel then lies at its own address: it is never put at a random one (as with `nokaslr`).

    Args:
        image: A bzImage for x86-64 whose kernel is packed with xz, as Debian's are.

    Raises:
        KernelFormatError: It is something else.
    """
    if len(image) <= INIT_SIZE + 4 or image[MAGIC : MAGIC + 4] != b"HdrS":
        _refuse("it is no bzImage")
    (version,) = struct.unpack_from("<H", image, VERSION)
    if version < OLDEST_VERSION:
        _refuse(f"its boot protocol is {version >> 8}.{version & 0xFF:02d}")
    setup = SECTOR * (1 + (image[SETUP_SECTORS] or DEFAULT_SETUP_SECTORS))
    entry, segments = _segments(_payload(image, setup))
    program = _program(entry, segments)
    (preferred,) = struct.unpack_from("<Q", image, PREFERRED_ADDRESS)
    (init_size,) = struct.unpack_from("<I", image, INIT_SIZE)
    end = max(preferred + init_size, *(each.address + each.size for each in segments))
    if end > FOUR_GIB:
        _refuse(f"it asks for memory up to {end:#x}")
    header = bytearray(image[:setup])
    struct.pack_into("<I", header, SIZE_IN_PARAGRAPHS, len(program) // 16)
    # It stays where it is put, has no 64-bit entry and nothing packed.
    struct.pack_into("<BxH", header, RELOCATABLE, 0, 0)
    struct.pack_into("<II", header, PAYLOAD, 0, 0)
    struct.pack_into("<QI", header, PREFERRED_ADDRESS, LOADED_AT, end - LOADED_AT)
    return bytes(header) + program


def _refuse(what: str, cause: Exception | None = None) -> NoReturn:
    msg = f"The kernel cannot be stored unpacked: {what}."
    raise KernelFormatError(msg) from cause


def _payload(image: bytes, setup: int) -> bytes:
    offset, length = struct.unpack_from("<II", image, PAYLOAD)
    packed = image[setup + offset : setup + offset + length]
    if not packed.startswith(XZ) or len(packed) != length:
        _refuse(f"it is not packed with xz but begins with {packed[:4].hex() or 'nothing'}")
    try:
        # The kernel's build appends the unpacked size.
        kernel = lzma.decompress(packed[:-4], lzma.FORMAT_XZ)
    except lzma.LZMAError as exc:
        _refuse(f"its xz stream is broken: {exc}", exc)
    if struct.pack("<I", len(kernel)) != packed[-4:]:
        _refuse("it unpacks to another size than it says")
    return kernel


def _segments(kernel: bytes) -> tuple[int, tuple[Segment, ...]]:
    """Return the address of the kernel's entry and its pieces, by address."""
    if not kernel.startswith(ELF64_LITTLE) or len(kernel) < ELF_HEADER.size:
        _refuse("what is packed is no 64-bit ELF file")
    fields = ELF_HEADER.unpack_from(kernel)
    entry, table, entry_bytes, count = fields[4], fields[5], fields[9], fields[10]
    if entry_bytes != PROGRAM_HEADER.size or table + count * entry_bytes > len(kernel):
        _refuse("its program headers cannot be read")
    found = []
    for index in range(count):
        kind, _, offset, _, address, length, memory, _ = PROGRAM_HEADER.unpack_from(
            kernel, table + index * entry_bytes
        )
        if kind == LOAD:
            if offset + length > len(kernel):
                _refuse("a segment reaches beyond its file")
            content = kernel[offset : offset + length].rstrip(b"\0")
            found.append(Segment(address=address, content=content, size=max(length, memory)))
    found.sort(key=lambda each: each.address)
    _check(entry, found)
    return entry, tuple(found)


def _check(entry: int, segments: list[Segment]) -> None:
    if not any(each.address <= entry < each.address + each.size for each in segments):
        _refuse(f"its entry {entry:#x} lies in none of its segments")
    place = LOADED_AT + CONTENT
    for number, each in enumerate(segments):
        following = segments[number + 1].address if number + 1 < len(segments) else FOUR_GIB
        if each.address % WORD or each.address + each.size > following:
            _refuse("its segments overlap, lie above 4 GiB or are not aligned")
        # Moved upwards and the last first, no piece is overwritten before it was moved.
        if each.address < place:
            _refuse(f"a segment belongs at {each.address:#x}, below where it is loaded")
        place += _words(len(each.content)) * WORD


def _words(length: int) -> int:
    return -(-length // WORD)


def _program(entry: int, segments: tuple[Segment, ...]) -> bytes:
    """Return what is loaded in place of the unpacking program, in whole paragraphs of 16 bytes."""
    start = bytearray(CONTENT)
    _place(start, 0, _protected_mode_code())
    _place(start, LONG_MODE_CODE, _long_mode_code(entry))
    _place(start, GDT_POINTER, struct.pack("<HI", 4 * WORD - 1, LOADED_AT + GDT))
    # Two empty ones, code in 64-bit mode, data: the selectors the boot protocol uses too.
    _place(start, GDT, struct.pack("<4Q", 0, 0, 0x00AF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF))
    _place(start, PAGE_TABLE_4, struct.pack("<Q", LOADED_AT + PAGE_TABLE_3 + 3))
    tables = (LOADED_AT + PAGE_TABLE_2 + number * PAGE + 3 for number in range(4))
    _place(start, PAGE_TABLE_3, struct.pack("<4Q", *tables))
    # The first 4 GiB as they are, 2 MiB an entry.
    _place(start, PAGE_TABLE_2, struct.pack("<2048Q", *((n << 21) + 0x83 for n in range(2048))))
    moves, content = _moves(segments)
    if len(moves) > GDT_POINTER - MOVES:
        _refuse(f"it has {len(segments)} segments")
    _place(start, MOVES, moves)
    return bytes(start) + content


def _place(target: bytearray, offset: int, content: bytes) -> None:
    target[offset : offset + len(content)] = content


def _moves(segments: tuple[Segment, ...]) -> tuple[bytes, bytes]:
    """Return the list of moves, the last segment first, and the content they are made from.

    A move is (last word of the source or 0 for zeros, last word of the target, words, 0); a target
    of 0 ends the list.
    """
    moves: list[bytes] = []
    content = bytearray()
    for each in segments:
        words = _words(len(each.content))
        zeros = _words(each.size) - words
        source, target = LOADED_AT + CONTENT + len(content), each.address
        moves.append(struct.pack("<4I", source + (words - 1) * WORD, *_last(target, words)))
        if zeros:
            moves.append(struct.pack("<4I", 0, *_last(target + words * WORD, zeros)))
        content += each.content.ljust(words * WORD, b"\0")
    content += bytes(-len(content) % 16)
    return b"".join(reversed(moves)) + bytes(16), bytes(content)


def _last(target: int, words: int) -> tuple[int, int, int]:
    return target + (words - 1) * WORD, words, 0


def _protected_mode_code() -> bytes:
    """Return the entry: 32-bit mode without paging, ESI at the boot parameters."""
    at = LOADED_AT
    return b"".join(
        (
            b"\xfa",  # cli
            b"\xb8" + struct.pack("<I", at + PAGE_TABLE_4) + b"\x0f\x22\xd8",  # mov cr3,page table
            b"\x0f\x20\xe0\x83\xc8\x20\x0f\x22\xe0",  # or cr4,0x20: physical address extension
            b"\xb9\x80\x00\x00\xc0\x0f\x32",  # mov ecx,0xc0000080; rdmsr
            b"\x0d\x00\x01\x00\x00\x0f\x30",  # or eax,0x100; wrmsr: long mode enable
            b"\x0f\x01\x15" + struct.pack("<I", at + GDT_POINTER),  # lgdt
            b"\x0f\x20\xc0\x0d\x00\x00\x00\x80\x0f\x22\xc0",  # or cr0,0x80000000: paging
            b"\xea" + struct.pack("<IH", at + LONG_MODE_CODE, 0x10),  # jmp 0x10:code in long mode
        )
    )


def _long_mode_code(entry: int) -> bytes:
    """Return what moves every piece into place and enters the kernel."""
    return b"".join(
        (
            b"\x89\xf3",  # mov ebx,esi: the boot parameters
            b"\xb8\x18\x00\x00\x00\x8e\xd8\x8e\xc0\x8e\xd0",  # mov eax,0x18; mov ds,es,ss,eax
            b"\xbd" + struct.pack("<I", LOADED_AT + MOVES),  # mov ebp,list of moves
            b"\xfd",  # std: backwards, as source and target may overlap
            b"\x8b\x75\x00\x8b\x7d\x04\x8b\x4d\x08",  # next: mov esi,[rbp]; edi,[rbp+4]; ecx,[rbp+8]
            b"\x83\xc5\x10",  # add ebp,16
            b"\x85\xff\x74\x10",  # test edi,edi; jz done
            b"\x85\xf6\x74\x05",  # test esi,esi; jz zeros
            b"\xf3\x48\xa5\xeb\xe7",  # rep movsq; jmp next
            b"\x31\xc0\xf3\x48\xab\xeb\xe0",  # zeros: xor eax,eax; rep stosq; jmp next
            b"\xfc\x89\xde",  # done: cld; mov esi,ebx
            b"\xb8" + struct.pack("<I", entry) + b"\xff\xe0",  # mov eax,entry; jmp rax
        )
    )
