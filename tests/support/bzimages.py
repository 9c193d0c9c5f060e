"""A kernel of a few instructions, packed as Linux packs its own: for what unpacks and boots it.

It ends QEMU with `CHECKED` when it was entered as Linux wants to be and every byte is in place.
"""

from __future__ import annotations

import lzma
import random
import struct
from dataclasses import dataclass, field

from labkit.boxes import kernel as bzimage

CHECKED = 33  # isa-debug-exit turns 0x10 into 2 x 0x10 + 1
ENTRY = 0x108000
CODE_BYTES = 0x4000
ZEROS = (0x10C000, 0x110000)
DATA = 0x118000
DATA_BYTES = 0x8000

Piece = tuple[int, bytes, int]


def pieces() -> tuple[Piece, ...]:
    """Return (address, content, size in memory) of the kernel's segments.

    They lie so close behind the place a boot loader puts them that moving them the wrong way round
    would destroy them, and that the zeros take the place of something else.
    """
    noise = random.Random(5)  # noqa: S311 -- any bytes that repeat with the test
    data = noise.randbytes(DATA_BYTES - 8) + b"the end."
    code = _code(data).ljust(CODE_BYTES - 8, b"\x90") + b"the end."
    return (ENTRY, code, ZEROS[1] - ENTRY), (DATA, data, DATA_BYTES)


def _code(data: bytes) -> bytes:
    checks = [b"\x81\xbe\x02\x02\x00\x00HdrS"]  # cmp dword [rsi+0x202],'HdrS'
    # cmp qword [address],0
    checks += [b"\x48\x83\x3c\x25" + struct.pack("<IB", at, 0) for at in (ZEROS[0], ZEROS[1] - 8)]
    for offset in (0, len(data) // 2, len(data) - 8):
        value = data[offset : offset + 8]
        # mov rax,value; cmp rax,[address]
        checks.append(b"\x48\xb8" + value + b"\x48\x3b\x04\x25" + struct.pack("<I", DATA + offset))
    failed = b"\xb0\x11\xe6\xf4\xf4\xeb\xfd"  # mov al,0x11; out 0xf4,al; hlt
    passed = b"\xb0\x10\xe6\xf4\xf4\xeb\xfd"
    code = passed + failed
    for check in reversed(checks):
        # jne failed
        code = check + b"\x0f\x85" + struct.pack("<i", len(code) - len(failed)) + code
    return code


@dataclass(slots=True, kw_only=True)
class Kernel:
    """What a bzImage is made of; tests change what they want to be wrong.

    Attributes:
        entry: Physical address of the kernel's entry.
        segments: Its segments.
        elf_magic: How the packed file begins.
        version: Of the boot protocol.
        magic: At 0x202.
        told_size: Added to the size that the packed kernel says it has.
        cut: Bytes missing at the end of the packed file.
        init_size: Bytes of memory it asks for, from its preferred address on.
    """

    entry: int = ENTRY
    segments: tuple[Piece, ...] = field(default_factory=pieces)
    elf_magic: bytes = b"\x7fELF\x02\x01\x01"
    version: int = 0x20F
    magic: bytes = b"HdrS"
    told_size: int = 0
    cut: int = 0
    init_size: int = 0x200000

    def elf(self) -> bytes:
        """Return the kernel as an ELF file."""
        table = bzimage.ELF_HEADER.size
        offset = table + len(self.segments) * bzimage.PROGRAM_HEADER.size
        headers, content = b"", b""
        for address, piece, size in self.segments:
            at = offset + len(content)
            headers += bzimage.PROGRAM_HEADER.pack(1, 5, at, 0, address, len(piece), size, 4096)
            content += piece
        first = bzimage.ELF_HEADER.pack(
            *(self.elf_magic.ljust(16, b"\0"), 2, 62, 1, self.entry, table, 0, 0),
            *(table, bzimage.PROGRAM_HEADER.size, len(self.segments), 0, 0, 0),
        )
        whole = first + headers + content
        return whole[: len(whole) - self.cut]

    def image(self, *, packed: bytes | None = None) -> bytes:
        """Return the bzImage; `packed` takes the place of the packed kernel."""
        if packed is None:
            elf = self.elf()
            packed = lzma.compress(elf, check=lzma.CHECK_CRC32)
            packed += struct.pack("<I", len(elf) + self.told_size)
        setup = bytearray(1024)
        setup[0x1F1] = 1
        setup[0x1FE:0x200] = b"\x55\xaa"
        # A jump over the rest of the header: boot loaders read from it how long the header is.
        setup[0x200:0x202] = b"\xeb\x66"
        setup[0x202:0x206] = self.magic
        struct.pack_into("<H", setup, 0x206, self.version)
        setup[0x211] = 1  # loaded high
        struct.pack_into("<I", setup, 0x214, 0x100000)
        struct.pack_into("<I", setup, 0x22C, 0x7FFFFFFF)  # highest address of an initrd
        struct.pack_into("<IB", setup, 0x230, 0x200000, 1)  # alignment, relocatable
        setup[0x236] = 0x7F
        struct.pack_into("<I", setup, 0x238, 2047)  # longest command line
        unpacker = b"unpacker".ljust(64)
        struct.pack_into("<II", setup, 0x248, len(unpacker), len(packed))
        struct.pack_into("<QI", setup, 0x258, 0x1000000, self.init_size)
        struct.pack_into("<I", setup, 0x1F4, -(-(len(unpacker) + len(packed)) // 16))
        return bytes(setup) + unpacker + packed
