from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from labkit.errors import HostError
from labkit.host.firewall import Forwarding
from labkit.host.inventory import POOL_PATH, Seen
from labkit.host.libvirt.pool import PoolInfo
from labkit.host.links import Link, Route
from labkit.lab.topology import NetworkMode, ResolvedLab
from labkit.lifecycle.fit import notes, pool_path, require
from labkit.lifecycle.plan import plan_up
from labkit.state.directory import LabState
from tests.fakes.libvirt import active_network
from tests.support import labs

NOTHING = Seen(domains=(), networks=(), volumes={}, links={})
# The networks of labs.lab(): 172.16.208.0/24, gateway .254; its nodes are .11 and .12.
HOME = "172.16.208.254/24"
BRIDGED = labs.lab(plugged=labs.network(mode=NetworkMode.BRIDGE))


def link(*addresses: str, kind: str = "", master: str = "", up: bool = True) -> Link:
    found = tuple(map(IPv4Interface, addresses))
    return Link(kind=kind, addresses=found, master=master, up=up)


def route(network: str, device: str = "tun9", table: str = "main") -> Route:
    return Route(network=IPv4Network(network), device=device, table=table)


def pool(name: str, *, kind: str = "dir", path: Path | None = POOL_PATH) -> PoolInfo:
    return PoolInfo(name=name, path=path, free_bytes=2**30, kind=kind)


def problems(lab: ResolvedLab, seen: Seen) -> tuple[str, ...]:
    try:
        require(lab, LabState(lab=lab.name, lab_id=lab.lab_id), seen)
    except HostError as exc:
        return exc.details
    return ()


def bridged(seen: Seen = NOTHING, **links: Link) -> Seen:
    """Return a host with a sound bridge br0 beside the devices given."""
    sound = {"br0": link(HOME, kind="bridge"), "eth0": link(master="br0")}
    return replace(seen, links=sound | links)


def test_host_without_pools_is_where_the_default_pool_is_made() -> None:
    lab = labs.lab()
    assert problems(lab, NOTHING) == ()
    assert pool_path(lab, NOTHING) == POOL_PATH
    assert notes(lab, NOTHING) == ()


def test_case_15_pool_of_another_name_at_the_directory_is_named_with_the_key() -> None:
    lab = labs.lab()
    seen = replace(NOTHING, pools=(pool("images"), pool("iso", path=Path("/iso"))))

    (found,) = problems(lab, seen)

    assert "'/var/lib/libvirt/images' belongs to the pool 'images'" in found
    assert "set 'pool: images' in lab.yaml" in found
    assert pool_path(lab, seen) is None
    assert problems(replace(lab, pool="images"), seen) == ()
    assert pool_path(replace(lab, pool="iso"), seen) == Path("/iso")


def test_case_15_pool_that_is_not_there_is_made_only_by_its_default_name() -> None:
    (found,) = problems(
        replace(labs.lab(), pool="fast"), replace(NOTHING, pools=(pool("images"),))
    )
    assert "there is none of that name (found: 'images')" in found
    assert "virsh pool-define-as fast dir" in found


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("logical", Path("/dev/vg0")),
        ("zfs", Path("/dev/zvol/tank")),
        ("disk", Path("/dev")),
        ("iscsi", Path("/dev/disk/by-path")),
        ("scsi", Path("/dev/disk/by-path")),
        ("mpath", Path("/dev/mapper")),
        ("rbd", None),
        ("gluster", None),
        ("sheepdog", None),
        ("iscsi-direct", None),
    ],
)
def test_case_16_pool_that_is_no_directory_is_refused_by_its_type(
    kind: str, path: Path | None
) -> None:
    seen = replace(NOTHING, pools=(pool("default", kind=kind, path=path),))
    (found,) = problems(labs.lab(), seen)
    assert f"it is of type '{kind}', and labkit needs a directory" in found


@pytest.mark.parametrize("kind", ["dir", "fs", "netfs"])
def test_case_16_pool_that_is_off_is_a_note_because_up_starts_it(kind: str) -> None:
    seen = replace(NOTHING, pools=(replace(pool("default", kind=kind), active=False),))
    assert problems(labs.lab(), seen) == ()
    assert notes(labs.lab(), seen) == ("storage pool 'default': it is off; 'labkit up' starts it",)


