"""The seed of a node: the ISO that carries its whole configuration, keys included, into its boot."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from labkit.errors import cause
from labkit.host import iso, ssh
from labkit.lab.deployment import controller
from labkit.state.session import Session, host_key, root_key, user_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from labkit.lab.render import GuestFile
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


def have_keys(session: Session) -> bool:
    """Return whether the lab's user and root keys and every node's host key exist."""
    return all(
        key.exists() and key.with_name(f"{key.name}.pub").exists()
        for key, _kind, _comment in _keys(session)
    )


def make_keys(session: Session) -> None:
    """Make the lab's user and root keys and every node's host key, where they do not exist yet.

    Made side by side, because an RSA key costs most of a second.

    Raises:
        OperationError: ssh-keygen failed; every key that could not be made is named.
    """
    wanted = _keys(session)
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        made = [pool.submit(ssh.generate_key, *item) for item in wanted]
    errors = [error for each in made if isinstance(error := each.exception(), Exception)]
    if errors:
        raise cause(errors, doing="make the lab's SSH keys")


def _keys(session: Session) -> list[tuple[Path, str, str]]:
    nodes = session.lab.nodes
    return [
        (user_key(session.directory), "rsa", f"labkit-{session.lab.name}"),
        (root_key(session.directory), "rsa", f"root@{controller(session.lab).fqdn}"),
        *((host_key(session.directory, node.name), "ed25519", node.fqdn) for node in nodes),
    ]


def compose_seeds(
    session: Session, guest: Mapping[str, tuple[GuestFile, ...]]
) -> Mapping[str, Seed]:
    """Return the seed of every node; the keys have to exist.

    Args:
        session: The lab.
        guest: Every node's rendered files, by its name.
    """
    return {
        node.name: compose(node, [*as_seed_files(guest[node.name]), *_keys_of(session, node)])
        for node in session.lab.nodes
    }


def as_seed_files(files: Iterable[GuestFile]) -> list[SeedFile]:
    """Return rendered files as a seed carries them."""
    return [
        SeedFile(path=PurePosixPath(file.path), content=file.content.encode(), mode=file.mode)
        for file in files
    ]


def _keys_of(session: Session, node: ResolvedNode) -> list[SeedFile]:
    user = user_key(session.directory)
    host = host_key(session.directory, node.name)
    return [
        SeedFile(
            path=PurePosixPath("/home/vagrant/.ssh/authorized_keys"),
            content=user.with_name(f"{user.name}.pub").read_bytes(),
            mode=0o600,
            owner="vagrant:vagrant",
        ),
        SeedFile(
            path=PurePosixPath("/etc/ssh/ssh_host_ed25519_key"),
            content=host.read_bytes(),
            mode=0o600,
        ),
        SeedFile(
            path=PurePosixPath("/etc/ssh/ssh_host_ed25519_key.pub"),
            content=host.with_name(f"{host.name}.pub").read_bytes(),
        ),
        *_root_files(session, node),
    ]


def _root_files(session: Session, node: ResolvedNode) -> list[SeedFile]:
    """Return root's SSH files: Packstack works on every node as root, from the controller.

    Packstack adds this very key to authorized_keys when it is missing and no other
    (prescript_000.py, install_keys_on_host), so a changed seed takes nothing of its away.
    """
    private = root_key(session.directory)
    public = private.with_name(f"{private.name}.pub").read_bytes()
    home = PurePosixPath("/root/.ssh")
    files = [SeedFile(path=home / "authorized_keys", content=public, mode=0o600)]
    if node == controller(session.lab):
        files += [
            # The default name: Packstack's ssh is told no other.
            SeedFile(path=home / "id_rsa", content=private.read_bytes(), mode=0o600),
            SeedFile(path=home / "id_rsa.pub", content=public),
        ]
    return files
