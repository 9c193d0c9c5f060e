"""Whether the host's storage pool, bridges, routes and firewall let a lab be made and be reached.

One judgement for `doctor`, `up --dry-run` and `up`: pure functions over what was seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import HostError
from labkit.host.inventory import POOL, POOL_PATH
from labkit.host.links import MAIN_TABLE, WIRELESS, Link
from labkit.lab.topology import NetworkMode, network_uuid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.host.inventory import Seen
    from labkit.host.links import Route
    from labkit.lab.topology import ResolvedLab, ResolvedNetwork
    from labkit.state.directory import LabState

# The types of libvirt's pools whose volumes are files of one directory.
DIRECTORY_POOLS = {"dir", "fs", "netfs"}
# A VPN takes over the default route by these two halves of the world, which no lab is less
# specific than (OpenVPN's redirect-gateway def1).
HALF_THE_WORLD = 1
OPEN_VSWITCH = "openvswitch"
# What cannot be made a port of a bridge.
_NO_PORT = {WIRELESS, "loopback", "macvtap", "macvlan", "ipvlan", "ipvtap", "wireguard"}


def require(lab: ResolvedLab, state: LabState, seen: Seen) -> None:
    """Refuse a host on which the lab cannot be made.

    Raises:
        HostError: Details list everything that is in the way, each with what mends it.
    """
    pool = tuple(_pool_problems(lab, seen))
    networks = tuple(_network_problems(lab, state, seen))
    if not pool and not networks:
        return
    what = [*(["disks"] if pool else []), *(["networks"] if networks else [])]
    message = f"The {' and '.join(what)} of the lab '{lab.name}' cannot be made on this host."
    raise HostError(message, details=(*pool, *networks))


def notes(lab: ResolvedLab, seen: Seen) -> tuple[str, ...]:
    """Return what the user should know of a host on which the lab can be made."""
    return (*_pool_notes(lab, seen), *_network_notes(lab, seen))


def pool_path(lab: ResolvedLab, seen: Seen) -> Path | None:
    """Return where the nodes' disks go; None where `require` refuses the pool."""
    pool = seen.pool(lab.pool)
    return None if any(_pool_problems(lab, seen)) else POOL_PATH if pool is None else pool.path


def _pool_problems(lab: ResolvedLab, seen: Seen) -> Iterator[str]:
    pool = seen.pool(lab.pool)
    start = f"storage pool '{lab.pool}'"
    if pool is None:
        owner = next((each.name for each in seen.pools if each.path == POOL_PATH), None)
        known = ", ".join(f"'{each.name}'" for each in seen.pools) or "none"
        if lab.pool != POOL:
            yield (
                f"{start}: there is none of that name (found: {known}); make it with 'virsh "
                f"pool-define-as {lab.pool} dir --target DIRECTORY', or name another as 'pool' in "
                "lab.yaml"
            )
        elif owner is not None:
            yield (
                f"{start}: there is none of that name, and its directory '{POOL_PATH}' belongs to "
                f"the pool '{owner}'; set 'pool: {owner}' in lab.yaml, or rename that pool"
            )
    elif pool.kind not in DIRECTORY_POOLS or pool.path is None:
        yield (
            f"{start}: it is of type '{pool.kind}', and labkit needs a directory; name a pool of "
            "type 'dir' as 'pool' in lab.yaml"
        )
    elif not pool.present:
        yield (
            f"{start}: its directory '{pool.path}' is gone; mount or make it again, with 'virsh "
            f"pool-build {lab.pool}', or name another as 'pool' in lab.yaml"
        )


def _pool_notes(lab: ResolvedLab, seen: Seen) -> Iterator[str]:
    pool = seen.pool(lab.pool)
    if pool is not None and not pool.active:
        yield f"storage pool '{lab.pool}': it is off; 'labkit up' starts it"


