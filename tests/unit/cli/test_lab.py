from __future__ import annotations

from dataclasses import replace
from typing import Any

from labkit.cli.lab import owned_data, restart_data, status_row, up_data
from labkit.host.inventory import look
from labkit.lifecycle.plan import Action, NodePlan, UpPlan, possessions
from labkit.lifecycle.readiness import Ready
from labkit.lifecycle.status import NicStatus, NodeStatus
from labkit.lifecycle.teardown import HaltReport
from labkit.lifecycle.up import UpReport
from labkit.state.directory import LabState
from tests.fakes.libvirt import FakeHost
from tests.support import labs

NIC = NicStatus(
    name="enp0s3",
    mac="52:54:00:00:00:01",
    pci="0000:00:03.0",
    bridge="br0",
    addresses=("192.0.2.1/24", "fe80::1/64"),
    seen_in_guest=True,
)
NODE = NodeStatus(
    name="compute",
    state="running",
    vcpus=2,
    memory_mib=4096,
    accelerator="kvm",
    nics=(NIC, replace(NIC, name="enp0s8", pci="0000:00:08.0", addresses=())),
    ssh="vagrant@192.0.2.1",
)


def test_status_row_has_a_line_for_each_card() -> None:
    assert status_row(NODE) == (
        *("compute", "running", "2", "4096 MiB", "enp0s3\nenp0s8"),
        "0000:00:03.0\n0000:00:08.0",
        "192.0.2.1/24, fe80::1/64\n",
    )


def test_status_row_of_a_node_that_does_not_exist_has_no_hardware() -> None:
    card = replace(NIC, pci=None)
    gone = replace(NODE, state="not created", vcpus=0, memory_mib=0, nics=(card,))
    assert status_row(gone)[:6] == ("compute", "not created", "-", "-", "enp0s3", "-")


SMALL = labs.lab("one")
(ONE,) = SMALL.nodes
PLAN = UpPlan(networks=(), nodes=(NodePlan(node=ONE, action=Action.START),), leftovers=())
READY = Ready(
    node="one", address="192.0.2.1", boot_id="b", failed_units=(), seconds=(("ssh", 2.0),)
)
STOPPED = HaltReport(nodes=(("one", "shut down"),))


def test_up_tells_programs_what_was_done_and_what_would_be() -> None:
    done = up_data("demo", UpReport(plan=PLAN, ready=(READY,)), dry_run=False)
    assert (done["lab"], done["dry_run"], done["changed"]) == ("demo", False, True)
    assert done["nodes"] == [
        {
            "name": "one",
            "action": "start",
            "notice": "",
            "address": "192.0.2.1",
            "boot_id": "b",
            "failed_units": [],
            "seconds": {"ssh": 2.0},
            "evidence": "",
        }
    ]
    planned: Any = up_data("demo", UpReport(plan=PLAN, ready=()), dry_run=True)
    (node,) = planned["nodes"]
    assert (node["action"], node["address"], node["seconds"]) == ("start", None, {})


def test_restart_tells_programs_both_halves_and_a_dry_run_the_first() -> None:
    halted = [{"name": "one", "result": "shut down"}]
    assert restart_data("demo", STOPPED, None) == {
        "lab": "demo",
        "dry_run": True,
        "halted": halted,
    }
    done = restart_data("demo", STOPPED, UpReport(plan=PLAN, ready=(READY,)))
    assert (done["dry_run"], done["changed"], done["halted"]) == (False, True, halted)


def test_what_a_lab_has_is_told_by_name() -> None:
    host = FakeHost()
    host.add_lab(SMALL)
    with host.connect() as hypervisor:
        seen = look(hypervisor, "default", define_pool=False)
    state = LabState(lab="demo", lab_id=SMALL.lab_id)
    assert owned_data(possessions(SMALL, state, seen)) == {
        "domains": ["demo_one"],
        "networks": ["demo_lan"],
        "volumes": ["demo_one.img", "demo_one_seed.iso"],
    }
