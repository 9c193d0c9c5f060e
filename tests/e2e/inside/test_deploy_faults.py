"""Deployments that are disturbed: each ends in a true report, and nothing needs a new lab.

One small node serves all; every test begins at the snapshot that the first deployment took.
"""

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from labkit.host.process import run
from labkit.waiting import Deadline, wait_until
from tests.support.deployed_guest import (
    DEPLOY_SECONDS,
    ONE_NODE,
    SCRIPTS,
    as_root,
    ask,
    deploy,
    set_switches,
)
from tests.support.driver import (
    UP_SECONDS,
    Inventory,
    Lab,
    domain_state,
    inventory,
    virsh,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(UP_SECONDS + DEPLOY_SECONDS)]

CUT_SECONDS = 60
RUN = "/var/lib/labkit/runs/labkit-packstack"


@pytest.fixture(scope="module")
def before() -> Inventory:
    return inventory()


@pytest.fixture(scope="module")
def lab(before: Inventory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    assert not before.domains
    file = tmp_path_factory.mktemp("faults") / "lab.yaml"
    file.write_text(ONE_NODE, encoding="utf-8")
    found = Lab(file=file, name="faulty")
    found.up()
    yield found
    found.run("destroy")


def error_of(lab: Lab, *arguments: str) -> str:
    return lab.run("deploy", *arguments, timeout=DEPLOY_SECONDS, code=4).stderr


def test_unreachable_repositories_are_named_and_nothing_is_changed(lab: Lab) -> None:
    look = "cat /etc/yum.repos.d/* /etc/environment; ls /etc/yum.repos.d"
    before = as_root(lab, "one", look)
    as_root(lab, "one", "systemctl stop labkit-stand-in-mirror.socket")
    told = error_of(lab)
    as_root(lab, "one", "systemctl start labkit-stand-in-mirror.socket")
    assert "Preparing node 'one' failed in step 'probe'." in told
    assert "http://127.0.0.1:8088/centos/7.9.2009" in told
    assert as_root(lab, "one", look) == before


def test_full_disk_is_refused_before_anything_is_changed(lab: Lab) -> None:
    fill = "fallocate -l $(($(df --output=avail -B1 / | tail -n 1) - 1048576)) /filler"
    as_root(lab, "one", fill)
    told = error_of(lab)
    as_root(lab, "one", "rm /filler")
    assert "failed in step 'space'" in told
    assert re.search(r"needs 64 MiB free on /, and \d+ MiB are free", told), told


@pytest.fixture(scope="module")
def prepared(lab: Lab) -> Lab:
    """Prepare the lab, so that the snapshot is there that every test begins at.

    The update brings a newer kernel, so the node is booted again on the way.
    """
    set_switches(lab, "one", "FAIL=error-in-controller")
    as_root(lab, "one", "echo KERNEL_UPDATE=yes >/etc/labkit-stand-in.d/yum.conf")
    booted = as_root(lab, "one", "cat /proc/sys/kernel/random/boot_id")
    told = error_of(lab)
    assert as_root(lab, "one", "cat /proc/sys/kernel/random/boot_id") != booted
    assert re.search(r" one +reboot +ok .*\(kernel \S+-newer-stand-in\)", told), told
    assert "Packstack failed in step 'Applying Puppet manifests' with exit code 1." in told
    assert "10.77.9.11_controller.pp" in told
    assert "labkit restore pre-packstack" in told
    assert told.count("labkit does not know") == 1
    # That snapshot was taken with the switch of the first failure set.
    lab.run("restore", "pre-packstack")
    set_switches(lab, "one", "")
    lab.run("snapshot", "pre-packstack", "--replace")
    return lab


@pytest.fixture
def fresh(prepared: Lab) -> Lab:
    prepared.run("restore", "pre-packstack")
    return prepared


@pytest.mark.parametrize("role", ["network", "compute"])
def test_error_in_a_manifest_is_shown_and_its_logs_are_collected(fresh: Lab, role: str) -> None:
    set_switches(fresh, "one", f"FAIL=error-in-{role}")
    told = error_of(fresh)
    assert f"10.77.9.11_{role}.pp" in told
    assert "one: " in told
    (logs,) = re.findall(r"Logs of all nodes: (\S+)", told)
    collected = {
        os.path.relpath(os.path.join(at, name), logs)  # noqa: PTH118 -- os.walk gives text
        for at, _, names in os.walk(logs)
        for name in names
    }
    assert {
        "one/runs/labkit-packstack/output.log",
        "one/packstack/openstack-setup.log",
        "one/network/ovs-vsctl-show.txt",
    } <= collected


def test_disk_that_fills_up_under_packstack_is_explained_with_its_remedy(fresh: Lab) -> None:
    # What Packstack keeps has a disk of its own here, so that labkit's own runs have room.
    as_root(fresh, "one", "mkdir -p /var/tmp/packstack")
    as_root(fresh, "one", "mount -t tmpfs -o size=256k,mode=700 tmpfs /var/tmp/packstack")
    told = error_of(fresh)
    assert "No space left on device" in told
    assert "Cause: " in told
    (line,) = re.findall(r"Remedy: (.*)", told)[:1]
    assert "larger 'disk'" in line


def running(lab: Lab) -> None:
    """Wait until the run has begun and says something."""

    def check() -> None:
        ask(lab, "one", f"grep -q Installing: {RUN}/output.log")

    wait_until(check, what="Packstack to install", deadline=Deadline.after(120))


def run_id(lab: Lab) -> str:
    return ask(lab, "one", f"cat {RUN}/run_id").strip()


def test_killed_labkit_finds_its_run_again_and_two_at_once_are_refused(fresh: Lab) -> None:
    with fresh.started("deploy") as first:
        first.until(lambda: list(fresh.directory.glob("lock.holder")), "the lock")
        told = fresh.run("deploy", code=4).stderr
        assert "Another labkit is working on the lab 'faulty'" in told
        running(fresh)
        first.child.kill()
        first.child.wait(timeout=10)
    begun = run_id(fresh)
    report = deploy(fresh)
    assert report["attached"]
    assert report["run_id"] == begun
    assert report["verification"]["passed"]


def test_ssh_cut_for_a_minute_in_mid_run_is_sat_out(fresh: Lab) -> None:
    report = deploy(fresh, "--detach")
    assert not report["ended"]
    running(fresh)
    bridge = json.loads(fresh.run("status", "--json").stdout)["nodes"][0]["nics"][0]["bridge"]
    with fresh.started("deploy", "--json") as following:
        following.until(lambda: list(fresh.directory.glob("lock.holder")), "the lock")
        run(["ip", "link", "set", bridge, "down"], timeout=10)
        run(["sleep", str(CUT_SECONDS)], timeout=CUT_SECONDS + 10)
        run(["ip", "link", "set", bridge, "up"], timeout=10)
        output, _ = following.child.communicate(timeout=DEPLOY_SECONDS)
    assert following.child.returncode == 0, output
    found = report_in(output)
    assert found["attached"]
    assert found["run_id"] == report["run_id"]
    assert found["verification"]["passed"]
    assert any("sessions were lost" in text for text in found["notices"])


def report_in(output: str) -> dict[str, Any]:
    """Return the JSON in what a verb printed on both streams."""
    found: dict[str, Any]
    found, _ = json.JSONDecoder().raw_decode(output, output.index("\n{\n") + 1)
    return found


def test_first_card_down_for_good_is_followed_over_the_second(fresh: Lab) -> None:
    deploy(fresh, "--detach")
    running(fresh)
    first, _ = re.findall(r"^ (vnet\d+) ", virsh("domiflist", "faulty_one"), re.MULTILINE)
    virsh("domif-setlink", "faulty_one", first, "down")
    done = fresh.attempt("deploy", timeout=DEPLOY_SECONDS)
    virsh("domif-setlink", "faulty_one", first, "up")
    # It depends on the moment whether Packstack, which works over that card, gets to its end.
    assert "step 1 of 42: Clean Up" in done.stderr
    if done.returncode != 0:
        assert done.returncode == 4, done.stderr
        assert "Packstack seems to hang" in done.stderr
        assert "Nothing has moved for " in done.stderr


def test_node_rebooted_in_mid_run_is_reported_as_that(fresh: Lab) -> None:
    deploy(fresh, "--detach")
    running(fresh)
    virsh("reset", "faulty_one")
    told = error_of(fresh)
    assert "The controller was rebooted while Packstack ran" in told
    assert "labkit restore pre-packstack" in told


def test_hung_run_is_reported_with_evidence_and_ended_only_when_told(fresh: Lab) -> None:
    set_switches(fresh, "one", "FAIL=hang")
    # What an ended Packstack leaves behind: a Puppet run that goes on for a while.
    as_root(fresh, "one", "systemd-run bash -c 'exec -a \"puppet apply\" sleep 60'")
    told = error_of(fresh)
    assert re.search(r"one +end of an earlier Puppet run +ok \d", told)
    assert "Packstack seems to hang: no sign of progress for 1 min." in told
    assert "Nothing has moved for " in told
    assert as_root(fresh, "one", "systemctl is-active labkit-packstack").strip() == "active"
    assert "was ended" in fresh.run("deploy", "--kill").stdout
    assert "no Packstack run" in fresh.run("deploy", "--kill").stdout


def test_files_packstack_left_wrong_are_mended(fresh: Lab) -> None:
    set_switches(fresh, "one", "FAIL=network-lost")
    report = deploy(fresh)
    assert report["mended"] == ["one"]
    assert report["verification"]["passed"]
    port = as_root(fresh, "one", f"cat {SCRIPTS}/ifcfg-enp0s3")
    assert "TYPE=OVSPort\n" in port
    assert "IPADDR" not in port
    kept = as_root(fresh, "one", "cat /var/lib/labkit/before-mend.ifcfg-enp0s3")
    assert "IPADDR=10.77.9.11\n" in kept


def test_run_that_is_ended_reports_first_and_the_deployment_can_be_gone_on_with(
    fresh: Lab,
) -> None:
    junit = fresh.file.with_name("ended.xml")
    with fresh.started("run", "--from", "pre-packstack", "--junit", str(junit)) as verb:
        running(fresh)
        code, _ = verb.signal(signal.SIGTERM)
    assert code == 130
    assert '<error type="stage" message="interrupted">' in junit.read_text(encoding="utf-8")
    assert deploy(fresh)["attached"]


def test_run_from_a_snapshot_reports_and_leaves_nothing(fresh: Lab, before: Inventory) -> None:
    junit, report = (fresh.file.with_name(name) for name in ("run.xml", "run.json"))
    words = ("--from", "pre-packstack", "--junit", str(junit), "--json", str(report))
    fresh.run("run", *words, "--timeout", "10m", "--destroy", timeout=DEPLOY_SECONDS)
    told = json.loads(report.read_text(encoding="utf-8"))
    assert [stage["name"] for stage in told["stages"]] == ["restore", "deploy", "destroy"]
    assert told["passed"]
    assert told["destroyed"]
    assert 'errors="0"' in junit.read_text(encoding="utf-8")
    assert inventory() == before


def test_run_ended_in_its_first_stage_is_destroyed_when_told(lab: Lab, before: Inventory) -> None:
    with lab.started("run", "--destroy") as verb:
        verb.until(lambda: domain_state("faulty_one") == "running", "the domain")
        code, output = verb.signal(signal.SIGTERM)
    assert code == 130, output
    assert inventory() == before


def test_run_out_of_time_says_so_and_is_destroyed_when_told(lab: Lab, before: Inventory) -> None:
    told = lab.run("run", "--timeout", "5s", "--destroy", timeout=UP_SECONDS, code=4).stderr
    assert "The run did not end within 5s." in told
    assert inventory() == before
