"""libvirt's side of snapshots: domains paused, kept inside their image, put back, set to time."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, cast
from xml.etree import ElementTree as ET

import libvirt  # noqa: TID251 -- the snapshot half of labkit.host.libvirt.connection
import libvirt_qemu  # noqa: TID251 -- files in the guest are QEMU's own part of libvirt

from labkit.host.libvirt.calls import through
from labkit.host.libvirt.errors import NotFoundError, translated
from labkit.host.libvirt.xml import AGENT_PORT

if TYPE_CHECKING:
    from uuid import UUID

# Reverting replaces the running QEMU, which libvirt 9.0 calls risky for some pairs of states
# (qemuSnapshotRevertValidate); what may not differ is compared by labkit before.
_REVERT_LIVE = libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED | libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE
_REVERT_OFF = libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE
_DEFINITION = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
_NANOSECONDS = 10**9


class DomainSnapshots:
    """Internal snapshots of one libvirt connection; made by `Hypervisor`.

    An internal snapshot lives in the domain's own qcow2 image, memory included; libvirt keeps
    only a description of it, which can be lost and given back.
    """

    def __init__(self, connection: libvirt.virConnect) -> None:
        self._connection = connection

    def suspend(self, uuid: UUID) -> None:
        """Stop the domain's processors; one that stands still already is left alone.

        Raises:
            NotFoundError: There is no such domain.
            LabkitError: The domain is off, or QEMU does not answer.
        """
        domain = self._domain(uuid)
        with translated(f"pause the domain '{domain.name()}'"):
            domain.suspend()

    def take(self, uuid: UUID, name: str) -> str:
        """Keep the domain's disk, and its memory while it is on; return libvirt's description.

        A running domain stands still meanwhile; one that was paused is paused afterwards.

        Raises:
            NotFoundError: There is no such domain.
            HostError: The host has no space left.
            LabkitError: A disk is not qcow2, or QEMU refuses.
        """
        domain = self._domain(uuid)
        root = ET.Element("domainsnapshot")
        ET.SubElement(root, "name").text = name
        with translated(f"take a snapshot of the domain '{domain.name()}'"):
            taken = domain.snapshotCreateXML(ET.tostring(root, encoding="unicode"), 0)
            return taken.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE)

    def names(self, uuid: UUID) -> tuple[str, ...]:
        """Return the names of the snapshots libvirt has descriptions of; empty when it is gone."""
        try:
            domain = self._domain(uuid)
            with translated(f"list the snapshots of the domain '{domain.name()}'"):
                # libvirt-python annotates str and returns a list of names.
                return tuple(cast("list[str]", domain.snapshotListNames(0)))
        except NotFoundError:
            return ()

    def describe_again(self, uuid: UUID, xml: str) -> None:
        """Give libvirt back the description of a snapshot that its image still holds.

        Args:
            uuid: The domain.
            xml: The description, as `take` returned it; a parent libvirt no longer knows is
                left out.

        Raises:
            NotFoundError: There is no such domain.
            OperationError: libvirt refuses the description.
        """
        domain = self._domain(uuid)
        root = ET.fromstring(xml)  # noqa: S314 -- written by libvirtd, kept by labkit
        parent = root.find("parent")
        if parent is not None and parent.findtext("name") not in self.names(uuid):
            root.remove(parent)
        with translated(f"describe a snapshot of the domain '{domain.name()}' again"):
            domain.snapshotCreateXML(
                ET.tostring(root, encoding="unicode"),
                libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE,
            )

    def describe_stray(self, uuid: UUID, name: str) -> None:
        """Give libvirt a description of a snapshot in the image that it never knew.

        That is what remains when libvirtd or labkit ends while QEMU saves. Good for deleting
        it: from the image of a running domain nothing else can.

        Raises:
            NotFoundError: There is no such domain.
            OperationError: libvirt refuses.
        """
        root = ET.Element("domainsnapshot")
        ET.SubElement(root, "name").text = name
        ET.SubElement(root, "state").text = "shutoff"
        ET.SubElement(root, "creationTime").text = str(int(time.time()))
        root.append(ET.fromstring(self.definition(uuid)))  # noqa: S314 -- libvirtd's own
        self.describe_again(uuid, ET.tostring(root, encoding="unicode"))

    def revert(self, uuid: UUID, name: str, *, live: bool) -> None:
        """Put the domain back; with memory it then stands still, without it is off.

        Args:
            uuid: The domain, in whatever state.
            name: The snapshot.
            live: Whether the snapshot has memory.

        Raises:
            NotFoundError: There is no such domain or snapshot.
            LabkitError: QEMU does not take the snapshot.
        """
        domain = self._domain(uuid)
        with translated(f"put the domain '{domain.name()}' back to a snapshot"):
            found = domain.snapshotLookupByName(name, 0)
            domain.revertToSnapshot(found, _REVERT_LIVE if live else _REVERT_OFF)

    def delete(self, uuid: UUID, name: str) -> bool:
        """Remove a snapshot from image and libvirt; return whether there was one.

        Raises:
            LabkitError: The image refuses.
        """
        return self._delete(uuid, name, 0)

    def forget(self, uuid: UUID, name: str) -> bool:
        """Remove libvirt's description of a snapshot alone; return whether there was one."""
        return self._delete(uuid, name, libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)

    def definition(self, uuid: UUID) -> str:
        """Return the domain's definition, as it takes effect at its next start.

        Raises:
            NotFoundError: There is no such domain.
        """
        domain = self._domain(uuid)
        with translated(f"read the definition of the domain '{domain.name()}'"):
            return domain.XMLDesc(_DEFINITION)

    def define(self, xml: str) -> None:
        """Define a domain from its definition.

        Raises:
            ConflictError: Another domain has the name.
            LabkitError: libvirt refuses it.
        """
        with translated("define a domain again from its recorded definition"):
            self._connection.defineXML(xml)

    def resident_bytes(self, uuid: UUID) -> int:
        """Return the host memory the domain's QEMU holds: what its guest touched, and a little.

        Raises:
            NotFoundError: There is no such domain.
            LabkitError: The domain is off.
        """
        domain = self._domain(uuid)
        with translated(f"read the memory figures of the domain '{domain.name()}'"):
            # libvirt-python annotates str and returns KiB by name.
            figures = cast("dict[str, int]", domain.memoryStats())
        return figures.get("rss", 0) * 1024

    def set_time(self, uuid: UUID, *, timeout: int) -> bool:
        """Have the guest agent set the guest's clock to the host's; return whether it will.

        Args:
            uuid: The domain, running.
            timeout: Whole seconds to wait for each of the agent's answers.
        """
        # No agent, not awake yet, or without hwclock (util-linux): SSH does it then.
        with suppress(libvirt.libvirtError, NotFoundError):
            domain = self._domain(uuid)
            domain.agentSetResponseTimeout(timeout, 0)
            if not _shift_clock(domain, timeout):
                seconds, rest = divmod(time.time_ns(), _NANOSECONDS)
                # libvirt-python annotates int and takes a dictionary.
                domain.setTime(cast("int", {"seconds": seconds, "nseconds": rest}), 0)
            return True
        return False

    def agent_write(self, uuid: UUID, path: str, text: str, *, timeout: int) -> bool:
        """Have the guest agent write a small file; return whether it did.

        CentOS 7's agent refuses (BLACKLIST_RPC in /etc/sysconfig/qemu-ga).

        Args:
            uuid: The domain, running.
            path: The file in the guest; readable by all afterwards.
            text: Its content.
            timeout: Whole seconds to wait for each answer.
        """
        content = base64.b64encode(text.encode()).decode()
        with suppress(libvirt.libvirtError, NotFoundError):
            domain = self._domain(uuid)
            if not self._agent_listens(domain):
                return False
            opened = _agent(domain, "guest-file-open", {"path": path, "mode": "w"}, timeout)
            _agent(domain, "guest-file-write", {"handle": opened, "buf-b64": content}, timeout)
            _agent(domain, "guest-file-close", {"handle": opened}, timeout)
            return True
        return False

    def agent_flush(self, uuid: UUID, *, timeout: int) -> bool:
        """Have the guest agent flush every file system by a short freeze; whether it did."""
        with suppress(libvirt.libvirtError, NotFoundError):
            domain = self._domain(uuid)
            domain.agentSetResponseTimeout(timeout, 0)
            try:
                domain.fsFreeze()
            finally:
                # Also after a freeze that failed half-way or was not answered in time.
                domain.fsThaw()
            return True
        return False

    def thaw(self, uuid: UUID, *, timeout: int) -> None:
        """Undo a freeze that a killed labkit left; where there is none, or no agent, no-op."""
        with suppress(libvirt.libvirtError, NotFoundError):
            domain = self._domain(uuid)
            if self._agent_listens(domain):
                domain.agentSetResponseTimeout(timeout, 0)
                domain.fsThaw()

    @staticmethod
    def _agent_listens(domain: libvirt.virDomain) -> bool:
        port = ET.fromstring(domain.XMLDesc(0)).find(AGENT_PORT)  # noqa: S314 -- libvirtd's own
        return port is not None and port.get("state") == "connected"

    def _delete(self, uuid: UUID, name: str, flags: int) -> bool:
        try:
            domain = self._domain(uuid)
            with translated(f"delete a snapshot of the domain '{domain.name()}'"):
                domain.snapshotLookupByName(name, 0).delete(flags)
        except NotFoundError:
            return False
        return True

    def _domain(self, uuid: UUID) -> libvirt.virDomain:
        with translated(f"find the domain with UUID '{uuid}'"):
            return self._connection.lookupByUUIDString(str(uuid))


def _agent(domain: libvirt.virDomain, command: str, arguments: object, timeout: int) -> object:
    asked = json.dumps({"execute": command, "arguments": arguments})
    answer = through(domain, libvirt_qemu.qemuAgentCommand, asked, timeout, 0)
    return json.loads(answer).get("return")


def _shift_clock(domain: libvirt.virDomain, timeout: int) -> bool:
    """Have the agent run `date`; return False where it may not, as on CentOS 7.

    The agent's own guest-set-time also writes the machine's clock, which keeps the host's time
    anyway, and waits for the `hwclock` that does it: most of a second in an emulated guest, in
    which SSH has to wait for its turn.
    """
    before = time.time_ns()
    told = _agent(domain, "guest-get-time", {}, timeout)
    if not isinstance(told, int):
        return False
    shift = ((before + time.time_ns()) / 2 - told) / _NANOSECONDS
    # Relative to the guest's own clock, so that it does not matter when it gets to it.
    date = {"path": "/bin/date", "arg": ["-s", f"{shift:+.3f} seconds"]}
    try:
        _agent(domain, "guest-exec", date, timeout)
    except libvirt.libvirtError:
        return False
    return True
