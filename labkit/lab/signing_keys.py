"""The keys that packages are signed with, where `repos.keys` names files of them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit.lab import releases
from labkit.lab.rules import Breach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.lab.model import Lab
    from labkit.lab.topology import Release

PLACE = ("repos", "keys")
MAX_BYTES = 64 * 1024
_PRIVATE = re.compile(r"^-----BEGIN [A-Z0-9 ]*PRIVATE KEY", re.MULTILINE)
_PUBLIC = re.compile(
    r"^-----BEGIN PGP PUBLIC KEY BLOCK-----$.*^-----END PGP PUBLIC KEY BLOCK-----$",
    re.MULTILINE | re.DOTALL,
)


def names(release: Release) -> tuple[str, ...]:
    """Return the file names, as CentOS has them, of the keys that a release's packages need."""
    paths = (item.key for item in releases.repositories(release) if item.sig)
    return tuple(dict.fromkeys(PurePosixPath(path).name for path in paths))


def breaches(lab: Lab) -> Iterator[Breach]:
    """Yield what is wrong with the names of the key files: all that are needed, each once."""
    if not lab.repos.keys:
        return
    needed = names(lab.release)
    first: dict[str, int] = {}
    for index, file in enumerate(lab.repos.keys):
        name = PurePosixPath(file).name
        earlier = first.setdefault(name, index)
        if name not in needed:
            known = " or ".join(f"'{each}'" for each in needed)
            yield Breach(
                place=(*PLACE, index), expected=f"a file named {known}", found=f"'{name}'"
            )
        elif earlier != index:
            found = f"'{name}' again, as in 'repos.keys.{earlier}'"
            yield Breach(place=(*PLACE, index), expected="each key once", found=found)
    missing = [f"'{name}'" for name in needed if name not in first]
    if missing:
        yield Breach(
            place=PLACE,
            expected=f"the keys of all groups, {' and '.join(missing)} too",
            found="none of that name",
            about_key=True,
            rests_on=(("release",),),
        )


def fault(content: bytes) -> str:
    """Return what keeps the content of a file from being a public key; empty when it is one."""
    if len(content) > MAX_BYTES:
        return f"a file of more than {MAX_BYTES // 1024} KiB"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if not re.sub(r"[\r\n\t]", "", text).isprintable():
        return "a file that is no plain text"
    if _PRIVATE.search(text):
        return "a private key, which belongs to its owner alone and is not put on any node"
    return "" if _PUBLIC.search(text.replace("\r\n", "\n")) else "no PGP public key in ASCII armor"
