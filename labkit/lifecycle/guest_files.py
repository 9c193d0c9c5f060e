"""What a lab's nodes are given: SSH keys, and the seed that carries every file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit.host import ssh
from labkit.lab.deployment import controller
from labkit.lab.render import node_files
from labkit.lifecycle.seed import Seed, SeedFile, compose
from labkit.state.session import Session, host_key, root_key, user_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labkit.lab.topology import ResolvedNode


def have_keys(session: Session) -> bool:
    """Return whether the lab's user and root keys and every node's host key exist."""
    return all(
        key.exists() and key.with_name(f"{key.name}.pub").exists()
        for key, _kind, _comment in _keys(session)
    )


def make_keys(session: Session) -> None:
    """Make the lab's user and root keys and every node's host key, where they do not exist yet.

    Made side by side, because an RSA key costs most of a second.
    """
    wanted = _keys(session)
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        list(pool.map(lambda item: ssh.generate_key(*item), wanted))


def _keys(session: Session) -> list[tuple[Path, str, str]]:
    nodes = session.lab.nodes
    return [
        (user_key(session.directory), "rsa", f"labkit-{session.lab.name}"),
        (root_key(session.directory), "rsa", f"root@{controller(session.lab).fqdn}"),
        *((host_key(session.directory, node.name), "ed25519", node.fqdn) for node in nodes),
    ]


def compose_seeds(session: Session) -> Mapping[str, Seed]:
    """Return the seed of every node; the keys have to exist."""
    return {node.name: _seed(session, node) for node in session.lab.nodes}


def _seed(session: Session, node: ResolvedNode) -> Seed:
    user = user_key(session.directory)
    host = host_key(session.directory, node.name)
    files = [
        SeedFile(path=PurePosixPath(file.path), content=file.content.encode(), mode=file.mode)
        for file in node_files(session.lab, node)
    ]
    files += [
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
    return compose(node, files)


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
