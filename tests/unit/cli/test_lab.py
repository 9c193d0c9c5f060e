from __future__ import annotations

from dataclasses import replace

from labkit.cli.lab import status_row
from labkit.lifecycle.status import NicStatus, NodeStatus

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
