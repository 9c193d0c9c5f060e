from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from labkit.host.libvirt.connection import connect
from labkit.host.process import run
from labkit.lifecycle.status import LabStatus, _nic_status, _node_status
from tests.support import labs
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from pathlib import Path

NODE = labs.lab().nodes[0]
CARDS = "".join(
    f"""<interface type='bridge'><mac address='{nic.mac}'/><source bridge='lkreal'/>
    <address type='pci' domain='0x0000' bus='0x00' slot='0x{nic.slot:02x}' function='0x0'/>
    </interface>"""
    for nic in NODE.nics
)
DOMAIN = f"""<domain type='test'><name>{NODE.domain}</name><uuid>{NODE.uuid}</uuid>
<memory unit='KiB'>3145728</memory><vcpu>3</vcpu><os><type>hvm</type></os>
<devices>{CARDS}</devices></domain>"""


def test_status_of_a_node_that_does_not_exist_says_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "host.xml").write_text("<node></node>")
    with connect(f"test://{tmp_path / 'host.xml'}") as hypervisor:
        found = _node_status(hypervisor, NODE)
    assert (found.state, found.vcpus, found.memory_mib, found.accelerator) == (
        *("not created", 0, 0),
        "",
    )
    assert [(nic.name, nic.pci, nic.seen_in_guest) for nic in found.nics] == [
        ("enp0s3", None, False),
        ("enp0s8", None, False),
    ]
    assert found.ssh == f"vagrant@{NODE.nics[0].address.ip}"


def test_status_of_a_running_node_is_what_libvirt_says_and_not_the_lab_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "host.xml").write_text(f"<node>{DOMAIN}</node>")
    with connect(f"test://{tmp_path / 'host.xml'}") as hypervisor:
        found = _node_status(hypervisor, NODE)
    assert (NODE.cpus, NODE.memory_mib) != (3, 3072)
    assert (found.state, found.vcpus, found.memory_mib) == ("running", 3, 3072)
    assert [nic.bridge for nic in found.nics] == ["lkreal", "lkreal"]
    assert [nic.pci for nic in found.nics] == ["0000:00:03.0", "0000:00:08.0"]


@pytest.mark.parametrize("seen", [True, False])
def test_card_shows_what_the_guest_says_when_the_guest_can_be_asked(
    tmp_path: Path, *, seen: bool
) -> None:
    nic = NODE.nics[0]
    (tmp_path / "host.xml").write_text(f"<node>{DOMAIN}</node>")
    with connect(f"test://{tmp_path / 'host.xml'}") as hypervisor:
        domain = hypervisor.domain_by_uuid(NODE.uuid)
    said: tuple[str, tuple[str, ...]] = ("br-ex", ("203.0.113.9/24", "203.0.113.10/24"))
    guest = {nic.mac: said} if seen else {}
    card = _nic_status(nic, domain, guest)
    assert card.seen_in_guest is seen
    expected = said[1] if seen else (str(nic.address),)
    assert (card.name, card.addresses) == ("br-ex" if seen else nic.name, expected)


def test_status_as_json_is_plain_data(tmp_path: Path) -> None:
    (tmp_path / "host.xml").write_text(f"<node>{DOMAIN}</node>")
    with connect(f"test://{tmp_path / 'host.xml'}") as hypervisor:
        node = _node_status(hypervisor, NODE)
    data = json.loads(
        json.dumps(
            LabStatus(lab="demo", box="x", directory="/d", expires=None, nodes=(node,)).as_json()
        )
    )
    assert set(data) == {"lab", "box", "directory", "expires", "nodes"}
    wanted = {"name", "state", "vcpus", "memory_mib", "accelerator", "nics", "ssh"}
    assert wanted <= set(data["nodes"][0])
    for nic in data["nodes"][0]["nics"]:
        assert {"name", "mac", "pci", "bridge", "addresses"} <= set(nic)


def test_status_loads_nothing_that_only_changing_verbs_need() -> None:
    code = (
        "import sys, labkit.cli.app, labkit.cli.session, labkit.lifecycle.status, "
        "labkit.host.libvirt.connection; print(*sys.modules)"
    )
    loaded = set(run([sys.executable, "-c", code], timeout=30).stdout.split())
    assert "libvirt" in loaded
    changing = {"paramiko", "jinja2", "tenacity", "filelock", "vagrant", "pycdlib", "httpx2"}
    assert not loaded & {*changing, "rich"}


def test_memory_is_not_searched_for_garbage_while_a_verb_loads_and_ends() -> None:
    # 'validate' reads the lab file as 'status' does, and asks no libvirt. What is registered
    # first runs last.
    code = (
        "import atexit, gc, sys; from labkit.cli import app;"
        "done = lambda: sum(each['collections'] for each in gc.get_stats()); before = done();"
        "atexit.register(lambda: print(done() - before, gc.get_freeze_count()));"
        "sys.argv[1:] = ['validate']; app.main()"
    )
    ended = run([sys.executable, "-c", code], timeout=30, cwd=ROOT)
    collections, frozen = map(int, ended.stdout.split()[-2:])
    assert collections == 0
    assert frozen > 10_000, "so little is loaded that this shows nothing"


def test_importing_the_command_line_changes_nothing_of_the_process() -> None:
    code = (
        "import atexit, gc, os; before = gc.get_threshold(), dict(os.environ); "
        "import labkit.cli.app; print((gc.get_threshold(), dict(os.environ)) == before)"
    )
    assert run([sys.executable, "-c", code], timeout=30).stdout.strip() == "True"
