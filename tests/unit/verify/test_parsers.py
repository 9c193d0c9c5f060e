from __future__ import annotations

from ipaddress import IPv4Interface

import pytest

from labkit.verify.parsers import ifcfg, ip_addr, ip_route, openstack, ovs_show, ping, systemctl

OLD = """\
8690bb97-ba2f-4b7b-8087-8d3484ba2d64
    Bridge br-tun
        Port "vxlan-ac10d096"
            tag: 2
            Interface "vxlan-ac10d096"
                type: vxlan
                options: {df_default="true", in_key=flow, local_ip="172.16.208.138", remote_ip="172.16.208.150"}
        Port br-tun
            Interface br-tun
                type: internal
    ovs_version: "2.9.0"
"""
NEW = """\
8690bb97-ba2f-4b7b-8087-8d3484ba2d64
    Bridge br-tun
        fail_mode: secure
        datapath_type: system
        Port vxlan-ac10d096
            tag: 2
            Interface vxlan-ac10d096
                type: vxlan
                options: {df_default="true", in_key=flow, local_ip="172.16.208.138", remote_ip="172.16.208.150"}
        Port br-tun
            Interface br-tun
                type: internal
    ovs_version: "3.1.0"
"""


@pytest.mark.parametrize("text", [OLD, NEW], ids=["2.9", "3.1"])
def test_ovs_show_reads_both_styles_of_quoting(text: str) -> None:
    bridge = ovs_show.parse(text)["br-tun"]
    [tunnel] = bridge.of_kind("vxlan")
    assert (tunnel.name, tunnel.bridge) == ("vxlan-ac10d096", "br-tun")
    assert tunnel.options == {
        "df_default": "true",
        "in_key": "flow",
        "local_ip": "172.16.208.138",
        "remote_ip": "172.16.208.150",
    }
    assert set(bridge.interfaces) == {"vxlan-ac10d096", "br-tun"}


def test_ovs_show_reads_strings_as_strings() -> None:
    text = (
        'Bridge "a \\"b\\""\n Port p\n  Interface p\n   options: {"k=1"="v, }", peer=q}\n'
        '   error: "no \\u00fc"\n'
    )
    [interface] = ovs_show.parse(text)['a "b"'].interfaces.values()
    assert interface.options == {"k=1": "v, }", "peer": "q"}
    assert interface.error == "no ü"


def test_ovs_show_without_bridges_is_empty_and_other_text_an_error() -> None:
    assert ovs_show.parse('8690bb97-ba2f-4b7b-8087-8d3484ba2d64\n    ovs_version: "2.9.0"\n') == {}
    with pytest.raises(ValueError, match="not what 'ovs-vsctl show' prints"):
        ovs_show.parse("ovs-vsctl: unix:/var/run/openvswitch/db.sock: connection failed\n")


def test_ip_addr_reads_devices_flags_and_addresses() -> None:
    links = ip_addr.parse(
        "2: enp0s3@if7: <BROADCAST,UP,LOWER_UP> mtu 1500\n"
        "    link/ether 08:00:27:c5:30:43 brd ff:ff:ff:ff:ff:ff link-netnsid 0\n"
        "    inet 172.16.208.39/24 brd 172.16.208.255 scope global enp0s3\n"
        "    inet 10.0.0.1 peer 10.0.0.2/32 scope global enp0s3\n"
        "3: tun0: <NO-CARRIER,POINTOPOINT> mtu 1500\n"
        "    link/none \n"
    )
    card = links["enp0s3"]
    assert (card.up, card.mac) == (True, "08:00:27:c5:30:43")
    assert card.addresses == (IPv4Interface("172.16.208.39/24"), IPv4Interface("10.0.0.1/32"))
    assert (links["tun0"].up, links["tun0"].mac, links["tun0"].addresses) == (False, "", ())


def test_ip_addr_of_something_else_is_an_error() -> None:
    with pytest.raises(ValueError, match="no network device"):
        ip_addr.parse("bash: ip: command not found\n")


def test_ifcfg_reads_what_bash_would() -> None:
    text = "# a comment\nA=1 B='two words'  # more\n\nC=\"x'y\"\nA=2\nexport_me=\n"
    assert ifcfg.parse(text) == {"A": "2", "B": "two words", "C": "x'y", "export_me": ""}


@pytest.mark.parametrize("line", ["reboot", "A=$(reboot)", "A=`reboot`", "A=$B", "A='", "1A=2"])
def test_ifcfg_with_more_than_assignments_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        ifcfg.parse(f"B=1\n{line}\n")


def test_ping_reads_how_many_answers_came_from_each() -> None:
    text = (
        "PING 10.0.0.3 (10.0.0.3) from 10.0.0.4 : 8972(9000) bytes of data.\n"
        "\n--- 10.0.0.3 ping statistics ---\n"
        "3 packets transmitted, 1 received, 66% packet loss, time 2000ms\n"
        "rtt min/avg/max/mdev = 0.3/0.3/0.3/0.0 ms\n"
        "PING 10.1.0.3 (10.1.0.3) from 10.1.0.4 : 8972(9000) bytes of data.\n"
        "\n--- 10.1.0.3 ping statistics ---\n"
        "1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms\n"
    )
    assert ping.parse(text) == {"10.0.0.3": 1, "10.1.0.3": 0}


@pytest.mark.parametrize("text", ["", "ping: bad number of packets to transmit.\n"])
def test_ping_without_statistics_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="no statistics"):
        ping.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.3 dev br-ex  src 10.0.0.4 \n    cache \n",
        "10.0.0.3 dev br-ex src 10.0.0.4 uid 0 \n    cache \n",
        "10.0.0.3 via 10.0.0.1 dev eth0 table 7 src 10.0.0.4 uid 0 \n    cache expires 9sec \n",
    ],
    ids=["4.11", "6.1", "gateway"],
)
def test_ip_route_reads_the_source_of_each_address(text: str) -> None:
    own = "local 10.0.0.4 dev lo src 10.0.0.4 uid 0 \n    cache <local> \n"
    assert ip_route.parse(text + own) == {"10.0.0.3": "10.0.0.4", "10.0.0.4": "10.0.0.4"}


def test_ip_route_without_a_route_is_an_error() -> None:
    with pytest.raises(ValueError, match="no route"):
        ip_route.parse("RTNETLINK answers: Network is unreachable\n")


def test_systemctl_reads_a_failed_unit() -> None:
    text = "● x.service\n   Loaded: not-found (Reason: No such file)\n   Active: failed (Result: exit-code) since\n"
    assert str(systemctl.parse(text)) == "not-found, failed (Result: exit-code)"


def test_prettytable_gives_rows_by_title() -> None:
    text = "+--+--+\n| Cell Name | Hostname |\n+--+--+\n|   cell1   | a.b |\n+--+--+\n"
    assert openstack.table(text) == ({"Cell Name": "cell1", "Hostname": "a.b"},)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"Host": 7}]', "null", "[" * 99999])
def test_lists_that_are_none_are_errors(text: str) -> None:
    for read in (openstack.agents, openstack.compute_services, openstack.hypervisors):
        with pytest.raises(ValueError, match=r"JSON|no text under"):
            read(text)
