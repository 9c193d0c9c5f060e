from __future__ import annotations

from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

from labkit.host.links import Link, links, parse_links, parse_routes, routes

if TYPE_CHECKING:
    from pathlib import Path

# `ip -json address show` of iproute2 6.1, shortened to one of each kind.
OUTPUT = """[
{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[
  {"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"},
  {"family":"inet6","local":"::1","prefixlen":128,"scope":"host"}]},
{"ifindex":2,"ifname":"eth0","addr_info":[
  {"family":"inet","local":"192.0.2.7","prefixlen":24},
  {"family":"inet","local":"198.51.100.7","prefixlen":32,"label":"eth0:1"}]},
{"ifindex":3,"ifname":"br0","addr_info":[]},
{"ifindex":4,"ifname":"vnet0"},
{}]"""


def test_links_are_read_with_every_ipv4_address() -> None:
    assert {name: link.addresses for name, link in parse_links(OUTPUT).items()} == {
        "lo": (IPv4Interface("127.0.0.1/8"),),
        "eth0": (IPv4Interface("192.0.2.7/24"), IPv4Interface("198.51.100.7/32")),
        "br0": (),
        "vnet0": (),
    }


def test_links_of_a_host_without_devices_are_none() -> None:
    assert parse_links("[]") == {}


# One of each kind, `ip -details -json address show` of iproute2 6.1, shortened.
KINDS = """[
{"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"]},
{"ifname":"eth0","flags":["BROADCAST","UP","LOWER_UP"],"master":"br0",
 "linkinfo":{"info_slave_kind":"bridge"}},
{"ifname":"eth1","flags":["NO-CARRIER","BROADCAST","UP"]},
{"ifname":"wlan0","flags":["BROADCAST","UP"]},
{"ifname":"br0","flags":["BROADCAST"],"linkinfo":{"info_kind":"bridge"}},
{"ifname":"ovs0","flags":["UP"],"linkinfo":{"info_kind":"openvswitch"}},
{"ifname":"eth0.7","link":"eth0","flags":["UP"],"linkinfo":{"info_kind":"vlan"}}]"""


def test_case_17_links_are_read_with_their_kinds_and_states(tmp_path: Path) -> None:
    (tmp_path / "wlan0" / "phy80211").mkdir(parents=True)
    (tmp_path / "eth1").mkdir()

    found = parse_links(KINDS, devices=tmp_path)

    assert {name: link.kind for name, link in found.items()} == {
        "lo": "loopback",
        "eth0": "",
        "eth1": "",
        "wlan0": "wireless",
        "br0": "bridge",
        "ovs0": "openvswitch",
        "eth0.7": "vlan",
    }
    assert found["eth0"] == Link(master="br0")
    assert found["eth1"] == Link(carrier=False)
    assert not found["br0"].up


# `ip -4 -json route show table all` of iproute2 6.1, shortened.
ROUTES = """[
{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
{"dst":"10.20.30.0/24","dev":"tun9","scope":"link","flags":["linkdown"]},
{"dst":"100.64.0.7","dev":"tailscale0","table":"52","flags":[]},
{"type":"blackhole","dst":"10.0.0.0/8","flags":[]},
{"dst":"10.9.0.0/16","flags":[],"nexthops":[
  {"gateway":"192.0.2.3","dev":"eth0","weight":1},{"gateway":"192.0.3.3","dev":"eth1","weight":1}]},
{"type":"local","dst":"127.0.0.1","dev":"lo","table":"local"},
{"type":"broadcast","dst":"192.0.2.255","dev":"eth0","table":"local"},
{"type":"throw","dst":"10.1.0.0/16","table":"52"}]"""


def test_case_18_routes_of_all_tables_are_read_with_their_devices() -> None:
    assert [(str(each.network), each.device, each.table) for each in parse_routes(ROUTES)] == [
        ("0.0.0.0/0", "eth0", "main"),
        ("10.20.30.0/24", "tun9", "main"),
        ("100.64.0.7/32", "tailscale0", "52"),
        ("10.0.0.0/8", "", "main"),
        ("10.9.0.0/16", "eth0", "main"),
        ("10.9.0.0/16", "eth1", "main"),
    ]
    assert parse_routes("") == ()


def test_links_and_routes_of_this_host_are_read() -> None:
    assert links()["lo"].kind == "loopback"
    assert all(each.table != "local" for each in routes())
