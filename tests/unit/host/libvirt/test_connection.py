"""The libvirt adapter on libvirt's own in-process test driver: real libvirt, no daemon."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from labkit.errors import HostError, OperationError
from labkit.host.libvirt.connection import Hypervisor, connect, interfaces_by_mac
from labkit.host.libvirt.errors import SPACE_HINT, START_HINT, ConflictError, NotFoundError
from labkit.host.libvirt.networks import network_present
from labkit.host.libvirt.xml import DomainState, NetworkInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNNING = UUID("11111111-0000-0000-0000-000000000001")
OTHER = UUID("11111111-0000-0000-0000-000000000002")
GONE = UUID("11111111-0000-0000-0000-00000000dead")
NETWORK = UUID("22222222-0000-0000-0000-000000000001")
FOREIGN = UUID("22222222-0000-0000-0000-0000000000ff")
LAB = UUID("33333333-0000-0000-0000-000000000001")

HOST = f"""
<node>
  <domain type='test'>
    <name>demo_controller</name><uuid>{RUNNING}</uuid>
    <memory unit='MiB'>2048</memory><vcpu>4</vcpu><os><type>hvm</type></os>
    <devices><interface type='network'>
      <mac address='52:54:00:00:00:01'/><source network='foreign'/>
    </interface></devices>
  </domain>
  <domain type='test'>
    <name>alien</name><uuid>{OTHER}</uuid>
    <memory unit='MiB'>512</memory><vcpu>1</vcpu><os><type>hvm</type></os>
  </domain>
  <network>
    <name>foreign</name><uuid>{FOREIGN}</uuid>
    <bridge name='br-foreign'/><ip address='10.1.1.1' prefix='24'/>
  </network>
