"""Whether a yum repository lists a package: repomd.xml names the list, the list names packages.

Both come from a server that may send anything. They are searched as texts of a bounded size and not
read as XML, so that nothing in them is expanded.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Room for tens of thousands of packages; CentOS 7's extras has some hundred.
MAX_PACKED_BYTES = 16 * 1024 * 1024
MAX_BYTES = 64 * 1024 * 1024
GZIP_WINDOW = 31
_PRIMARY = re.compile(rb"<data\s[^>]*\btype=[\"']primary[\"']")
_LOCATION = re.compile(rb"<location\s[^>]*\bhref=[\"']([A-Za-z0-9._~+/-]+)[\"']")


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


# The packings that yum of CentOS 7 knows.
UNPACKERS: Mapping[str, Callable[[], _Unpacker]] = {
    ".gz": lambda: zlib.decompressobj(GZIP_WINDOW),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lambda: lzma.LZMADecompressor(memlimit=MAX_BYTES),
}


def package_list(repomd: bytes) -> str | None:
    """Return where a repository has its list of packages, below the repository; None without one."""
    for entry in repomd.split(b"</data>"):
        found = _LOCATION.search(entry) if _PRIMARY.search(entry) else None
        if found and not found[1].startswith(b"/"):
            return found[1].decode("ascii")
    return None


def has_package(packed: bytes, path: str, name: str) -> bool:
    """Return whether a package is in a list.

    Args:
        packed: The list as the server sent it.
        path: Where it lies: its ending says how it is packed.
        name: The package's name.

    Raises:
        ValueError: It cannot be unpacked, or is too large; the text completes "extras' list …".
    """
    ending = path[path.rfind(".") :]
    if ending not in UNPACKERS:
        message = f"is packed as '{ending}', which yum does not know"
        raise ValueError(message)
    unpacker = UNPACKERS[ending]()
    try:
        text = unpacker.decompress(packed, MAX_BYTES)
    except (OSError, zlib.error, lzma.LZMAError) as exc:
        message = f"is broken: {exc}"
        raise ValueError(message) from exc
    if len(packed) > MAX_PACKED_BYTES or len(text) == MAX_BYTES:
        message = "is too large"
        raise ValueError(message)
    if not unpacker.eof:
        message = "is broken: it ends too soon"
        raise ValueError(message)
    return f"<name>{name}</name>".encode() in text
