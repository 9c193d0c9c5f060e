from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from uuid import uuid4

import pytest

from labkit.errors import HostError, OperationError
from labkit.host.inventory import Seen
from labkit.host.libvirt.pool import PoolInfo
from labkit.host.libvirt.xml import DomainState, VolumeInfo
from labkit.host.links import Link
from labkit.lab.topology import NetworkMode, ResolvedLab
from labkit.lifecycle.plan import Action, claimed, plan_up, possessions, spec_digest
from labkit.lifecycle.plan import recorded as record
from labkit.state.directory import DeploymentState, LabState, NodeState
from tests.fakes.libvirt import active_network, domain
from tests.support import labs


def link(*addresses: str, kind: str = "") -> Link:
    return Link(kind=kind, addresses=tuple(map(IPv4Interface, addresses)))


SEEDS = {"controller": "seed-a", "compute": "seed-b"}
EMPTY = Seen(domains=(), networks=(), volumes={}, links={"lo": link("127.0.0.1/8")})


def volume(name: str) -> VolumeInfo:
    return VolumeInfo(
        name=name,
        path=Path("/pool") / name,
        pool="default",
        allocation_bytes=1,
        physical_bytes=1,
        format="qcow2",
        backing_path=None,
    )


def recorded(lab: ResolvedLab, *, created: bool = True, box: str = "rehearsal") -> LabState:
    return LabState(
        lab=lab.name,
        lab_id=lab.lab_id,
        nodes={
            node.name: NodeState(
                created=created, spec=spec_digest(node, box), seed=SEEDS[node.name]
            )
            for node in lab.nodes
        },
        networks=("lan",),
        volumes=tuple(
            name
            for node in lab.nodes
            for name in (f"{node.domain}.img", f"{node.domain}_seed.iso")
        ),
    )


def running(lab: ResolvedLab) -> Seen:
    lan = lab.networks[0]
    volumes = [volume(f"{n.domain}{end}") for n in lab.nodes for end in (".img", "_seed.iso")]
    return Seen(
        domains=tuple(domain(node) for node in lab.nodes),
        networks=(active_network(lab, lab.networks[0]),),
        volumes={item.name: item for item in volumes},
        links={lan.bridge: link("172.16.208.254/24", kind="bridge")},
    )


def test_plan_on_an_empty_host_creates_everything() -> None:
    lab = labs.lab()
    plan = plan_up(lab, LabState(lab="demo", lab_id=lab.lab_id), EMPTY, seeds=SEEDS)
    assert plan.networks == ("lan",)
    assert [item.action for item in plan.nodes] == [Action.CREATE, Action.CREATE]
    assert plan.leftovers == ()
    assert plan.changes


def test_plan_for_a_running_lab_changes_nothing() -> None:
    lab = labs.lab()
    plan = plan_up(lab, recorded(lab), running(lab), seeds=SEEDS)
    assert not plan.changes
    assert [item.action for item in plan.nodes] == [Action.KEEP, Action.KEEP]


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (DomainState.SHUTOFF, Action.START),
        (DomainState.CRASHED, Action.START),
        (DomainState.PAUSED, Action.RESUME),
    ],
)
def test_plan_for_a_stopped_node_starts_it(state: DomainState, action: Action) -> None:
    lab = labs.lab()
    seen = running(lab)
    seen = replace(seen, domains=(domain(lab.nodes[0], state), domain(lab.nodes[1])))
    plan = plan_up(lab, recorded(lab), seen, seeds=SEEDS)
    assert [item.action for item in plan.nodes] == [action, Action.KEEP]


def test_plan_after_an_interrupted_up_remakes_half_made_nodes() -> None:
    lab = labs.lab()
    plan = plan_up(lab, recorded(lab, created=False), running(lab), seeds=SEEDS)
    assert [item.action for item in plan.nodes] == [Action.RECREATE, Action.RECREATE]
    assert set(plan.leftovers) == set(running(lab).volumes)


def test_plan_after_a_kill_between_volume_and_domain_deletes_the_claimed_volume() -> None:
    lab = labs.lab()
    seen = replace(EMPTY, volumes={"demo_compute.img": volume("demo_compute.img")})
    plan = plan_up(lab, recorded(lab, created=False), seen, seeds=SEEDS)
    assert plan.leftovers == ("demo_compute.img",)


