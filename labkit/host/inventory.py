"""This host as a lab meets it: its libvirt, and what is already there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.host.links import links

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Interface

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.host.libvirt.xml import DomainInfo, NetworkInfo, VolumeInfo

URI = "qemu:///system"
# The storage pool of every lab, and where labkit makes it on a host that has none.
POOL = "default"
POOL_PATH = Path("/var/lib/libvirt/images")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the host has, as far as a lab can meet it.

    Attributes:
        domains: Every libvirt domain.
        networks: Every libvirt network.
        volumes: Every volume of the storage pool, by name.
        links: Every network device of the host with its addresses.
        pool: Whether the storage pool is there and active; its volumes are unknown otherwise.
    """

    domains: tuple[DomainInfo, ...]
    networks: tuple[NetworkInfo, ...]
    volumes: Mapping[str, VolumeInfo]
    links: Mapping[str, tuple[IPv4Interface, ...]]
    pool: bool = True


def look(hypervisor: Hypervisor, *, define_pool: bool = True, need_pool: bool = True) -> Seen:
    """Return what the host has, as far as a lab can meet it.

    Args:
        hypervisor: The host's libvirt.
        define_pool: Make the storage pool where it is missing; False changes nothing.
        need_pool: Refuse a pool that is not active, in which volumes may be that nobody sees.

    Raises:
        PoolInactiveError: The pool is not active, and it is neither started here nor left out.
    """
    # What only needs the names above does without libvirt.
    from labkit.host.libvirt.errors import NotFoundError  # noqa: PLC0415
    from labkit.host.libvirt.pool import PoolInactiveError  # noqa: PLC0415

    storage = hypervisor.storage
    if define_pool:
        storage.ensure_pool(POOL)
    volumes: tuple[VolumeInfo, ...] = ()
    pool = True
    try:
        storage.refresh(POOL)
        volumes = storage.volumes(POOL)
    except NotFoundError:
        pool = False
    except PoolInactiveError:
        if need_pool:
            raise
        pool = False
    return Seen(
        domains=hypervisor.domains(),
        networks=hypervisor.networks.listed(),
        volumes={volume.name: volume for volume in volumes},
        links=links(),
        pool=pool,
    )
