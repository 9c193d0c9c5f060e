from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.lab.model import Lab
from labkit.lab.render import network_xml
from labkit.lab.resolve import _derived_mac, derived_bridge, resolve
from labkit.lab.rules import breaches
from labkit.lab.topology import NetworkMode, ResolvedNic, nic_slot
from tests.support.examples import LAB_ID, example


def lab_data(
    cidr: str = "10.0.0.0/24", address: str = "10.0.0.3", **nic: object
) -> dict[str, Any]:
    return {
        "name": "demo",
        "box": "rehearsal",
        "dns": {"domain": "demo.test"},
        "networks": {"lan": {"mode": "bridge", "bridge": "br0", "cidr": cidr}},
        "nodes": {
            "one": {
                "roles": ["controller"],
                "cpus": 1,
                "memory": "512 MiB",
                "nics": {"enp0s3": {"network": "lan", "address": address, **nic}},
            }
        },
    }


def only_nic(data: dict[str, Any]) -> ResolvedNic:
    lab = resolve(Lab.model_validate(data), lab_id=LAB_ID)
    return lab.nodes[0].nics[0]


def test_resolve_default_lab_has_the_documents_hardware_and_addresses() -> None:
    lab = example("packstack")
    assert [(node.name, node.cpus, node.memory_mib, node.disk_gib) for node in lab.nodes] == [
        ("controller", 4, 8192, 60),
        ("compute", 2, 4096, 60),
    ]
    assert [
        (nic.name, nic.slot, str(nic.address), str(nic.network.gateway))
        for node in lab.nodes
        for nic in node.nics
    ] == [
        ("enp0s3", 3, "172.16.208.39/24", "172.16.208.254"),
        ("enp0s8", 8, "172.16.208.138/24", "172.16.208.254"),
        ("enp0s3", 3, "172.16.208.141/24", "172.16.208.254"),
        ("enp0s8", 8, "172.16.208.150/24", "172.16.208.254"),
    ]


def test_resolve_names_and_uuids_are_derived_from_lab_and_id() -> None:
    lab = example("packstack")
    controller = lab.nodes[0]
    assert controller.domain == "packstack_controller"
    assert controller.fqdn == "controller.packstack.test"
    assert controller.uuid == uuid5(LAB_ID, "node/controller")
    assert controller.roles == ("controller", "network")
    assert lab.networks[0].uuid == uuid5(LAB_ID, "network/lan")
    assert lab.networks[0].libvirt_name == "packstack_lan"
    assert lab.node("compute") is lab.nodes[1]
    assert lab.node("other") is None


def test_resolve_pool_is_the_files_or_default() -> None:
    assert resolve(Lab.model_validate(lab_data()), lab_id=LAB_ID).pool == "default"
    named = Lab.model_validate({**lab_data(), "pool": "Fast_SSD.1"})
    assert resolve(named, lab_id=LAB_ID).pool == "Fast_SSD.1"


def test_resolve_twice_gives_the_same_lab() -> None:
    assert example("three-networks") == example("three-networks")


def test_resolve_other_lab_id_changes_uuids_and_no_mac() -> None:
    data = lab_data()
    one = resolve(Lab.model_validate(data), lab_id=LAB_ID)
    other = resolve(Lab.model_validate(data), lab_id=UUID(int=1))
    assert one.nodes[0].uuid != other.nodes[0].uuid
    assert one.networks[0].uuid != other.networks[0].uuid
    assert one.nodes[0].nics == tuple(
        # Only the network's UUID differs inside a card.
        type(nic)(**{**fields(nic), "network": one.networks[0]})
        for nic in other.nodes[0].nics
    )


def fields(nic: ResolvedNic) -> dict[str, Any]:
    return {name: getattr(nic, name) for name in nic.__slots__}


def test_resolve_host_bridge_keeps_its_name_and_is_not_libvirts() -> None:
    network = example("three-networks").networks[0]
    assert network.mode is NetworkMode.BRIDGE
    assert (network.bridge, network.libvirt_name) == ("br-office.7", None)


def test_resolve_given_mac_is_kept_in_lower_case() -> None:
    assert only_nic(lab_data(mac="52:54:00:AB:CD:EF")).mac == "52:54:00:ab:cd:ef"


def test_resolve_derived_mac_taken_by_the_file_gives_another() -> None:
    derived = only_nic(lab_data()).mac
    data = lab_data()
    nics = data["nodes"]["one"]["nics"]
    nics["enp0s4"] = {"network": "lan", "address": "10.0.0.4", "mac": derived}
    first, second = resolve(Lab.model_validate(data), lab_id=LAB_ID).nodes[0].nics
    assert second.mac == derived
    assert first.mac != derived
    assert first.mac == _derived_mac("demo/one/enp0s3/1")