def test_plan_with_foreign_objects_of_our_names_refuses_and_lists_all() -> None:
    lab = labs.lab()
    stranger = replace(domain(lab.nodes[0]), uuid=uuid4())
    network = replace(active_network(lab, lab.networks[0]), uuid=uuid4(), bridge="virbr7")
    seen = Seen(
        domains=(stranger,),
        networks=(network,),
        volumes={"demo_compute.img": volume("demo_compute.img")},
        links={},
    )
    fresh = LabState(lab="demo", lab_id=lab.lab_id)
    with pytest.raises(OperationError) as caught:
        plan_up(lab, fresh, seen, seeds=SEEDS)
    text = "\n".join(caught.value.details)
    assert len(caught.value.details) == 3
    assert "'demo_controller' exists that is not this lab's" in text
    assert "'/pool/demo_compute.img' exists and is not this lab's" in text
    assert "'demo_lan': a libvirt network of that name exists" in text


def test_plan_with_changed_hardware_names_the_node() -> None:
    lab = labs.lab()
    bigger = replace(lab, nodes=(replace(lab.nodes[0], cpus=8), lab.nodes[1]))
    with pytest.raises(OperationError) as caught:
        plan_up(bigger, recorded(lab), running(lab), seeds=SEEDS)
    assert len(caught.value.details) == 1
    assert "node 'controller': its box or hardware" in caught.value.details[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mtu": 9000}, "172.16.208.254/24, mtu 9000, and it runs as"),
        ({"mode": NetworkMode.ISOLATED}, "(isolated)"),
        ({"gateway": IPv4Address("172.16.208.1")}, "172.16.208.1/24"),
    ],
)
def test_case_14_plan_with_a_changed_network_that_runs_names_both(
    change: dict[str, object], words: str
) -> None:
    lab = labs.lab()
    lan = replace(lab.networks[0], **change)  # type: ignore[arg-type] # of a table of changes
    changed = replace(lab, networks=(lan,))
    with pytest.raises(OperationError) as caught:
        plan_up(changed, recorded(lab), running(lab), seeds=SEEDS)
    (detail,) = caught.value.details
    assert detail.startswith("network 'lan': lab.yaml makes it 'demo_lan'")
    assert words in detail
    off = replace(
        running(lab), networks=(replace(active_network(lab, lab.networks[0]), active=False),)
    )
    assert plan_up(changed, recorded(lab), off, seeds=SEEDS).networks == ("lan",)


def test_plan_with_another_box_refuses() -> None:
    lab = labs.lab()
    with pytest.raises(OperationError) as caught:
        plan_up(replace(lab, box="centos7"), recorded(lab), running(lab), seeds=SEEDS)
    assert len(caught.value.details) == 2


def test_plan_with_changed_files_says_when_they_take_effect() -> None:
    lab = labs.lab()
    seeds = {**SEEDS, "compute": "new"}
    plan = plan_up(lab, recorded(lab), running(lab), seeds=seeds)
    assert [bool(item.notice) for item in plan.nodes] == [False, True]
    assert not plan.changes


def test_plan_with_a_node_that_left_the_lab_file_refuses() -> None:
    both = labs.lab()
    one = labs.lab("controller")
    with pytest.raises(OperationError) as caught:
        plan_up(one, recorded(both), running(both), seeds=SEEDS)
    assert "node 'compute' exists but is no longer in lab.yaml" in caught.value.details[0]


def test_plan_with_a_range_used_on_the_host_refuses() -> None:
    lab = labs.lab()
    seen = replace(EMPTY, links={"eth0": link("172.16.0.9/16")})
    fresh = LabState(lab="demo", lab_id=lab.lab_id)
    with pytest.raises(HostError) as caught:
        plan_up(lab, fresh, seen, seeds=SEEDS)
    assert "overlaps 172.16.0.9/16 on the host's 'eth0'" in caught.value.details[0]


def test_plan_with_a_foreign_device_of_our_bridge_name_refuses() -> None:
    lab = labs.lab()
    seen = replace(EMPTY, links={lab.networks[0].bridge: Link()})
    fresh = LabState(lab="demo", lab_id=lab.lab_id)
    with pytest.raises(HostError) as caught:
        plan_up(lab, fresh, seen, seeds=SEEDS)
    assert f"ip link delete {lab.networks[0].bridge}" in caught.value.details[0]


