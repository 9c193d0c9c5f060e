"""What a lab's nodes are right now, asked of libvirt and of the guests themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from labkit.errors import LabkitError
from labkit.host.libvirt.xml import DomainInfo, DomainState

if TYPE_CHECKING:
    from labkit.host.libvirt.connection import Hypervisor
    from labkit.lab.topology import ResolvedNic, ResolvedNode
    from labkit.state.session import Session

NOT_CREATED = "not created"
AGENT_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NicStatus:
    """A network card.

    Attributes:
        name: What the guest calls it; lab.yaml's name while the guest cannot be asked.
        mac: Its address on the wire.
        pci: Where the guest finds it, as libvirt has it; None before it exists.
        bridge: The host's bridge.
        addresses: With prefix length.
        seen_in_guest: Whether name and addresses come from the guest agent or from lab.yaml.
    """

    name: str
    mac: str
    pci: str | None
    bridge: str
    addresses: tuple[str, ...]
    seen_in_guest: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A node.

    Attributes:
        name: Its name in lab.yaml.
        state: libvirt's state, or "not created".
        vcpus: Virtual CPUs; 0 before it exists.
        memory_mib: Memory in MiB; 0 before it exists.
        accelerator: kvm or tcg; empty before it exists.
        nics: Its network cards.
        ssh: Where labkit connects to: user and address.
    """

    name: str
    state: str
    vcpus: int
    memory_mib: int
    accelerator: str
    nics: tuple[NicStatus, ...]
    ssh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabStatus:
    """The lab.

    Attributes:
        lab: Its name.
        box: The box its nodes are created from.
        directory: Its directory.
        expires: When `sweep` may remove it, ISO 8601 in UTC; None for never.
        nodes: Its nodes in file order.
    """

    lab: str
    box: str
    directory: str
    expires: str | None
    nodes: tuple[NodeStatus, ...]

    def as_json(self) -> dict[str, object]:
        """Return it as plain data for `json.dumps`."""
        return asdict(self)


def status(session: Session) -> LabStatus:
    """Ask libvirt and every running guest, side by side.

    Raises:
        HostError: libvirtd does not answer.
    """
    nodes = session.lab.nodes
    end = session.state().expires
    with session.tools.connect() as hypervisor, ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        found = list(pool.map(lambda node: _node_status(hypervisor, node), nodes))
    return LabStatus(
        lab=session.lab.name,
        box=session.lab.box,
        directory=str(session.directory.path),
        expires=end.isoformat(timespec="seconds") if end else None,
        nodes=tuple(found),
    )


def _node_status(hypervisor: Hypervisor, node: ResolvedNode) -> NodeStatus:
    domain = hypervisor.domain_by_uuid(node.uuid)
    guest = _ask_guest(hypervisor, domain)
    return NodeStatus(
        name=node.name,
        state=domain.state.value if domain else NOT_CREATED,
        vcpus=domain.vcpus if domain else 0,
        memory_mib=domain.memory_mib if domain else 0,
        accelerator={"kvm": "kvm", "qemu": "tcg"}.get(domain.domain_type, "") if domain else "",
        nics=tuple(_nic_status(nic, domain, guest) for nic in node.nics),
        ssh=f"vagrant@{node.nics[0].address.ip}",
    )


def _ask_guest(
    hypervisor: Hypervisor, domain: DomainInfo | None
) -> dict[str, tuple[str, tuple[str, ...]]]:
    if domain is None or domain.state is not DomainState.RUNNING or not domain.agent_connected:
        return {}
    try:
        return hypervisor.agent_interfaces(domain.uuid, timeout=AGENT_SECONDS) or {}
    except LabkitError:
        return {}


def _nic_status(
    nic: ResolvedNic,
    domain: DomainInfo | None,
    guest: dict[str, tuple[str, tuple[str, ...]]],
) -> NicStatus:
    card = next((card for card in (domain.nics if domain else ()) if card.mac == nic.mac), None)
    name, addresses = guest.get(nic.mac, (nic.name, (str(nic.address),)))
    return NicStatus(
        name=name,
        mac=nic.mac,
        pci=card.pci if card else None,
        bridge=(card.bridge if card else None) or nic.network.bridge,
        addresses=addresses,
        seen_in_guest=nic.mac in guest,
    )
