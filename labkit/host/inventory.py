"""This host as a lab meets it: its libvirt, and what is already there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.host.firewall import Forwarding, forwarding
from labkit.host.links import links, routes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.host.libvirt.pool import PoolInfo
    from labkit.host.libvirt.xml import DomainInfo, NetworkInfo, VolumeInfo
    from labkit.host.links import Link, Route

URI = "qemu:///system"
# The storage pool of a lab that names none, and where labkit makes it on a host without it.
POOL = "default"
POOL_PATH = Path("/var/lib/libvirt/images")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the host has, as far as a lab can meet it.

    Attributes:
        domains: Every libvirt domain.
        networks: Every libvirt network.
        volumes: Every volume of the lab's storage pool, by name; none while that pool is off.
        links: Every network device of the host.
        routes: The host's IPv4 routes.
        pools: Every storage pool.
        forwarding: What becomes of packets between devices.
    """

    domains: tuple[DomainInfo, ...]
    networks: tuple[NetworkInfo, ...]
    volumes: Mapping[str, VolumeInfo]
    links: Mapping[str, Link]
    routes: tuple[Route, ...] = ()
    pools: tuple[PoolInfo, ...] = ()
    forwarding: Forwarding = field(default_factory=Forwarding)

    def pool(self, name: str) -> PoolInfo | None:
        """Return the storage pool of that name; None where there is none."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def unseen(self, pool: str) -> bool:
        """Return whether volumes may be in that pool that nobody sees, because it is off."""
        found = self.pool(pool)
        return found is not None and not (found.active and found.present)


def look(hypervisor: Hypervisor, pool: str = POOL, *, define_pool: bool = True) -> Seen:
    """Return what the host has, as far as a lab can meet it.

    Args:
        hypervisor: The host's libvirt.
        pool: The lab's storage pool.
        define_pool: Make the pool where it is missing, and start it; False changes nothing.

    Raises:
        LabkitError: libvirt refuses, or the pool is to be started and cannot be.
    """
    storage = hypervisor.storage
    if define_pool:
        storage.ensure_pool(pool)
    pools = storage.pools()
    volumes: tuple[VolumeInfo, ...] = ()
    if any(each.name == pool and each.active and each.present for each in pools):
        storage.refresh(pool)
        volumes = storage.volumes(pool)
    known = links()
    return Seen(
        domains=hypervisor.domains(),
        networks=hypervisor.networks.listed(),
        volumes={volume.name: volume for volume in volumes},
        links=known,
        routes=routes(),
        pools=pools,
        forwarding=forwarding(name for name, link in known.items() if link.kind == "bridge"),
    )