def test_plan_with_a_missing_host_bridge_says_how_to_make_it() -> None:
    lab = labs.lab(plugged=labs.network(mode=NetworkMode.BRIDGE))
    fresh = LabState(lab="demo", lab_id=lab.lab_id)
    with pytest.raises(HostError) as caught:
        plan_up(lab, fresh, EMPTY, seeds=SEEDS)
    assert "ip link add br0 type bridge" in caught.value.details[0]


def test_plan_with_a_host_bridge_makes_no_network() -> None:
    lab = labs.lab(plugged=labs.network(mode=NetworkMode.BRIDGE))
    fresh = LabState(lab="demo", lab_id=lab.lab_id)
    seen = replace(EMPTY, links={"br0": link("172.16.208.1/24", kind="bridge")})
    assert plan_up(lab, fresh, seen, seeds=SEEDS).networks == ()


def test_possessions_of_a_running_lab_are_everything_it_made() -> None:
    lab = labs.lab()
    owned = possessions(lab, recorded(lab), running(lab))
    assert [item.name for item in owned.domains] == ["demo_controller", "demo_compute"]
    assert [item.name for item in owned.networks] == ["demo_lan"]
    assert set(owned.volumes) == set(running(lab).volumes)


def test_possessions_without_state_are_found_by_uuid_and_attachment() -> None:
    lab = labs.lab()
    lost = LabState(lab="demo", lab_id=lab.lab_id)
    owned = possessions(lab, lost, running(lab))
    assert len(owned.domains) == 2
    disks, seeds = ("demo_compute.img", "demo_controller.img"), ("compute", "controller")
    assert set(owned.volumes) == {*disks, *(f"demo_{name}_seed.iso" for name in seeds)}


def test_possessions_never_include_what_only_has_our_name() -> None:
    lab = labs.lab()
    stranger = replace(domain(lab.nodes[0]), uuid=uuid4())
    network = replace(active_network(lab, lab.networks[0]), uuid=uuid4())
    seen = Seen(
        domains=(stranger,),
        networks=(network,),
        volumes={"demo_controller.img": volume("demo_controller.img")},
        links={},
    )
    owned = possessions(lab, LabState(lab="demo", lab_id=lab.lab_id), seen)
    assert owned.describe() == ()


def test_possessions_include_nodes_that_left_the_lab_file() -> None:
    both = labs.lab()
    owned = possessions(labs.lab("controller"), recorded(both), running(both))
    assert len(owned.domains) == 2


def with_deployment(state: LabState, *, nodes: tuple[str, ...] = (), ended: bool) -> LabState:
    known = DeploymentState(run_id="r1", nodes=nodes, deployed=nodes if ended else ())
    return state.model_copy(update={"deployment": known})


@pytest.mark.parametrize("ended", [True, False])
def test_plan_never_makes_a_node_anew_in_which_packstack_ran(*, ended: bool) -> None:
    lab = labs.lab()
    state = with_deployment(recorded(lab, created=False), nodes=("compute",), ended=ended)
    with pytest.raises(OperationError) as caught:
        plan_up(lab, state, running(lab), seeds=SEEDS)
    (detail,) = caught.value.details
    assert detail.startswith("node 'compute': no 'labkit up' recorded it as whole")
    assert "Packstack ran in it" in detail
    assert "'labkit recreate --force compute'" in detail


def test_plan_never_makes_a_node_anew_that_has_snapshots() -> None:
    lab = labs.lab()
    seen = running(lab)
    first, second = seen.domains
    seen = replace(seen, domains=(first, replace(second, snapshots=2)))
    with pytest.raises(OperationError) as caught:
        plan_up(lab, recorded(lab, created=False), seen, seeds=SEEDS)
    (detail,) = caught.value.details
    assert detail.startswith("node 'compute'")
    assert "it has snapshots" in detail


def test_plan_never_deletes_the_disk_of_a_lost_domain_in_which_packstack_ran() -> None:
    lab = labs.lab()
    seen = replace(running(lab), domains=running(lab).domains[:1])
    state = with_deployment(recorded(lab), nodes=("controller", "compute"), ended=True)
    with pytest.raises(OperationError) as caught:
        plan_up(lab, state, seen, seeds=SEEDS)
    (detail,) = caught.value.details
    assert "'/pool/demo_compute.img', on which Packstack ran, would be deleted" in detail
    assert "labkit restore" in detail


