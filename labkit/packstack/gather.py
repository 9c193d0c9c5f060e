"""Which logs of a node are collected, how they travel, and what is blacked out in them."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit.lab.answers import MASK
from labkit.resources import guest_script

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The end of a log is what explains a failure; a whole Puppet debug log can be hundreds of MB.
LOG_BYTES = 2 * 1024 * 1024
# What could be read as a password in the middle of ordinary text is not blacked out.
SHORTEST_SECRET = 8


def gather_script() -> str:
    """Return the script that prints a node's logs as a tar archive."""
    return guest_script(__package__, "gather", bytes=LOG_BYTES)


def unpack(archive: bytes, secrets: Iterable[str]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield every regular file of an archive by its relative path, secrets blacked out.

    Names that lead out of the archive, and everything that is no regular file, are left out.

    Args:
        archive: What `gather_script` printed.
        secrets: Texts that must not reach the host's disk.

    Raises:
        tarfile.TarError: It is no archive.
    """
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if not member.isfile() or path.is_absolute() or ".." in path.parts:
                continue
            stream = tar.extractfile(member)
            if stream is not None:
                yield path, masked(stream.read(), secrets)


def masked(content: bytes, secrets: Iterable[str]) -> bytes:
    """Return the content with every secret, and every value of a password key, blacked out."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            content = content.replace(secret.encode(), MASK.encode())
    return re.sub(
        rb"(?im)^((?:export )?\w*(?:PASSWORD|_PW|SECRET|TOKEN|_KEY|HASH)\w*\s*=\s*)"
        rb"(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s#]+)",
        rb"\1" + MASK.encode(),
        content,
    )
