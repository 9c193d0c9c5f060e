"""The seed of a node: the ISO that carries its whole configuration into its first boot."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from labkit.host import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from labkit.lab.topology import ResolvedNode

LABEL = "LABKIT"
FORMAT = "labkit-seed 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFile:
    """A file labkit-firstboot installs in the guest.

    Attributes:
        path: Absolute path in the guest.
        content: Its bytes.
        mode: Permission bits.
        owner: `user:group` names known to the guest.
    """

    path: PurePosixPath
    content: bytes
    mode: int = 0o644
    owner: str = "root:root"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """Everything a node's ISO holds.

    Attributes:
        seed_id: sha256 of the whole content; a guest applies each id once.
        manifest: The text labkit-firstboot reads first.
        files: What it installs.
    """

    seed_id: str
    manifest: str
    files: tuple[SeedFile, ...]


def compose(node: ResolvedNode, files: Iterable[SeedFile]) -> Seed:
    """Return a node's seed; the same input gives the same id on every host.

    The manifest is line based because the guest's firstboot is bash, without a JSON parser:
    `nic <mac> <name>` and `file <sha256> <mode> <owner:group> <path>`.
    """
    ordered = tuple(sorted(files, key=lambda file: str(file.path)))
    lines = [f"node {node.name}"]
    lines += [f"nic {nic.mac} {nic.name}" for nic in node.nics]
    lines += [
        f"file {hashlib.sha256(f.content).hexdigest()} {f.mode:04o} {f.owner} {f.path}"
        for f in ordered
    ]
    body = "\n".join(lines) + "\n"
    seed_id = hashlib.sha256(f"{FORMAT}\n{body}".encode()).hexdigest()
    manifest = f"{FORMAT}\nid {seed_id}\n{body}"
    return Seed(seed_id=seed_id, manifest=manifest, files=ordered)


def write_image(seed: Seed, target: Path) -> None:
    """Write the seed as an ISO 9660 image labelled LABKIT, mode 0600."""
    files: Sequence[iso.IsoFile] = [
        iso.IsoFile(path=PurePosixPath("/manifest"), content=seed.manifest.encode(), mode=0o600),
        *(
            iso.IsoFile(
                path=PurePosixPath(f"/rootfs{file.path}"), content=file.content, mode=file.mode
            )
            for file in seed.files
        ),
    ]
    iso.write(target, LABEL, files)