def test_case_16_pool_whose_directory_is_gone_is_refused_with_its_command() -> None:
    gone = replace(pool("default", path=Path("/gone")), active=False, present=False)
    (found,) = problems(labs.lab(), replace(NOTHING, pools=(gone,)))
    assert "its directory '/gone' is gone" in found
    assert "virsh pool-build default" in found


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("", "a network card; make a bridge"),
        ("wireless", "a wireless card; name a bridge of the kernel, or use mode: nat"),
        ("vlan", "a VLAN of a card; make a bridge"),
        (
            "openvswitch",
            "a bridge of Open vSwitch, into which Vagrant puts no nodes; make a bridge",
        ),
        ("bond", "a device of kind 'bond'; make a bridge"),
        ("team", "a device of kind 'team'; make a bridge"),
        ("veth", "a device of kind 'veth'; make a bridge"),
        ("tun", "a device of kind 'tun'; make a bridge"),
        ("macvtap", "a device of kind 'macvtap'; name a bridge"),
        ("macvlan", "a device of kind 'macvlan'; name a bridge"),
        ("wireguard", "a device of kind 'wireguard'; name a bridge"),
        ("loopback", "a device of kind 'loopback'; name a bridge"),
    ],
)
def test_case_17_device_that_is_no_bridge_is_refused_by_what_it_is(kind: str, told: str) -> None:
    (found,) = problems(BRIDGED, bridged(br0=link(HOME, kind=kind)))
    assert found.startswith(f"network 'lan': 'br0' is no bridge but {told}")


def test_case_17_card_that_is_a_port_names_its_bridge() -> None:
    (found,) = problems(BRIDGED, bridged(br0=link(master="br1")))
    assert "it is a port of 'br1': name that" in found


@pytest.mark.parametrize(
    ("taken", "told"),
    [
        (route("172.16.208.0/24"), "route 172.16.208.0/24 by 'tun9'"),
        (route("172.16.208.128/25"), "route 172.16.208.128/25 by 'tun9'"),
        (route("172.16.208.11/32", "wg0"), "route 172.16.208.11/32 by 'wg0'"),
        (route("172.16.0.0/12", table="52"), "route 172.16.0.0/12 by 'tun9' in table 52"),
        (route("172.16.208.0/24", ""), "route 172.16.208.0/24 to nowhere"),
    ],
)
def test_case_18_route_over_the_labs_range_is_refused_with_its_device(
    taken: Route, told: str
) -> None:
    (found,) = problems(labs.lab(), replace(NOTHING, routes=(taken,)))
    assert found == (
        f"network 'lan': its range 172.16.208.0/24 overlaps the host's {told}; choose another in "
        "lab.yaml"
    )


def test_case_18_route_that_takes_nothing_of_the_lab_is_no_matter() -> None:
    lab = labs.lab()
    own = lab.networks[0].bridge
    others = (
        route("0.0.0.0/0", "eth0"),
        route("0.0.0.0/1"),  # a VPN's default route
        route("128.0.0.0/1"),
        route("10.0.0.0/8"),
        route("172.16.0.0/12", ""),  # a blackhole that the lab's own range is more specific than
        route("172.16.208.0/24", own),
    )
    assert problems(lab, replace(NOTHING, routes=others)) == ()


def test_case_18_route_of_an_address_of_the_host_is_told_once() -> None:
    seen = replace(
        NOTHING,
        links={"eth0": link("172.16.208.9/24")},
        routes=(route("172.16.208.0/24", "eth0"),),
    )
    (found,) = problems(labs.lab(), seen)
    assert "overlaps 172.16.208.9/24 on the host's 'eth0'" in found


@pytest.mark.parametrize("taken", [route("172.16.208.0/25"), route("172.16.208.0/24", table="52")])
def test_case_18_route_that_takes_the_way_to_bridged_nodes_is_refused(taken: Route) -> None:
    (found,) = problems(BRIDGED, bridged(replace(NOTHING, routes=(taken,))))
    assert "takes what labkit sends to controller, compute" in found


def test_case_19_bridge_that_is_down_is_refused_with_its_command() -> None:
    (found,) = problems(BRIDGED, bridged(br0=link(HOME, kind="bridge", up=False)))
    assert found == (
        "network 'lan': the bridge 'br0' is down; switch it on with 'ip link set br0 up'"
    )


def test_case_14_network_with_larger_packets_than_its_bridge_takes_is_refused() -> None:
    lan = replace(BRIDGED.networks[0], mtu=9000)
    lab = replace(BRIDGED, networks=(lan,))
    (found,) = problems(lab, bridged())
    assert "its mtu is 9000, but the bridge 'br0' takes 1500 bytes" in found
    jumbo = Link(kind="bridge", mtu=9000, addresses=(IPv4Interface(HOME),))
    assert problems(lab, bridged(br0=jumbo)) == ()


def test_case_19_bridge_without_an_address_and_without_any_way_is_refused() -> None:
    bare = bridged(br0=link(kind="bridge"))
    (found,) = problems(BRIDGED, bare)
    assert "this host has no address in 172.16.208.0/24" in found
    assert "'ip address add ADDRESS/24 dev br0'" in found


