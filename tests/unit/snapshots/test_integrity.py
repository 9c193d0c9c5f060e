from __future__ import annotations

from dataclasses import replace

import pytest

from labkit.host.libvirt.xml import DomainState
from labkit.host.qcow2 import Image, Snapshot
from labkit.snapshots.integrity import NodeFound, problems
from tests.fakes.libvirt import domain
from tests.support import labs
from tests.support.snapshot_records import MEMORY, record

LAB = labs.lab("controller", "compute")
RECORD = record(LAB)
FOREIGN = "11111111-0000-0000-0000-000000000001"
COMPUTE = LAB.nodes[1]
SOUND = Image(snapshots=(Snapshot(name=RECORD.key, memory_bytes=MEMORY),))


def found(**changes: object) -> dict[str, NodeFound]:
    """Return both nodes as they should be, the compute node changed."""
    whole = {node.name: NodeFound(domain=domain(node), image=SOUND) for node in LAB.nodes}
    whole["compute"] = replace(whole["compute"], **changes)  # type: ignore[arg-type]
    return whole


def test_problems_of_a_sound_snapshot_are_none() -> None:
    assert problems(RECORD, LAB, found()) == ()


@pytest.mark.parametrize(
    "state", [DomainState.RUNNING, DomainState.PAUSED, DomainState.SHUTOFF, DomainState.CRASHED]
)
def test_problems_of_a_lab_in_any_state_are_none(state: DomainState) -> None:
    assert problems(RECORD, LAB, found(domain=domain(COMPUTE, state))) == ()


def test_problems_of_a_lost_domain_are_none_because_it_can_be_defined_again() -> None:
    assert problems(RECORD, LAB, found(domain=None)) == ()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"disk_present": False, "image": None},
            "compute: its disk, the volume 'demo_compute.img', is not in the storage pool",
        ),
        (
            {"base_present": False},
            "compute: the volume 'box.img' that its disk is based on is not in the storage pool",
        ),
        (
            {"missing_files": ("/pool/demo_compute_seed.iso",)},
            "compute: the image '/pool/demo_compute_seed.iso' of its definition does not exist",
        ),
        (
            {"image": None, "damage": "QEMU has marked it as corrupt"},
            "compute: its disk 'demo_compute.img' is damaged: QEMU has marked it as corrupt",
        ),
        (
            {"image": Image(snapshots=())},
            "compute: its disk 'demo_compute.img' does not hold the snapshot any more",
        ),
        (
            {"image": Image(snapshots=(Snapshot(name=RECORD.key, memory_bytes=7),))},
            "compute: its disk 'demo_compute.img' holds 7 bytes of memory; expected 104857600",
        ),
        (
            {"domain": replace(domain(COMPUTE), vcpus=8)},
            "compute: its domain has 8 CPUs; the snapshot has 2",
        ),
        (
            {"domain": replace(domain(COMPUTE), memory_mib=1024)},
            "compute: its domain has 1024 MiB of memory; the snapshot has 2048",
        ),
        (
            {"domain": replace(domain(COMPUTE), state=DomainState.SHUTDOWN)},
            "compute: its domain is shutdown; wait, or switch it off with 'labkit halt'",
        ),
        (
            {"domain": None, "impostor": FOREIGN},
            f"compute: a foreign domain has its name, UUID {FOREIGN}; rename that domain",
        ),
    ],
)
def test_problems_name_the_node_and_what_is_wrong(changes: dict[str, object], line: str) -> None:
    assert problems(RECORD, LAB, found(**changes)) == (line,)


def test_problems_with_another_mac_show_both() -> None:
    cards = domain(COMPUTE).nics
    other = replace(cards[0], mac="52:54:00:ff:ff:ff")
    (line,) = problems(RECORD, LAB, found(domain=replace(domain(COMPUTE), nics=(other, cards[1]))))

    assert line == (
        f"compute: its domain has cards with the MACs {cards[1].mac}, {other.mac}; the snapshot "
        f"has {cards[0].mac}, {cards[1].mac}"
    )


def test_problems_with_a_card_in_another_slot_show_both() -> None:
    cards = domain(COMPUTE).nics
    other = replace(cards[0], pci="0000:00:09.0")
    (line,) = problems(RECORD, LAB, found(domain=replace(domain(COMPUTE), nics=(other, cards[1]))))

    assert line == (
        f"compute: its domain has the card {cards[0].mac} at PCI 0000:00:09.0; the snapshot has "
        "it at 0000:00:03.0"
    )


def test_problems_with_a_changed_lab_file_name_what_changed() -> None:
    grown = replace(COMPUTE, cpus=6)
    changed = replace(LAB, nodes=(LAB.nodes[0], grown))

    assert problems(RECORD, changed, found()) == (
        "compute: lab.yaml has 6 CPUs; the snapshot has 2",
    )


def test_problems_with_nodes_that_came_or_went_name_them() -> None:
    third = labs.lab("controller", "compute", "third")
    whole = {node.name: NodeFound(domain=domain(node), image=SOUND) for node in third.nodes}

    (more,) = problems(RECORD, third, whole)
    assert more.startswith("third: lab.yaml has this node, the snapshot has not")
    (less,) = problems(record(third), LAB, whole)
    assert less.startswith("third: the snapshot has this node, lab.yaml has not")
