"""This host as a lab meets it: its libvirt, and what is already there."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from labkit import hostnet
from labkit.hypervisor import Hypervisor, connect
from labkit.libvirt_errors import NotFoundError
from labkit.plan import Seen

if TYPE_CHECKING:
    from collections.abc import Iterator

POOL = "default"
URI = "qemu:///system"


@contextmanager
def libvirt() -> Iterator[Hypervisor]:
    """Connect to the host's libvirt.

    Raises:
        HostError: libvirtd does not answer.
    """
    with connect(URI) as hypervisor:
        yield hypervisor


def look(hypervisor: Hypervisor, *, define_pool: bool = True) -> Seen:
    """Return what the host has, as far as a lab can meet it.

    Args:
        hypervisor: The host's libvirt.
        define_pool: Make the storage pool where it is missing; False changes nothing.
    """
    storage = hypervisor.storage
    if define_pool:
        storage.ensure_pool(POOL)
    try:
        storage.refresh(POOL)
        volumes = storage.volumes(POOL)
    except NotFoundError:
        volumes = ()
    return Seen(
        domains=hypervisor.domains(),
        networks=hypervisor.networks(),
        volumes={volume.name: volume for volume in volumes},
        links=hostnet.links(),
    )
