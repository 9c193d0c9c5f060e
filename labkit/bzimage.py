"""Stores a Linux kernel packed with LZ4: unpacking xz costs an emulated processor seconds.

A bzImage is a header, a program that unpacks, and the packed kernel, an ELF file. `repacked` keeps
the header, which tells the boot loader what to do, and replaces the rest by the kernel in LZ4 and
a program that unpacks that. Stored as it is the kernel would need no unpacking, but GRUB reads it
through the BIOS, some 16 KiB a call, and every call is slow in emulation. Sources: Linux,
Documentation/arch/x86/boot.rst (the header, the 32-bit entry) and arch/x86/kernel/head_64.S (what
the kernel's own entry expects: 64-bit mode, memory mapped to itself, RSI at the boot parameters);
LZ4, doc/lz4_Block_format.md. Where the pieces belong is what arch/x86/boot/compressed/misc.c does
after unpacking, for a kernel that stays at its own address.
"""

from __future__ import annotations

import lzma
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import lz4.block

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
# Linux itself takes less than a quarter of it; what lies between its pieces is stored as zeros.
LARGEST: Final = 256 << 20

XZ: Final = b"\xfd7zXZ\0"
ELF_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")
ELF64_LITTLE: Final = b"\x7fELF\x02\x01"
LOAD: Final = 1