def test_plan_makes_a_lost_domain_anew_in_which_nothing_ran() -> None:
    lab = labs.lab()
    seen = replace(running(lab), domains=running(lab).domains[:1])
    plan = plan_up(lab, recorded(lab), seen, seeds=SEEDS)
    assert [item.action for item in plan.nodes] == [Action.KEEP, Action.CREATE]
    assert set(plan.leftovers) == {"demo_compute.img", "demo_compute_seed.iso"}


def test_plan_for_a_lab_whose_record_was_lost_compares_with_what_libvirt_says() -> None:
    lab = labs.lab()
    bigger = replace(lab, nodes=(lab.nodes[0], replace(lab.nodes[1], cpus=8)))
    lost = LabState(lab="demo", lab_id=lab.lab_id)
    assert not plan_up(lab, lost, running(lab), seeds=SEEDS).changes
    with pytest.raises(OperationError) as caught:
        plan_up(bigger, lost, running(lab), seeds=SEEDS)
    assert [detail.split(":")[0] for detail in caught.value.details] == ["node 'compute'"]


def test_plan_for_some_nodes_is_about_no_other() -> None:
    lab = labs.lab()
    controller, compute = lab.nodes
    bigger = replace(lab, nodes=(replace(controller, cpus=8), compute))
    state = recorded(lab).with_node("compute", NodeState())
    plan = plan_up(bigger, state, running(lab), seeds=SEEDS, only=["compute"])
    assert [(item.node.name, item.action) for item in plan.nodes] == [("compute", Action.RECREATE)]
    assert set(plan.leftovers) == {"demo_compute.img", "demo_compute_seed.iso"}


def test_claim_has_what_is_about_to_be_made_and_keeps_what_was_claimed() -> None:
    lab = labs.lab()
    state = LabState(lab="demo", lab_id=lab.lab_id, volumes=("old.img",), networks=("old",))
    claim = claimed(lab, state, plan_up(lab, state, EMPTY, seeds=SEEDS))
    assert claim.nodes == {"controller": NodeState(), "compute": NodeState()}
    assert set(claim.volumes) == {"old.img", *running(lab).volumes}
    assert claim.networks == ("lan", "old")
    assert claim.box == "rehearsal"


@pytest.mark.parametrize(
    ("state", "seed"),
    [
        (DomainState.SHUTOFF, "new"),
        (DomainState.PAUSED, "seed-b"),
        (DomainState.RUNNING, "seed-b"),
    ],
)
def test_record_has_the_seed_a_node_took_when_it_last_booted(
    state: DomainState, seed: str
) -> None:
    lab = labs.lab()
    seen = running(lab)
    seen = replace(seen, domains=(domain(lab.nodes[0]), domain(lab.nodes[1], state)))
    seeds = {**SEEDS, "compute": "new"}
    known = recorded(lab)
    after = record(lab, known, plan_up(lab, known, seen, seeds=seeds), seeds=seeds)
    assert after == known.with_node(
        "compute", known.nodes["compute"].model_copy(update={"seed": seed})
    )


def test_case_15_plan_keeps_the_lab_in_the_pool_it_was_made_in() -> None:
    lab = labs.lab()
    fast = PoolInfo(name="fast", path=Path("/fast"), free_bytes=1)
    seen = replace(running(lab), pools=(fast,))
    with pytest.raises(OperationError) as caught:
        plan_up(replace(lab, pool="fast"), recorded(lab), seen, seeds=SEEDS)
    assert "the lab's disks are in the pool 'default'" in caught.value.details[0]


def test_case_15_claim_writes_down_the_pool() -> None:
    lab = replace(labs.lab(), pool="fast")
    state = LabState(lab="demo", lab_id=lab.lab_id)
    seen = replace(EMPTY, pools=(PoolInfo(name="fast", path=Path("/fast"), free_bytes=1),))
    assert claimed(lab, state, plan_up(lab, state, seen, seeds=SEEDS)).pool == "fast"


def test_case_16_possessions_in_a_pool_that_is_off_are_all_that_was_claimed() -> None:
    lab = labs.lab()
    off = PoolInfo(name="default", path=Path("/pool"), free_bytes=0, active=False)
    seen = replace(running(lab), volumes={}, pools=(off,))
    assert set(possessions(lab, recorded(lab), seen).volumes) == set(running(lab).volumes)