@pytest.mark.parametrize(
    ("network", "nic", "gateway", "defroute"),
    [
        ({"gateway": "10.0.0.1"}, {}, "10.0.0.1", "yes"),
        ({}, {}, None, "no"),
        ({"gateway": "10.0.0.1"}, {"gateway": False}, None, "no"),
        ({"gateway": "10.0.0.1"}, {"ifcfg": {"DEFROUTE": "no"}}, "10.0.0.1", "no"),
        ({"gateway": "10.0.0.1", "mode": "isolated", "bridge": None}, {}, None, "no"),
    ],
)
def test_resolve_gateway_is_in_ifcfg_only_where_it_leads_out(
    network: dict[str, Any], nic: dict[str, Any], gateway: str | None, defroute: str
) -> None:
    data = lab_data(**nic)
    data["networks"]["lan"] |= network
    ifcfg = dict(only_nic(data).ifcfg)
    assert ifcfg.get("GATEWAY") == gateway
    assert ifcfg["DEFROUTE"] == defroute
    leads = gateway is not None and defroute != "no"
    assert only_nic(data).way_out == (IPv4Address("10.0.0.1") if leads else None)


def test_resolve_ifcfg_override_stays_in_place_and_extras_come_last() -> None:
    keys = only_nic(lab_data(ifcfg={"MTU": "1400", "PEERDNS": "no", "UUID": "x"})).ifcfg
    names = [key for key, _ in keys]
    assert names[-5:] == ["NAME", "UUID", "DEVICE", "ONBOOT", "MTU"]
    assert dict(keys)["PEERDNS"] == "no"
    assert names.index("PEERDNS") == names.index("PEERROUTES") - 1


def test_case_14_mtu_of_a_network_is_every_cards_and_libvirts() -> None:
    lab = example("three-networks")
    tunnel = next(network for network in lab.networks if network.name == "tunnel")
    assert [network.mtu for network in lab.networks] == [None, 9000, None]
    assert '<mtu size="9000" />' in network_xml(lab, tunnel)
    cards = [nic for node in lab.nodes for nic in node.nics]
    assert {nic.network.mtu: dict(nic.ifcfg).get("MTU") for nic in cards} == {
        None: None,
        9000: "9000",
    }


@pytest.mark.parametrize(
    ("name", "slot"), [("enp0s3", 3), ("enp0s31", 31), ("enp1s3", None), ("eth0", None)]
)
def test_nic_slot_name_gives_decimal_slot(name: str, slot: int | None) -> None:
    assert nic_slot(name) == slot


@given(st.text(max_size=30), st.text(max_size=30))
def test_derived_bridge_any_names_fit_an_interface_name(lab: str, network: str) -> None:
    name = derived_bridge(lab, network)
    assert len(name) <= 15
    assert not name.startswith(("docker", "macvtap", "virbr", "vnet"))
    assert name.isascii()
    assert name.isalnum()


@st.composite
def networks(draw: st.DrawFn) -> IPv4Network:
    prefix = draw(st.integers(8, 30))
    first = draw(st.integers(1, 126).filter(lambda octet: octet not in {0, 127}))
    rest = draw(st.integers(0, 2**24 - 1))
    return IPv4Network(((first << 24) | rest, prefix), strict=False)


@given(networks(), st.data())
def test_resolve_host_address_of_any_network_is_accepted_with_its_prefix(
    network: IPv4Network, data: st.DataObject
) -> None:
    offset = data.draw(st.integers(1, network.num_addresses - 2))
    address = network.network_address + offset
    raw = lab_data(str(network), str(address))
    assert list(breaches(Lab.model_validate(raw))) == []
    nic = only_nic(raw)
    assert nic.address.ip == address
    assert nic.address.network == network
    assert dict(nic.ifcfg)["NETMASK"] == str(network.netmask)


@given(networks(), st.integers(0, 2**32 - 1))
def test_breaches_address_no_host_of_its_network_is_named(
    network: IPv4Network, number: int
) -> None:
    for address in (
        network.network_address,
        network.broadcast_address,
        *({IPv4Address(number)} if IPv4Address(number) not in network else ()),
    ):
        lab = Lab.model_validate(lab_data(str(network), str(address)))
        places = [breach.place for breach in breaches(lab)]
        assert places == [("nodes", "one", "nics", "enp0s3", "address")]


@given(st.sets(st.from_regex(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?", fullmatch=True), max_size=40))
def test_resolve_any_node_names_get_distinct_legal_macs(names: set[str]) -> None:
    data = lab_data("10.0.0.0/16")
    (node,) = data["nodes"].values()
    for index, name in enumerate(sorted(names)):
        nics = {"enp0s3": {"network": "lan", "address": f"10.0.1.{index}"}}
        data["nodes"][name] = {**node, "nics": nics}
    lab = resolve(Lab.model_validate(data), lab_id=LAB_ID)
    macs = [nic.mac for node in lab.nodes for nic in node.nics]
    assert len(set(macs)) == len(macs)
    assert all(mac.startswith("52:54:00:") and len(mac) == 17 for mac in macs)
