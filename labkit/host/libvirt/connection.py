"""A connection to libvirt and its domains: XML in, frozen records out."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from ipaddress import ip_interface
from typing import TYPE_CHECKING, TypedDict, cast

import libvirt  # noqa: TID251 -- part of the adapter

from labkit.errors import OperationError
from labkit.host.inventory import URI
from labkit.host.libvirt.calls import PATIENCE, Patience, opened
from labkit.host.libvirt.console import Console, open_console
from labkit.host.libvirt.errors import NotFoundError, labkit_error, silence_libvirt, translated
from labkit.host.libvirt.networks import Networks
from labkit.host.libvirt.snapshots import DomainSnapshots
from labkit.host.libvirt.storage import Storage
from labkit.host.libvirt.xml import (
    DomainInfo,
    DomainState,
    parse_domain,
    parse_offers_kvm,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

AGENT_SECONDS = 2
# An emulated guest that is busy starts chpasswd(8) for it.
PASSWORD_SECONDS = 20

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: DomainState.NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.SHUTDOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: DomainState.SHUTOFF,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.SUSPENDED,
}
# Everything that makes libvirt refuse to undefine a domain that is off.
_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
# An agent that is not there, not up yet or too slow is no answer, not a fault.
_NO_AGENT = {
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
    libvirt.VIR_ERR_AGENT_UNSYNCED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,
    # Younger than the libvirt 9.0 that labkit still supports.
    getattr(libvirt, "VIR_ERR_AGENT_COMMAND_TIMEOUT", libvirt.VIR_ERR_AGENT_UNRESPONSIVE),
}


class _AgentAddress(TypedDict):
    addr: str
    prefix: int


class _AgentInterface(TypedDict):
    hwaddr: str | None
    addrs: list[_AgentAddress] | None


def connect(uri: str = URI, *, patience: Patience = PATIENCE) -> Hypervisor:
    """Open a connection to libvirt, to be used as a context manager.

    A libvirt connection may be shared by threads, but calls that stream data (uploads) are
    best given a connection of their own: opening one takes a few milliseconds. Every call over it
    ends, also when libvirtd hangs.

    Args:
        uri: Whose libvirt.
        patience: How long each part of a call may take.

    Raises:
        HostError: libvirtd does not answer or refuses this user.
    """
    silence_libvirt()
    with translated(f"open a connection to '{uri}'"):
        return Hypervisor(opened(uri, patience))


class Hypervisor(AbstractContextManager["Hypervisor"]):
    """One connection to libvirt.

    Domains and networks are addressed by UUID, the mark of ownership, so that an object that
    merely has the same name is never touched.

    Attributes:
        networks: The networks behind the same connection.
        storage: The storage pools and volumes behind the same connection.
        snapshots: The domains' snapshots behind the same connection.
    """

    def __init__(self, connection: libvirt.virConnect) -> None:
        self._connection = connection
        self.networks = Networks(connection)
        self.storage = Storage(connection)
        self.snapshots = DomainSnapshots(connection)

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; closing a dead one is no error."""
        # When libvirtd went away first, there is nothing left to close.
        with suppress(libvirt.libvirtError):
            self._connection.close()

    def offers_kvm(self, *, arch: str = "x86_64", machine: str = "q35") -> bool:
        """Return whether libvirt offers KVM; only `labkit.host.kvm` can tell whether it works.

        Raises:
            LabkitError: libvirt finds no emulator for machines of this kind.
        """
        with translated(f"find an emulator for '{machine}' machines on '{arch}'"):
            return parse_offers_kvm(
                self._connection.getDomainCapabilities(None, arch, machine, None, 0)
            )

    def domains(self) -> tuple[DomainInfo, ...]:
        """Return all domains of the host, by name."""
        with translated("list the domains"):
            listed = self._connection.listAllDomains(0)
        bridges = self._bridges()
        found = [_described(item, bridges) for item in listed]
        return tuple(sorted((item for item in found if item is not None), key=lambda d: d.name))

    def domain_by_uuid(self, uuid: UUID) -> DomainInfo | None:
        """Return the domain, or None when there is none of that UUID."""
        domain = self._find(uuid)
        return None if domain is None else _described(domain, self._bridges())

    def domain_state(self, uuid: UUID) -> DomainState | None:
        """Return what the domain does right now, None when it is gone; cheap enough to poll."""
        domain = self._find(uuid)
        try:
            return None if domain is None else _state(domain)
        except NotFoundError:
            return None

    def start(self, uuid: UUID) -> None:
        """Start the domain; one that runs already is left alone.

        Raises:
            NotFoundError: There is no such domain.
            LabkitError: libvirt or QEMU refuses.
        """
        domain = self._domain(uuid)
        with translated(f"start the domain '{domain.name()}'"):
            if not domain.isActive():
                domain.create()

    def run_while_connected(self, xml: str) -> None:
        """Run a domain that libvirt forgets when it goes off, and ends with this connection.

        So it cannot outlive this process, however that dies (VIR_DOMAIN_START_AUTODESTROY).

        Args:
            xml: Its definition, UUID included; checked against libvirt's schema.

        Raises:
            LabkitError: libvirt or QEMU refuses.
        """
        flags = libvirt.VIR_DOMAIN_START_AUTODESTROY | libvirt.VIR_DOMAIN_START_VALIDATE
        with translated("start a domain that ends with labkit"):
            self._connection.createXML(xml, flags)

    def resume(self, uuid: UUID) -> None:
        """Let a paused domain run on; one that runs is left alone.

        Raises:
            NotFoundError: There is no such domain.
            LabkitError: The domain is off, or QEMU refuses.
        """
        domain = self._domain(uuid)
        with translated(f"resume the domain '{domain.name()}'"):
            if _state(domain) is not DomainState.RUNNING:
                domain.resume()

    def shutdown(self, uuid: UUID) -> None:
        """Press the domain's power button (ACPI) and return at once; no-op when it is off.

        Raises:
            NotFoundError: There is no such domain.
        """
        domain = self._domain(uuid)
        try:
            with translated(f"shut down the domain '{domain.name()}'"):
                if domain.isActive():
                    domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        except OperationError:
            # It may have switched itself off between the question and the request.
            if self.domain_state(uuid) is not DomainState.SHUTOFF:
                raise

    def power_off(self, uuid: UUID) -> None:
        """Pull the domain's plug; no-op when it is off or gone."""
        domain = self._find(uuid)
        if domain is None:
            return
        try:
            with translated(f"power off the domain '{domain.name()}'"):
                if domain.isActive():
                    domain.destroy()
        except OperationError:
            # Between the question and the request it may have ended or been undefined.
            if self.domain_state(uuid) not in {None, DomainState.SHUTOFF}:
                raise

    def undefine(self, uuid: UUID) -> None:
        """Make libvirt forget the domain, its snapshots and managed save; no-op when gone.

        The disks stay: `Storage.delete_volume` removes them.

        Raises:
            OperationError: The domain still runs.
        """
        domain = self._find(uuid)
        if domain is None:
            return
        try:
            with translated(f"undefine the domain '{domain.name()}'"):
                active = domain.isActive()
                if not active:
                    domain.undefineFlags(_UNDEFINE)
        except NotFoundError:
            return
        if active:
            msg = f"The domain '{domain.name()}' should be off to be undefined, but it runs."
            raise OperationError(msg, hint="Power it off first, for example with 'labkit halt'.")

    def console(self, uuid: UUID, *, force: bool = False) -> Console:
        """Open the domain's serial console; `open_console` says what is raised.

        Args:
            uuid: The domain.
            force: Take it over from whoever has it.
        """
        return open_console(self._connection, self._domain(uuid), force=force)

    def set_password(
        self, uuid: UUID, user: str, password: str, *, encrypted: bool = False
    ) -> None:
        """Have the QEMU guest agent give a user of the guest a password.

        Args:
            uuid: The domain.
            user: Who gets it.
            password: The password, or with `encrypted` what /etc/shadow is to have for it.
            encrypted: Which of both.

        Raises:
            LabkitError: The domain is off, or its agent is not there or refuses.
        """
        domain = self._domain(uuid)
        flags = libvirt.VIR_DOMAIN_PASSWORD_ENCRYPTED if encrypted else 0
        with translated(f"set a password in the guest of the domain '{domain.name()}'"):
            domain.agentSetResponseTimeout(PASSWORD_SECONDS, 0)
            domain.setUserPassword(user, password, flags)

    def agent_interfaces(
        self, uuid: UUID, *, timeout: int = AGENT_SECONDS
    ) -> dict[str, tuple[str, tuple[str, ...]]] | None:
        """Return what the QEMU guest agent says about the guest's network devices.

        Args:
            uuid: The domain.
            timeout: Whole seconds to wait for the agent.

        Returns:
            By lower-case MAC, the device's name and its addresses with their prefix lengths;
            None when the domain is gone or off, or its agent does not answer in time.
        """
        domain = self._find(uuid)
        if domain is None:
            return None
        info = _described(domain, {})
        if info is None or not info.agent_connected:
            return None
        try:
            domain.agentSetResponseTimeout(timeout, 0)
            answer = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() in _NO_AGENT:
                return None
            raise labkit_error(exc, f"ask the guest agent of the domain '{info.name}'") from exc
        # libvirt-python annotates str and returns a dictionary by interface name.
        return interfaces_by_mac(cast("Mapping[str, _AgentInterface]", answer))

    def _find(self, uuid: UUID) -> libvirt.virDomain | None:
        try:
            return self._domain(uuid)
        except NotFoundError:
            return None

    def _domain(self, uuid: UUID) -> libvirt.virDomain:
        with translated(f"find the domain with UUID '{uuid}'"):
            return self._connection.lookupByUUIDString(str(uuid))

    def _bridges(self) -> dict[str, str]:
        return {
            item.name: item.bridge for item in self.networks.listed() if item.bridge is not None
        }


