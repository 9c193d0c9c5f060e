"""The lab's Vagrantfile: what it needs of this host, and where it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import HostError
from labkit.host.files import write_atomically
from labkit.host.inventory import POOL
from labkit.lab import render
from labkit.state.session import user_key

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.boxes.cache import CachedBox
    from labkit.state.session import Session


def write(session: Session, box: CachedBox, *, accelerated: bool) -> None:
    """Write the Vagrantfile where Vagrant runs, and every rendered file for reading."""
    with session.tools.connect() as hypervisor:
        pool_path = hypervisor.storage.pool(POOL).path
    settings = settings_for(
        session, box.vagrant_name, box.vagrant_version, accelerated=accelerated, pool=pool_path
    )
    for name, text in render.render_all(session.lab, settings).items():
        target = session.directory.rendered / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # Only read by people: not worth flushing each to disk while Vagrant waits to be started.
        target.write_text(text, encoding="utf-8")
    text = render.vagrantfile(session.lab, settings)
    write_atomically(session.directory.vagrant / "Vagrantfile", text)


def settings_for(
    session: Session,
    box_name: str,
    box_version: str,
    *,
    accelerated: bool,
    pool: Path | None,
) -> render.VagrantSettings:
    """Return what the Vagrantfile needs beside the lab itself.

    Raises:
        HostError: The storage pool is not a directory.
    """
    if pool is None:
        message = f"The storage pool '{POOL}' is not a directory; labkit needs one for the seeds."
        raise HostError(message, hint=f"'virsh pool-dumpxml {POOL}' shows what it is.")
    nodes = session.lab.nodes
    return render.VagrantSettings(
        box_name=box_name,
        box_version=box_version,
        domain_type="kvm" if accelerated else "qemu",
        storage_pool=POOL,
        seed_paths={node.name: pool / node.seed_volume for node in nodes},
        console_paths={node.name: session.directory.console_log(node.name) for node in nodes},
        firstboot_paths={node.name: session.directory.firstboot_log(node.name) for node in nodes},
        private_key_path=user_key(session.directory),
    )
