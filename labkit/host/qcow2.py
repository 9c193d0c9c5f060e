"""What a qcow2 image's own header says: its snapshots, its base, whether it is marked damaged.

Read from the first bytes of the file, so that anybody libvirt serves can know it; no I/O here. The
format is QEMU's docs/interop/qcow2.txt.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAGIC = b"QFI\xfb"
HEADER_BYTES = 112
# Offsets of the fields: big-endian, as everything in the format.
_FIELDS = struct.Struct(">4sIQIIQIIQQIIQ")
_INCOMPATIBLE = 72  # version 3 only
_CORRUPT = 1 << 1
_DATA_FILE = 1 << 2
_SNAPSHOT = struct.Struct(">QIHHIIQII")
_MAX_SNAPSHOTS = 65536
# QEMU writes at most 24 bytes of extra data, an id of 128 and a name of 256 (block/qcow2.h).
_ENTRY_BYTES = 1024
_CUT_OFF = "its snapshot table is cut off"
_ALIGN = 8

Read = Callable[[int, int], bytes]


class DamagedImageError(ValueError):
    """The bytes are not those of a sound qcow2 image; the text says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot inside an image.

    Attributes:
        name: Its name.
        memory_bytes: Length of the memory kept with it; 0 when it is of the disk alone.
    """

    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an image says about itself.

    Attributes:
        snapshots: In the order they were taken.
    """

    snapshots: tuple[Snapshot, ...]

    def snapshot(self, name: str) -> Snapshot | None:
        """Return the snapshot of that name; None when the image has none."""
        return next((item for item in self.snapshots if item.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an image's header says of its disk.

    Attributes:
        virtual_bytes: How large the disk is for a guest.
        needs: What the image is nothing without, as a noun phrase; empty when it is whole.
    """

    virtual_bytes: int
    needs: str


def examine_header(header: bytes) -> Header:
    """Return what an image's header says of its disk.

    Args:
        header: Its first bytes.

    Raises:
        DamagedImageError: They cannot be those of a sound image.
    """
    fields = _fields(header)
    version, backing, crypt = fields[1], fields[2], fields[6]
    data_file = version > 2 and _features(header) & _DATA_FILE  # noqa: PLR2004 -- the format's version
    needs = ""
    if backing or data_file:
        needs = "another file, which it names"
    elif crypt:
        needs = "a password, it is encrypted"
    return Header(virtual_bytes=fields[5], needs=needs)


def examine(read: Read) -> Image:
    """Return what an image says about itself.

    Args:
        read: Returns bytes of the image: `read(offset, length)`; fewer at its end.

    Raises:
        DamagedImageError: Header or snapshot table cannot be those of a sound image.
    """
    fields = _fields(read(0, HEADER_BYTES))
    count, offset = fields[11], fields[12]
    if count > _MAX_SNAPSHOTS:
        msg = f"its header speaks of {count} snapshots"
        raise DamagedImageError(msg)
    return Image(snapshots=_snapshots(read, offset, count))


def _fields(header: bytes) -> tuple[Any, ...]:
    """Return the header's fields, of an image that is sound by them."""
    if len(header) < _FIELDS.size or header[:4] != MAGIC:
        msg = "it does not begin with a qcow2 header"
        raise DamagedImageError(msg)
    fields = _FIELDS.unpack_from(header)
    version = fields[1]
    if version not in {2, 3}:
        msg = f"its header says qcow2 version {version}; expected 2 or 3"
        raise DamagedImageError(msg)
    if version > 2 and _features(header) & _CORRUPT:  # noqa: PLR2004 -- the format's version
        msg = "QEMU has marked it as corrupt"
        raise DamagedImageError(msg)
    return fields


def _features(header: bytes) -> int:
    """Return the incompatible features of version 3, as bits; none of a header that is cut off."""
    if len(header) < _INCOMPATIBLE + 8:
        return 0
    return int.from_bytes(header[_INCOMPATIBLE : _INCOMPATIBLE + 8], "big")


def _snapshots(read: Read, offset: int, count: int) -> tuple[Snapshot, ...]:
    table = read(offset, count * _ENTRY_BYTES) if count else b""
    found: list[Snapshot] = []
    start = 0
    for _ in range(count):
        if len(table) < start + _SNAPSHOT.size:
            raise DamagedImageError(_CUT_OFF)
        _, _, id_bytes, name_bytes, _, _, _, size, extra_bytes = _SNAPSHOT.unpack_from(
            table, start
        )
        extra = start + _SNAPSHOT.size
        end = extra + extra_bytes + id_bytes + name_bytes
        if len(table) < end:
            raise DamagedImageError(_CUT_OFF)
        if extra_bytes >= _ALIGN:
            # The 64-bit length replaces the 32-bit one of version 2.
            (size,) = struct.unpack_from(">Q", table, extra)
        name = table[end - name_bytes : end].decode("utf-8", "replace")
        found.append(Snapshot(name=name, memory_bytes=size))
        start += -(-(end - start) // _ALIGN) * _ALIGN
    return tuple(found)