def interfaces_by_mac(
    answer: Mapping[str, _AgentInterface],
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return device name and addresses by lower-case MAC from libvirt's agent answer.

    Devices that share a MAC, such as br-ex and the card plugged into it, become one entry under
    the name that comes first, the card's: the kernel lists devices in the order they appeared.
    Loopback is left out, and so are link-local addresses, which nobody configured.
    """
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for device, entry in answer.items():
        mac = (entry["hwaddr"] or "").lower()
        if not mac or device == "lo":
            continue
        name, known = found.get(mac, (device, ()))
        given = [ip_interface(f"{each['addr']}/{each['prefix']}") for each in entry["addrs"] or ()]
        found[mac] = (name, known + tuple(str(each) for each in given if not each.is_link_local))
    return found


def _state(domain: libvirt.virDomain) -> DomainState:
    with translated(f"read the state of the domain '{domain.name()}'"):
        # libvirt-python annotates str and returns [state, reason].
        state = cast("list[int]", domain.state(0))[0]
    return _STATES.get(state, DomainState.NOSTATE)


def _described(domain: libvirt.virDomain, bridges: Mapping[str, str]) -> DomainInfo | None:
    """Return the domain's record; None when it went away meanwhile."""
    try:
        with translated(f"read the domain '{domain.name()}'"):
            return parse_domain(
                domain.XMLDesc(0),
                state=_state(domain),
                has_managed_save=bool(domain.hasManagedSaveImage(0)),
                snapshots=domain.snapshotNum(0),
                bridges=bridges,
            )
    except NotFoundError:
        return None