</node>
"""


def network_xml(*, address: str = "10.9.9.254", name: str = "demo_public") -> str:
    return f"""
    <network>
      <name>{name}</name><uuid>{NETWORK}</uuid>
      <metadata>
        <labkit:lab xmlns:labkit='https://labkit.invalid/xmlns/lab/1' id='{LAB}'/>
      </metadata>
      <forward mode='nat'/><bridge name='br-demo0'/><ip address='{address}' prefix='24'/>
    </network>"""


@pytest.fixture
def hypervisor(tmp_path: Path) -> Iterator[Hypervisor]:
    # Not test:///default, which all connections of a process share.
    host = tmp_path / "host.xml"
    host.write_text(HOST, encoding="utf-8")
    with connect(f"test://{host}") as connection:
        yield connection


def test_domains_of_the_host_are_listed_by_name(hypervisor: Hypervisor) -> None:
    alien, controller = hypervisor.domains()

    assert (alien.name, alien.uuid) == ("alien", OTHER)
    assert (controller.name, controller.vcpus, controller.memory_mib) == (
        "demo_controller",
        4,
        2048,
    )
    assert controller.state is DomainState.RUNNING
    assert controller.nics[0].bridge == "br-foreign"
    assert hypervisor.domain_by_uuid(RUNNING) == controller


def test_domain_that_does_not_exist_is_none(hypervisor: Hypervisor) -> None:
    assert hypervisor.domain_by_uuid(GONE) is None
    assert hypervisor.domain_state(GONE) is None
    assert hypervisor.agent_interfaces(GONE) is None


def test_power_off_and_start_change_the_state_and_repeat_harmlessly(
    hypervisor: Hypervisor,
) -> None:
    for _ in range(2):
        hypervisor.power_off(RUNNING)
        assert hypervisor.domain_state(RUNNING) is DomainState.SHUTOFF
    for _ in range(2):
        hypervisor.start(RUNNING)
        assert hypervisor.domain_state(RUNNING) is DomainState.RUNNING
    assert hypervisor.domain_state(OTHER) is DomainState.RUNNING


def test_resume_of_a_paused_domain_lets_it_run(hypervisor: Hypervisor, tmp_path: Path) -> None:
    with_pause = HOST.replace(
        "<memory unit='MiB'>512",
        "<test:runstate xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>3"
        "</test:runstate><memory unit='MiB'>512",
    )
    (tmp_path / "paused.xml").write_text(with_pause, encoding="utf-8")
    with connect(f"test://{tmp_path / 'paused.xml'}") as paused:
        assert paused.domain_state(OTHER) is DomainState.PAUSED
        for _ in range(2):
            paused.resume(OTHER)
            assert paused.domain_state(OTHER) is DomainState.RUNNING
    assert hypervisor.domain_state(OTHER) is DomainState.RUNNING


def test_start_of_a_missing_domain_says_so(hypervisor: Hypervisor) -> None:
    with pytest.raises(NotFoundError) as raised:
        hypervisor.start(GONE)

    assert raised.value.message == (
        f"libvirt could not find the domain with UUID '{GONE}': it does not exist."
    )
    assert raised.value.details == ("Domain not found",)


def test_undefine_of_a_running_domain_is_refused(hypervisor: Hypervisor) -> None:
    with pytest.raises(OperationError) as raised:
        hypervisor.undefine(RUNNING)

    assert raised.value == OperationError(
        "The domain 'demo_controller' should be off to be undefined, but it runs.",
        hint="Power it off first, for example with 'labkit halt'.",
    )
    assert hypervisor.domain_state(RUNNING) is DomainState.RUNNING


def test_power_off_and_undefine_of_a_missing_domain_do_nothing(hypervisor: Hypervisor) -> None:
    before = hypervisor.domains()
    hypervisor.power_off(GONE)
    hypervisor.undefine(GONE)

    assert hypervisor.domains() == before


def test_network_defined_twice_is_one_running_network(hypervisor: Hypervisor) -> None:
    first = hypervisor.networks.ensure(network_xml())
    second = hypervisor.networks.ensure(network_xml())

    assert first == second
    assert first in hypervisor.networks.listed()
    assert first == NetworkInfo(
        name="demo_public",
        uuid=NETWORK,
        bridge="br-demo0",
        active=True,
        forward="nat",
        addresses=(ip_interface("10.9.9.254/24"),),
    )
    assert [item.name for item in hypervisor.networks.listed()] == ["demo_public", "foreign"]


def test_network_running_with_another_address_is_refused(hypervisor: Hypervisor) -> None:
    hypervisor.networks.ensure(network_xml())

    with pytest.raises(OperationError, match=r"10\.8\.8\.1/24, but .* 10\.9\.9\.254/24"):
        hypervisor.networks.ensure(network_xml(address="10.8.8.1"))

    (found,) = (item for item in hypervisor.networks.listed() if item.uuid == NETWORK)
    assert found.addresses == (ip_interface("10.9.9.254/24"),)


def test_network_removed_twice_is_gone_and_others_stay(hypervisor: Hypervisor) -> None:
    hypervisor.networks.ensure(network_xml())

    assert hypervisor.networks.remove(NETWORK) is True
    assert hypervisor.networks.remove(NETWORK) is False
    assert [item.uuid for item in hypervisor.networks.listed()] == [FOREIGN]


@pytest.mark.parametrize(
    ("xml", "taken"),
    [
        (network_xml(name="foreign"), "its name 'foreign' is taken"),
        (network_xml().replace("br-demo0", "br-foreign"), "its bridge name 'br-foreign' is taken"),
    ],
)
def test_network_clashing_with_a_foreign_one_is_refused(
    hypervisor: Hypervisor, xml: str, taken: str
) -> None:
    before = hypervisor.networks.listed()

    with pytest.raises(ConflictError, match=taken) as raised:
        hypervisor.networks.ensure(xml)

    assert str(FOREIGN) in raised.value.message
    assert hypervisor.networks.listed() == before


def test_network_inactive_with_other_addresses_may_be_redefined() -> None:
    wanted = NetworkInfo(
        name="n",
        uuid=NETWORK,
        bridge=None,
        active=True,
        forward=None,
        addresses=(),
    )
    idle = NetworkInfo(
        name="n",
        uuid=NETWORK,
        bridge="br-old",
        active=False,
        forward=None,
        addresses=(),
    )

    assert network_present(wanted, (idle,)) is idle
    assert network_present(wanted, ()) is None


def test_pool_missing_is_made_once_and_lists_its_volumes(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    storage = hypervisor.storage
    made = storage.ensure_pool("labs", tmp_path / "pool")
    again = storage.ensure_pool("labs", tmp_path / "elsewhere")

    assert made == again
    assert (made.name, made.path) == ("labs", tmp_path / "pool")
    assert storage.volumes("labs") == ()
    assert storage.volume("labs", "nothing") is None
    assert storage.delete_volume("labs", "nothing") is False


def test_pool_missing_is_an_error_but_its_volumes_are_simply_absent(
    hypervisor: Hypervisor,
) -> None:
    with pytest.raises(NotFoundError, match="the storage pool 'nowhere': it does not exist"):
        hypervisor.storage.pool_free_bytes("nowhere")

    assert hypervisor.storage.volume("nowhere", "x") is None
    assert hypervisor.storage.delete_volume("nowhere", "x") is False


def test_upload_that_libvirt_refuses_leaves_no_volume(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    storage = hypervisor.storage
    storage.ensure_pool("labs", tmp_path / "pool")
    source = tmp_path / "image"
    source.write_bytes(b"x" * 100)

    # The test driver has no streams.
    with pytest.raises(OperationError, match=r"could not upload '.*image' as the volume 'v'"):
        storage.upload_volume("labs", "v", source)

    assert storage.volumes("labs") == ()


def test_upload_of_more_than_the_file_holds_is_refused(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    hypervisor.storage.ensure_pool("labs", tmp_path / "pool")
    source = tmp_path / "image"
    source.write_bytes(b"x" * 100)

    with pytest.raises(OperationError) as raised:
        hypervisor.storage.upload_volume("labs", "v", source, offset=40, length=61)

    assert raised.value.message == (
        f"The image in '{source}' should be 61 bytes at offset 40, but the file holds 60 there."
    )


def test_upload_larger_than_the_pool_is_refused_before_it_starts(
    hypervisor: Hypervisor, tmp_path: Path
) -> None:
    hypervisor.storage.ensure_pool("labs", tmp_path / "pool")
    source = tmp_path / "image"
    with source.open("wb") as file:
        file.truncate(200 * 2**30)  # sparse; the test driver's pools hold 100 GiB

    with pytest.raises(HostError) as raised:
        hypervisor.storage.upload_volume("labs", "v", source)

    assert raised.value == HostError(
        "The storage pool 'labs' has too little space for the volume 'v': "
        "204800.0 MiB are needed, 102400.0 MiB were free.",
        hint=SPACE_HINT,
    )


def test_connection_without_a_daemon_says_how_to_start_it(tmp_path: Path) -> None:
    socket = tmp_path / "no-socket"

    with pytest.raises(HostError) as raised:
        connect(f"qemu+unix:///system?socket={socket}")

    assert raised.value.message.endswith("libvirtd does not answer.")
    assert raised.value.hint == START_HINT
    assert str(socket) in raised.value.details[0]


def test_addresses_of_devices_sharing_a_mac_are_one_entry() -> None:
    found = interfaces_by_mac(
        {
            "lo": {"hwaddr": "00:00:00:00:00:00", "addrs": [{"addr": "127.0.0.1", "prefix": 8}]},
            "enp0s3": {"hwaddr": "52:54:00:AA:00:01", "addrs": None},
            "br-ex": {
                "hwaddr": "52:54:00:aa:00:01",
                "addrs": [
                    {"addr": "172.16.208.39", "prefix": 24},
                    {"addr": "fe80::1", "prefix": 64},
                    {"addr": "fd00::1", "prefix": 64},
                ],
            },
            "tun0": {"hwaddr": None, "addrs": []},
        }
    )

    assert found == {"52:54:00:aa:00:01": ("enp0s3", ("172.16.208.39/24", "fd00::1/64"))}


def test_snapshot_is_taken_listed_described_again_and_deleted(hypervisor: Hypervisor) -> None:
    snapshots = hypervisor.snapshots
    description = snapshots.take(RUNNING, "labkit-base-0")
    assert snapshots.names(RUNNING) == ("labkit-base-0",)

    # The test driver keeps nothing but descriptions, and cannot forget one without deleting it.
    assert snapshots.delete(RUNNING, "labkit-base-0")
    assert snapshots.names(RUNNING) == ()
    snapshots.describe_again(RUNNING, description)
    assert snapshots.names(RUNNING) == ("labkit-base-0",)

    assert snapshots.delete(RUNNING, "labkit-base-0")
    assert not snapshots.delete(RUNNING, "labkit-base-0")


def test_snapshot_name_with_markup_is_a_name(hypervisor: Hypervisor) -> None:
    hypervisor.snapshots.take(RUNNING, "a<b>&'\"")
    assert hypervisor.snapshots.names(RUNNING) == ("a<b>&'\"",)


def test_snapshot_whose_parent_is_unknown_is_described_without_it(hypervisor: Hypervisor) -> None:
    snapshots = hypervisor.snapshots
    snapshots.take(RUNNING, "first")
    second = snapshots.take(RUNNING, "second")
    for name in ("second", "first"):
        snapshots.delete(RUNNING, name)

    snapshots.describe_again(RUNNING, second)

    assert snapshots.names(RUNNING) == ("second",)


def test_revert_to_a_live_snapshot_leaves_the_domain_paused(hypervisor: Hypervisor) -> None:
    hypervisor.snapshots.take(RUNNING, "base")
    hypervisor.power_off(RUNNING)

    hypervisor.snapshots.revert(RUNNING, "base", live=True)

    assert hypervisor.domain_state(RUNNING) is DomainState.PAUSED


def test_suspended_domain_is_paused(hypervisor: Hypervisor) -> None:
    hypervisor.snapshots.suspend(RUNNING)
    assert hypervisor.domain_state(RUNNING) is DomainState.PAUSED


def test_snapshots_of_a_domain_that_is_gone_are_none(hypervisor: Hypervisor) -> None:
    assert hypervisor.snapshots.names(GONE) == ()
    assert not hypervisor.snapshots.delete(GONE, "base")
    assert not hypervisor.snapshots.set_time(GONE, timeout=1)
    with pytest.raises(NotFoundError):
        hypervisor.snapshots.take(GONE, "base")


def test_domain_is_defined_again_from_its_definition(hypervisor: Hypervisor) -> None:
    definition = hypervisor.snapshots.definition(RUNNING)
    hypervisor.power_off(RUNNING)
    # The test driver knows none of the flags that Hypervisor.undefine needs.
    hypervisor._domain(RUNNING).undefine()
    assert hypervisor.domain_by_uuid(RUNNING) is None

    hypervisor.snapshots.define(definition)

    found = hypervisor.domain_by_uuid(RUNNING)
    assert found is not None
    assert (found.name, found.vcpus) == ("demo_controller", 4)