def _network_problems(lab: ResolvedLab, state: LabState, seen: Seen) -> Iterator[str]:
    claimed = {network_uuid(state.lab_id, name) for name in state.networks}
    own_bridges: set[str | None] = {network.bridge for network in lab.networks}
    own_bridges |= {found.bridge for found in seen.networks if found.uuid in claimed}
    for network in lab.networks:
        start = f"network '{network.name}':"
        if network.mode is NetworkMode.BRIDGE:
            problems = (*_bridge_problems(network, seen), *_reach_problems(lab, network, seen))
            yield from (f"{start} {problem}" for problem in problems)
            continue
        ours = any(found.uuid == network.uuid for found in seen.networks)
        if network.bridge in seen.links and not ours:
            yield (
                f"{start} a device '{network.bridge}' exists on this host that is not the lab's; "
                f"remove it with 'ip link delete {network.bridge}'"
            )
        for taken in _overlaps(network, seen, own_bridges):
            yield f"{start} its range {network.cidr} overlaps {taken}; choose another in lab.yaml"


def _overlaps(network: ResolvedNetwork, seen: Seen, own: set[str | None]) -> Iterator[str]:
    """Yield whoever else uses part of the network's range: addresses, and routes beside them."""
    connected = set()
    for device, link in seen.links.items():
        for address in link.addresses:
            connected.add((device, address.network))
            if device not in own and network.cidr.overlaps(address.network):
                yield f"{address} on the host's '{device}'"
    for route in seen.routes:
        # The lab's own range is the more specific one where a wide range leads nowhere.
        harmless = not route.device and route.network.supernet_of(network.cidr)
        if (
            route.network.prefixlen > HALF_THE_WORLD
            and route.device not in own
            and (route.device, route.network) not in connected
            and network.cidr.overlaps(route.network)
            and not (harmless and route.network != network.cidr)
        ):
            yield f"the host's {_told(route)}"


def _told(route: Route) -> str:
    way = f"by '{route.device}'" if route.device else "to nowhere"
    table = "" if route.table == MAIN_TABLE else f" in table {route.table}"
    return f"route {route.network} {way}{table}"


def _bridge_problems(network: ResolvedNetwork, seen: Seen) -> Iterator[str]:
    name = network.bridge
    link = seen.links.get(name)
    if link is None:
        yield (
            f"the host has no bridge '{name}'; make it with 'ip link add {name} type bridge', or "
            "use mode: nat"
        )
    elif link.kind != "bridge":
        yield f"'{name}' is no bridge but {_described(link)}; {_instead(name, link)}"
    elif not link.up:
        yield f"the bridge '{name}' is down; switch it on with 'ip link set {name} up'"
    elif network.mtu is not None and network.mtu > link.mtu:
        yield (
            f"its mtu is {network.mtu}, but the bridge '{name}' takes {link.mtu} bytes; raise that "
            f"with 'ip link set {name} mtu {network.mtu}' and that of its ports, or lower 'mtu'"
        )


def _described(link: Link) -> str:
    match link.kind:
        case "":
            return "a network card"
        case "openvswitch":
            return "a bridge of Open vSwitch, into which Vagrant puts no nodes"
        case "wireless":
            return "a wireless card"
        case "vlan":
            return "a VLAN of a card"
        case kind:
            return f"a device of kind '{kind}'"


def _instead(name: str, link: Link) -> str:
    if link.master:
        return f"it is a port of '{link.master}': name that if it is the bridge"
    if link.kind in _NO_PORT:
        return "name a bridge of the kernel, or use mode: nat"
    if link.kind == OPEN_VSWITCH:
        return "make a bridge of the kernel ('ip link add br0 type bridge'), or use mode: nat"
    return (
        f"make a bridge ('ip link add br0 type bridge'), move the addresses of '{name}' to it, "
        f"make '{name}' its port ('ip link set {name} master br0'), and name the bridge; or use "
        "mode: nat"
    )


def _reach_problems(lab: ResolvedLab, network: ResolvedNetwork, seen: Seen) -> Iterator[str]:
    """Yield why this host cannot reach the nodes that it connects to by a bridge of its own."""
    link = seen.links.get(network.bridge)
    nodes = [node for node in lab.nodes if node.nics[0].network == network]
    if link is None or link.kind != "bridge" or not link.up or not nodes:
        return
    at_home = any(address.network.overlaps(network.cidr) for address in link.addresses)
    if not at_home and not _ways(network, seen):
        yield (
            f"this host has no address in {network.cidr}, by which labkit reaches the nodes; give "
            f"it one that is free with 'ip address add ADDRESS/{network.cidr.prefixlen} dev "
            f"{network.bridge}'"
        )
    for route in seen.routes:
        taken = [node.name for node in nodes if node.nics[0].address.ip in route.network]
        first = route.table != MAIN_TABLE or route.network.prefixlen > network.cidr.prefixlen
        other = route.device != network.bridge and route.network.prefixlen > HALF_THE_WORLD
        if at_home and taken and first and other:
            yield (
                f"the host's {_told(route)} takes what labkit sends to "
                f"{', '.join(taken)}; end that VPN, or choose another range in lab.yaml"
            )