class KernelFormatError(OperationError):
    """The kernel is not built the way this module knows; it boots as it is, only slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kernel:
    """A kernel as it lies in memory.

    Attributes:
        entry: Physical address at which it is entered.
        address: Physical address of its first byte, a multiple of 8.
        content: Its bytes, whole words, without the zeros at their end.
        zeros: Words of zeros that follow.
    """

    entry: int
    address: int
    content: bytes
    zeros: int

    @property
    def end(self) -> int:
        """Return the address behind its last byte, a multiple of 8."""
        return self.address + len(self.content) + self.zeros * WORD


def repacked(image: bytes) -> bytes:
    """Return a bzImage that boots the same kernel, packed with LZ4.

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
    kernel = _loaded(_payload(image, setup))
    packed = lz4.block.compress(
        kernel.content, mode="high_compression", compression=12, store_size=False
    )
    program = _program(kernel, packed)
    (preferred,) = struct.unpack_from("<Q", image, PREFERRED_ADDRESS)
    (init_size,) = struct.unpack_from("<I", image, INIT_SIZE)
    # What is packed is moved behind the kernel before it is unpacked.
    end = max(preferred + init_size, kernel.end + _words(len(packed)) * WORD)
    if end > FOUR_GIB:
        _refuse(f"it asks for memory up to {end:#x}")
    header = bytearray(image[:setup])
    struct.pack_into("<I", header, SIZE_IN_PARAGRAPHS, len(program) // 16)
    # It stays where it is put, has no 64-bit entry and nothing that a boot loader could unpack.
    struct.pack_into("<BxH", header, RELOCATABLE, 0, 0)
    struct.pack_into("<II", header, PAYLOAD, 0, 0)
    struct.pack_into("<QI", header, PREFERRED_ADDRESS, LOADED_AT, end - LOADED_AT)
    return bytes(header) + program


def _refuse(what: str, cause: Exception | None = None) -> NoReturn:
    msg = f"The kernel cannot be stored in LZ4: {what}."
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


def _loaded(elf: bytes) -> _Kernel:
    """Return the kernel as it lies in memory."""
    if not elf.startswith(ELF64_LITTLE) or len(elf) < ELF_HEADER.size:
        _refuse("what is packed is no 64-bit ELF file")
    fields = ELF_HEADER.unpack_from(elf)
    entry, table, entry_bytes, count = fields[4], fields[5], fields[9], fields[10]
    if entry_bytes != PROGRAM_HEADER.size or table + count * entry_bytes > len(elf):
        _refuse("its program headers cannot be read")
    found = []
    for index in range(count):
        kind, _, offset, _, address, length, memory, _ = PROGRAM_HEADER.unpack_from(
            elf, table + index * entry_bytes
        )
        if kind == LOAD:
            if offset + length > len(elf):
                _refuse("a segment reaches beyond its file")
            found.append((address, max(length, memory), elf[offset : offset + length]))
    found.sort()
    _check(entry, found)
    start, end = found[0][0], found[-1][0] + found[-1][1]
    content = bytearray(end - start)
    for address, _, piece in found:
        _place(content, address - start, piece)
    kept = content.rstrip(b"\0")
    kept += bytes(-len(kept) % WORD)
    zeros = _words(end - start) - len(kept) // WORD
    return _Kernel(entry=entry, address=start, content=bytes(kept), zeros=zeros)


def _check(entry: int, segments: list[tuple[int, int, bytes]]) -> None:
    if not any(address <= entry < address + size for address, size, _ in segments):
        _refuse(f"its entry {entry:#x} lies in none of its segments")
    following = [address for address, _, _ in segments[1:]] + [FOUR_GIB]
    for (address, size, _), limit in zip(segments, following, strict=True):
        if address % WORD or address + size > limit:
            _refuse("its segments overlap, lie above 4 GiB or are not aligned")
    start, end = segments[0][0], segments[-1][0] + segments[-1][1]
    if start < LOADED_AT + CONTENT:
        _refuse(f"a segment belongs at {start:#x}, below where it is loaded")
    if end - start > LARGEST:
        _refuse(f"it takes {end - start} bytes of memory")


def _words(length: int) -> int:
    return -(-length // WORD)


def _program(kernel: _Kernel, packed: bytes) -> bytes:
    """Return what is loaded in place of the unpacking program, in whole paragraphs of 16 bytes."""
    start = bytearray(CONTENT)
    _place(start, 0, _protected_mode_code())
    _place(start, LONG_MODE_CODE, _long_mode_code(kernel, len(packed)))
    _place(start, GDT_POINTER, struct.pack("<HI", 4 * WORD - 1, LOADED_AT + GDT))
    # Two empty ones, code in 64-bit mode, data: the selectors the boot protocol uses too.
    _place(start, GDT, struct.pack("<4Q", 0, 0, 0x00AF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF))
    _place(start, PAGE_TABLE_4, struct.pack("<Q", LOADED_AT + PAGE_TABLE_3 + 3))
    tables = (LOADED_AT + PAGE_TABLE_2 + number * PAGE + 3 for number in range(4))
    _place(start, PAGE_TABLE_3, struct.pack("<4Q", *tables))
    # The first 4 GiB as they are, 2 MiB an entry.
    _place(start, PAGE_TABLE_2, struct.pack("<2048Q", *((n << 21) + 0x83 for n in range(2048))))
    return bytes(start) + packed + bytes(-len(packed) % 16)


def _place(target: bytearray, offset: int, content: bytes) -> None:
    target[offset : offset + len(content)] = content


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


def _long_mode_code(kernel: _Kernel, packed: int) -> bytes:
    """Return what unpacks the kernel and enters it.

    Args:
        kernel: Where everything belongs.
        packed: Bytes of what is packed.
    """
    words = _words(packed)
    last = (words - 1) * WORD
    more = (
        b"\xac\x0f\xb6\xc0"  # more: lodsb; movzx eax,al
        b"\x01\xc1\x3c\xff\x74\xf6"  # add ecx,eax; cmp al,255; je more
    )
    fifteen = b"\x83\xf9\x0f\x75" + bytes((len(more),))  # cmp ecx,15; jne behind more
    block = b"".join(
        (
            b"\xac\x0f\xb6\xd0\x89\xd1\xc1\xe9\x04",  # lodsb; movzx edx,al; mov ecx,edx; shr ecx,4
            fifteen + more,
            b"\xf3\xa4",  # rep movsb: literals
            b"\x4c\x39\xc6\x73\x2c",  # cmp rsi,r8; jae done
            b"\x66\xad\x0f\xb7\xc0\x48\x89\xfb\x48\x29\xc3",  # lodsw; movzx eax,ax; rbx = rdi - rax
            b"\x89\xd1\x83\xe1\x0f",  # mov ecx,edx; and ecx,15
            fifteen + more,
            b"\x83\xc1\x04\x48\x87\xde\xf3\xa4\x48\x89\xde",  # add ecx,4; xchg rsi,rbx; rep movsb; mov rsi,rbx
        )
    )
    block += b"\xeb" + struct.pack("<b", -len(block) - 2)  # jmp block
    return b"".join(
        (
            b"\x41\x89\xf7",  # mov r15d,esi: the boot parameters
            b"\xb8\x18\x00\x00\x00\x8e\xd8\x8e\xc0\x8e\xd0",  # mov eax,0x18; mov ds,es,ss,eax
            b"\xfd\xbe" + struct.pack("<I", LOADED_AT + CONTENT + last),  # std; mov esi,last word
            b"\xbf" + struct.pack("<I", kernel.end + last),  # mov edi,its place behind the kernel
            b"\xb9"
            + struct.pack("<I", words)
            + b"\xf3\x48\xa5\xfc",  # mov ecx,words; rep movsq; cld
            b"\xbe" + struct.pack("<I", kernel.end),  # mov esi,what is packed
            b"\x41\xb8" + struct.pack("<I", kernel.end + packed),  # mov r8d,its end
            b"\xbf" + struct.pack("<I", kernel.address),  # mov edi,the kernel
            block,
            b"\xb9" + struct.pack("<I", kernel.zeros),  # done: mov ecx,words of zeros
            b"\x31\xc0\xf3\x48\xab\x44\x89\xfe",  # xor eax,eax; rep stosq; mov esi,r15d
            b"\xb8" + struct.pack("<I", kernel.entry) + b"\xff\xe0",  # mov eax,entry; jmp rax
        )
    )
