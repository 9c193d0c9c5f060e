"""libvirt's networks on one connection."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.host.libvirt.errors import ConflictError, NotFoundError, translated
from labkit.host.libvirt.xml import NetworkInfo, parse_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import libvirt  # noqa: TID251 -- types only


class Networks:
    """The networks of one libvirt connection; made by `Hypervisor`.

    A network is addressed by UUID, the mark of ownership.
    """

    def __init__(self, connection: libvirt.virConnect) -> None:
        self._connection = connection

    def listed(self) -> tuple[NetworkInfo, ...]:
        """Return all networks libvirt manages, by name."""
        with translated("list the networks"):
            handles = self._connection.listAllNetworks(0)
        found = [_record(item) for item in handles]
        return tuple(sorted((item for item in found if item is not None), key=lambda n: n.name))

    def ensure(self, xml: str) -> NetworkInfo:
        """Make sure this very network is there, runs and starts with libvirtd; return it.

        Args:
            xml: Its definition, UUID included.

        Raises:
            ConflictError: Another network has the name or the bridge, or the host has a bridge
                of that name.
            OperationError: The network runs with other addresses or another MTU than the
                definition's.
        """
        wanted = parse_network(xml, active=True)
        present = network_present(wanted, self.listed())
        with translated(f"define the network '{wanted.name}'"):
            if present is not None and replace(wanted, active=present.active) == present:
                network = self._connection.networkLookupByUUIDString(str(wanted.uuid))
            else:
                network = self._connection.networkDefineXML(xml)
        try:
            with translated(f"start the network '{wanted.name}' on bridge '{wanted.bridge}'"):
                if not network.isActive():
                    network.create()
                network.setAutostart(1)
        except BaseException:
            if present is None:
                self.remove(wanted.uuid)
            raise
        return _record(network) or wanted

    def remove(self, uuid: UUID) -> bool:
        """Stop and undefine the network; return whether there was one."""
        try:
            with translated(f"find the network with UUID '{uuid}'"):
                network = self._connection.networkLookupByUUIDString(str(uuid))
        except NotFoundError:
            return False
        try:
            with translated(f"remove the network '{network.name()}'"):
                persistent = network.isPersistent()
                if network.isActive():
                    network.destroy()
                if persistent:
                    network.undefine()
        except NotFoundError:
            # Somebody else finished the job between two of the calls.
            return True
        return True


def network_present(wanted: NetworkInfo, existing: Sequence[NetworkInfo]) -> NetworkInfo | None:
    """Return the existing network that is the wanted one; None when it is yet to be made.

    Raises:
        ConflictError: Another network has its name or its bridge.
        OperationError: It runs with another bridge, other addresses or another MTU than wanted.
    """
    for other in existing:
        if other.uuid == wanted.uuid:
            continue
        taken = {"name": wanted.name == other.name, "bridge": wanted.bridge == other.bridge}
        if taken["name"] or (taken["bridge"] and wanted.bridge is not None):
            what = f"name '{wanted.name}'" if taken["name"] else f"bridge name '{wanted.bridge}'"
            msg = (
                f"The network '{wanted.name}' should be made, but its {what} is taken by the "
                f"foreign network '{other.name}' with UUID '{other.uuid}'."
            )
            raise ConflictError(
                msg, hint="Rename the lab or its network; labkit never touches foreign networks."
            )
    present = next((item for item in existing if item.uuid == wanted.uuid), None)
    if present is not None and present.active and replace(wanted, active=True) != present:
        msg = f"The network '{wanted.name}' should be {wanted}, but it runs as {present}."
        raise OperationError(msg, hint="Run 'labkit destroy', then 'labkit up'.")
    return present


def _record(network: libvirt.virNetwork) -> NetworkInfo | None:
    """Return the network's record; None when it went away meanwhile."""
    try:
        with translated(f"read the network '{network.name()}'"):
            return parse_network(network.XMLDesc(0), active=bool(network.isActive()))
    except NotFoundError:
        return None