def _ways(network: ResolvedNetwork, seen: Seen) -> bool:
    """Return whether another device leads to the network: a default route or one of its range."""
    return any(
        network.cidr.subnet_of(known) or network.cidr.supernet_of(known)
        for known in (
            *(route.network for route in seen.routes if route.device),
            *(each.network for link in seen.links.values() for each in link.addresses),
        )
    )


def _network_notes(lab: ResolvedLab, seen: Seen) -> Iterator[str]:
    for network in lab.networks:
        start = f"network '{network.name}':"
        if network.mode is NetworkMode.BRIDGE:
            yield from (f"{start} {note}" for note in _bridge_notes(lab, network, seen))
        elif network.mode is NetworkMode.NAT:
            yield from (f"{start} {note}" for note in _nat_notes(network, seen))


def _bridge_notes(lab: ResolvedLab, network: ResolvedNetwork, seen: Seen) -> Iterator[str]:
    name = network.bridge
    link = seen.links.get(name, Link())
    addresses = {address.ip for address in link.addresses}
    outside = network.gateway is not None and network.gateway not in addresses
    # The nodes are its ports too while they run, by taps.
    ports = [each for each in seen.links.values() if each.master == name and each.kind != "tun"]
    if outside and not any(port.up and port.carrier for port in ports):
        yield (
            f"the bridge '{name}' has no carrier: none of its ports leads to the gateway "
            f"{network.gateway}; make a card its port ('ip link set CARD master {name}')"
        )
    used = any(node.nics[0].network == network for node in lab.nodes)
    if used and not any(each.network.overlaps(network.cidr) for each in link.addresses):
        yield (
            f"'{name}' has no address in {network.cidr}: labkit reaches the nodes only if "
            "something else on the way leads there"
        )
    firewall = seen.forwarding
    if not firewall.bridged:
        return
    off = "'sysctl net.bridge.bridge-nf-call-iptables=0' keeps the firewall out of bridges"
    if name in firewall.closed:
        yield (
            f"firewalld's zone '{firewall.closed[name]}' of '{name}' drops what nodes send each "
            f"other (br_netfilter); {off}, 'firewall-cmd --zone={firewall.closed[name]} "
            "--add-forward' lets it pass"
        )
    accepted = ("-j ACCEPT", f"-i {name} -j ACCEPT", f"-o {name} -j ACCEPT")
    passes = any(
        rule.removeprefix("-A FORWARD ") in accepted or "--physdev-is-bridged -j ACCEPT" in rule
        for rule in firewall.rules or ()
    )
    if firewall.drops and not passes:
        yield (
            "iptables drops what nodes send each other (br_netfilter, and the policy of FORWARD "
            f"is DROP, as docker sets it); {off}, 'iptables -I FORWARD -i {name} -j ACCEPT' lets "
            "it pass"
        )
    if firewall.rules is None:
        yield (
            "what nodes send each other passes iptables (br_netfilter), whose rules only root "
            f"reads: 'sudo iptables -S FORWARD' shows them; {off}"
        )


def _nat_notes(network: ResolvedNetwork, seen: Seen) -> Iterator[str]:
    firewall = seen.forwarding
    active = any(found.uuid == network.uuid and found.active for found in seen.networks)
    if not firewall.enabled:
        yield (
            "this host forwards nothing, so nodes reach only the host; turn it on with 'sysctl "
            "net.ipv4.ip_forward=1'"
            if active
            else "this host forwards nothing yet; libvirt turns net.ipv4.ip_forward on with it"
        )
    libvirts = any("LIBVIRT_FW" in rule for rule in firewall.rules or ())
    if active and firewall.drops and not libvirts:
        yield (
            "iptables drops what is forwarded (the policy of FORWARD is DROP, as docker sets it), "
            f"so nodes reach only the host; 'iptables -I FORWARD -i {network.bridge} -j ACCEPT' "
            f"and the same with '-o {network.bridge}' let it pass"
        )
