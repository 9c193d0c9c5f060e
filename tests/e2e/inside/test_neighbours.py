"""Two labs at once on one host, one on a host bridge and one on two networks of its own."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import run
from labkit.state.registry import user_registry
from tests.support.driver import (
    UP_SECONDS,
    Inventory,
    Lab,
    inventory,
    up_at_once,
    write_lab,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(UP_SECONDS)]

TWO_NETWORKS = """\
name: pair
box: rehearsal
dns: {domain: pair.test}
networks:
  lan: {mode: nat, cidr: 10.77.3.0/24, gateway: 10.77.3.254, mtu: 9000}
  tunnel: {mode: isolated, cidr: 10.77.4.0/24}
nodes:
  one:
    roles: [controller]
    cpus: 1
    memory: 384 MiB
    disk: 4 GiB
    nics:
      enp0s3: {network: lan, address: 10.77.3.11}
      enp0s8: {network: tunnel, address: 10.77.4.11}
"""


@pytest.fixture(scope="module")
def before() -> Inventory:
    run(["ip", "link", "add", "br-x", "type", "bridge"], timeout=10)
    run(["ip", "address", "add", "10.77.2.254/24", "dev", "br-x"], timeout=10)
    run(["ip", "link", "set", "br-x", "up"], timeout=10)
    return inventory()


@pytest.fixture(scope="module")
def labs(before: Inventory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Lab]]:
    assert not before.domains
    directory = tmp_path_factory.mktemp("labs")
    network = "{mode: bridge, bridge: br-x, cidr: 10.77.2.0/24, gateway: 10.77.2.254}"
    bridged = write_lab(directory, "small", 2, network=network)
    pair = Lab(file=directory / "pair.yaml", name="pair")
    pair.file.write_text(TWO_NETWORKS)
    up_at_once(bridged, pair)
    yield bridged, pair
    for lab in (bridged, pair):
        lab.run("destroy")


def test_two_labs_brought_up_at_once_are_both_reachable(labs: tuple[Lab, Lab]) -> None:
    for lab in labs:
        (node,) = lab.status()
        assert node["state"] == "running"
        assert lab.run("ssh", "one", "hostname -f").stdout == f"one.{lab.name}.test\n"


def test_host_bridge_is_used_as_it_is(labs: tuple[Lab, Lab]) -> None:
    bridged, _ = labs
    (node,) = bridged.status()
    assert [nic["bridge"] for nic in node["nics"]] == ["br-x"]
    assert not [name for name in inventory().networks if name.startswith("small")]


def test_isolated_network_has_no_way_out_and_no_address_on_the_host(
    labs: tuple[Lab, Lab],
) -> None:
    _, pair = labs
    (node,) = pair.status()
    _lan, tunnel = (nic["bridge"] for nic in node["nics"])
    (link,) = json.loads(run(["ip", "-json", "address", "show", tunnel], timeout=10).stdout)
    assert [item for item in link["addr_info"] if item["family"] == "inet"] == []
    routes = pair.run("ssh", "one", "ip -4 route show default").stdout
    assert routes.splitlines()
    assert "enp0s8" not in routes


def test_case_14_network_with_an_mtu_takes_packets_of_that_size_whole(
    labs: tuple[Lab, Lab],
) -> None:
    _, pair = labs
    ping = "ping -n -q -c 1 -w 30 -M do -s 8972 -I 10.77.3.11 10.77.3.254"
    assert "1 received" in pair.run("ssh", "one", ping).stdout
    links = pair.run("ssh", "one", "ip -o link show").stdout
    assert "enp0s3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9000" in links
    assert "enp0s8: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500" in links

    text = pair.file.read_text()
    pair.file.write_text(text.replace("mtu: 9000", "mtu: 4000"))
    told = pair.run("up", code=4).stderr
    pair.file.write_text(text)
    assert "10.77.3.254/24, mtu 4000, and it runs as" in told
    assert json.loads(pair.run("up", "--json").stdout)["changed"] is False


def test_lost_state_lab_file_and_vagrant_data_do_not_hinder_destroy(
    labs: tuple[Lab, Lab], before: Inventory
) -> None:
    bridged, pair = labs
    neighbour = pair.boot_ids()
    (bridged.directory / "state.json").unlink()

    bridged.run("destroy")

    seen = inventory()
    assert seen.domains == {"pair_one"}
    assert seen.volumes == before.volumes | {"pair_one.img", "pair_one_seed.iso"}
    assert "br-x" in seen.links
    assert pair.boot_ids() == neighbour, "destroying one lab disturbed the other"

    shutil.rmtree(pair.directory / "vagrant" / ".vagrant")
    text = pair.file.read_text()
    pair.file.unlink()
    pair.run("destroy", "--name", "pair")
    pair.file.write_text(text)
    assert inventory() == before
    assert user_registry().records() == ((), ()), "a lab that was destroyed is still on record"
