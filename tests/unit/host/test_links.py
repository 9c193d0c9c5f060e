from __future__ import annotations

from ipaddress import IPv4Interface

from labkit.host.links import parse_links

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