def test_case_19_bridge_without_an_address_is_a_note_where_a_router_may_lead_there() -> None:
    seen = replace(bridged(br0=link(kind="bridge")), routes=(route("0.0.0.0/0", "wlan0"),))
    assert problems(BRIDGED, seen) == ()
    assert any("'br0' has no address in 172.16.208.0/24" in note for note in notes(BRIDGED, seen))


def test_case_19_bridge_whose_ports_lead_nowhere_is_a_note_where_the_gateway_is_outside() -> None:
    home = link("172.16.208.1/24", kind="bridge")
    dead = bridged(br0=home, eth0=Link(master="br0", carrier=False))
    (found,) = notes(BRIDGED, dead)
    assert "none of its ports leads to the gateway 172.16.208.254" in found
    assert notes(BRIDGED, bridged(br0=home)) == ()
    # The host itself is the gateway.
    assert notes(BRIDGED, bridged(eth0=link())) == ()


def filtered(*rules: str, policy: str = "DROP", bridge: bool = True) -> Seen:
    lines = (f"-P FORWARD {policy}", *rules)
    return replace(NOTHING, forwarding=Forwarding(bridged=bridge, rules=lines))


def test_case_19_firewall_that_drops_what_a_bridge_passes_on_is_a_note() -> None:
    (found,) = notes(BRIDGED, bridged(filtered("-A FORWARD -j DOCKER-USER")))
    assert "iptables drops what nodes send each other" in found
    assert "sysctl net.bridge.bridge-nf-call-iptables=0" in found


@pytest.mark.parametrize(
    "seen",
    [
        filtered("-A FORWARD -j DOCKER-USER", bridge=False),
        filtered(policy="ACCEPT"),
        filtered("-A FORWARD -i br0 -j ACCEPT"),
        filtered("-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT"),
    ],
)
def test_case_19_firewall_that_lets_the_bridge_pass_is_no_note(seen: Seen) -> None:
    assert notes(BRIDGED, bridged(seen)) == ()


def test_case_19_firewall_that_only_root_reads_is_a_note_where_it_sees_bridges() -> None:
    unread = replace(NOTHING, forwarding=Forwarding(bridged=True, rules=None))
    assert "'sudo iptables -S FORWARD'" in notes(BRIDGED, bridged(unread))[0]
    unread = replace(NOTHING, forwarding=Forwarding(rules=None))
    assert notes(BRIDGED, bridged(unread)) == ()


def test_case_19_firewalld_zone_that_forwards_nothing_is_a_note() -> None:
    closed = Forwarding(bridged=True, closed={"br0": "public"})
    (found,) = notes(BRIDGED, bridged(replace(NOTHING, forwarding=closed)))
    assert "firewalld's zone 'public' of 'br0'" in found
    assert "firewall-cmd --zone=public --add-forward" in found


def active(lab: ResolvedLab) -> Seen:
    lan = lab.networks[0]
    network = active_network(lab, lan)
    return replace(NOTHING, networks=(network,), links={lan.bridge: link(HOME, kind="bridge")})


def test_case_19_host_that_forwards_nothing_is_a_note_for_nat_alone() -> None:
    lab, closed = labs.lab(), Forwarding(enabled=False)
    (before,) = notes(lab, replace(NOTHING, forwarding=closed))
    (after,) = notes(lab, replace(active(lab), forwarding=closed))
    assert "libvirt turns net.ipv4.ip_forward on" in before
    assert "'sysctl net.ipv4.ip_forward=1'" in after
    isolated = labs.lab(plugged=labs.network(mode=NetworkMode.ISOLATED))
    assert notes(isolated, replace(NOTHING, forwarding=closed)) == ()


def test_case_19_policy_of_docker_is_a_note_where_libvirt_has_no_rules_of_its_own() -> None:
    lab = labs.lab()
    drops = Forwarding(rules=("-P FORWARD DROP", "-A FORWARD -j DOCKER-USER"))
    (found,) = notes(lab, replace(active(lab), forwarding=drops))
    assert f"'iptables -I FORWARD -i {lab.networks[0].bridge} -j ACCEPT'" in found
    own = replace(drops, rules=(*(drops.rules or ()), "-A FORWARD -j LIBVIRT_FWX"))
    assert notes(lab, replace(active(lab), forwarding=own)) == ()


def test_plan_carries_the_notes_and_refuses_with_the_problems() -> None:
    lab = labs.lab()
    state = LabState(lab=lab.name, lab_id=lab.lab_id)
    off = replace(NOTHING, pools=(replace(pool("default"), active=False),))
    assert plan_up(lab, state, off, seeds={}).notes == notes(lab, off)
    both = replace(NOTHING, pools=(pool("images"),), routes=(route("172.16.208.0/24"),))
    with pytest.raises(HostError, match=r"disks and networks of the lab 'demo'") as caught:
        plan_up(lab, state, both, seeds={})
    assert len(caught.value.details) == 2
