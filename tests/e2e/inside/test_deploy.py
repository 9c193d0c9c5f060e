"""The document's lab from `deploy` to a further compute node, on stand-in guests; one boot for all.

The tests run in the order they are written.
"""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labkit.waiting import Deadline, NotYet, wait_until
from tests.support.deployed_guest import (
    DEPLOY_SECONDS,
    PORT,
    SCRIPTS,
    as_root,
    ask,
    deploy,
    passwords,
)
from tests.support.driver import ROOT, UP_SECONDS, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(UP_SECONDS + DEPLOY_SECONDS)]

CONTROLLER, COMPUTE = "172.16.208.39", "172.16.208.141"
TUNNEL_ENDS = {"controller": "172.16.208.138", "compute": "172.16.208.150"}
IFCFG_BR_EX = """\
IPADDR=172.16.208.39
NETMASK=255.255.255.0
GATEWAY=172.16.208.254
NM_CONTROLLED=no
DEFROUTE=yes
PEERDNS=yes
PEERROUTES=yes
ONBOOT=yes
DEVICE=br-ex
NAME=br-ex
DEVICETYPE=ovs
OVSBOOTPROTO=static
TYPE=OVSBridge
OVS_EXTRA="set bridge br-ex fail_mode=standalone"
"""
IFCFG_ENP0S3 = """\
DEVICE=enp0s3
NAME=enp0s3
DEVICETYPE=ovs
TYPE=OVSPort
OVS_BRIDGE=br-ex
ONBOOT=yes
BOOTPROTO=none
"""
SECOND_COMPUTE = """\
  second:
    roles: [compute]
    cpus: 1
    memory: 512 MiB
    disk: 60 GiB
    nics:
      enp0s3: {network: lan, address: 172.16.208.142}
      enp0s8: {network: lan, address: 172.16.208.151}
"""
VERBS_THAT_LOOK = (
    "status", "status --json", "verify --json", "logs deploy", "logs prepare --node compute",
    "snapshots --json", "deploy --dry-run", "up --dry-run", "halt --dry-run", "destroy --dry-run",
    "graph", "validate", "console compute",
)  # fmt: skip
STEPS = 42
MANIFESTS = 3


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    file = tmp_path_factory.mktemp("deploy") / "lab.yaml"
    text = (ROOT / "lab.yaml").read_text(encoding="utf-8")
    # One password of the user's own beside those that labkit makes; each has 16 characters.
    file.write_text(f"{text}  answers: {{CONFIG_KEYSTONE_ADMIN_PW: {secrets.token_hex(8)}}}\n")
    found = Lab(file=file, name="packstack")
    found.up("--box", "rehearsal")
    yield found
    found.run("destroy")


def test_yum_with_the_stock_repositories_fails_as_since_2024(lab: Lab) -> None:
    output = as_root(lab, "compute", "yum -y update 2>&1; type packstack 2>&1", code=1)
    assert "Could not resolve host: mirrorlist.centos.org" in output


def test_dry_run_says_what_deploy_would_do_and_does_nothing(lab: Lab) -> None:
    told = lab.run("deploy", "--dry-run").stdout
    assert "would run on controller: packstack --answer-file=" in told
    assert "would take the snapshot 'pre-packstack'" in told
    assert lab.run("snapshots", "--json").stdout.count('"pre-packstack"') == 0
    assert lab.run("logs", "deploy", code=4).stderr.startswith(
        "error: Node 'controller' never had"
    )


@pytest.fixture(scope="module")
def deployed(lab: Lab) -> dict[str, Any]:
    return deploy(lab)


def test_deploy_ends_with_every_check_green(lab: Lab, deployed: dict[str, Any]) -> None:
    verification = deployed["verification"]
    assert verification["counts"]["failed"] == verification["counts"]["not judged"] == 0
    assert verification["passed"]
    assert [item["node"] for item in deployed["prepared"]] == ["controller", "compute"]
    assert all("repositories" in item["changed"] for item in deployed["prepared"])
    assert not deployed["attached"]
    assert not deployed["mended"]
    (snapshot,) = json.loads(lab.run("snapshots", "--json").stdout)["snapshots"]
    assert (snapshot["name"], snapshot["stage"]) == ("pre-packstack", "prepared")


def test_packstack_printed_every_step_and_the_log_can_be_read(
    lab: Lab, deployed: dict[str, Any]
) -> None:
    output = re.sub(r"\x1b\[[0-9;]*m|\r", "", lab.run("logs", "deploy").stdout)
    done = re.findall(r"^(.+?)\s*\[ (DONE|ERROR) \]$", output, re.MULTILINE)
    assert len(done) == STEPS + MANIFESTS
    assert {status for _, status in done} == {"DONE"}
    assert "Installation completed successfully" in output
    assert "labkit-step: done hosts" in lab.run("logs", "prepare", "--node", "compute").stdout
    assert deployed["ended"]


def test_external_card_is_a_port_of_br_ex_with_the_documents_files(
    lab: Lab, deployed: dict[str, Any]
) -> None:
    assert deployed["ended"]
    assert as_root(lab, "controller", f"cat {SCRIPTS}/ifcfg-br-ex") == IFCFG_BR_EX
    assert as_root(lab, "controller", f"cat {SCRIPTS}/ifcfg-enp0s3") == IFCFG_ENP0S3
    addresses = as_root(lab, "controller", "ip -4 -br address")
    assert re.search(r"^br-ex .*172\.16\.208\.39/24", addresses, re.MULTILINE)
    assert not re.search(r"^enp0s3 .*172\.16", addresses, re.MULTILINE)


def test_files_came_home_for_their_owner_alone(lab: Lab, deployed: dict[str, Any]) -> None:
    home = lab.directory / "packstack"
    assert deployed["files"] == [str(home / "answers.cfg"), str(home / "keystonerc_admin")]
    assert {path.stat().st_mode & 0o777 for path in home.iterdir()} == {0o600}
    assert home.stat().st_mode & 0o777 == 0o700
    answers = (home / "answers.cfg").read_text(encoding="utf-8")
    assert answers.count("\nCONFIG_") + answers.count("\nEXCLUDE_SERVERS") == 316
    # Packstack takes back those of services that are not installed.
    services = ("KEYSTONE_ADMIN", "MARIADB", "NOVA_KS", "NEUTRON_METADATA", "GLANCE_DB")
    assert {f"CONFIG_{name}_PW" for name in services} <= set(passwords(lab))
    assert "CONFIG_TROVE_KS_PW=PW_PLACEHOLDER\n" in answers


def test_openstack_and_open_reach_the_deployed_cloud(lab: Lab, deployed: dict[str, Any]) -> None:
    assert deployed["ended"]
    listed = lab.run("openstack", "network", "agent", "list", "-f", "json").stdout
    assert {agent["Host"] for agent in json.loads(listed)} == {
        "controller.packstack.test",
        "compute.packstack.test",
    }
    told = json.loads(lab.run("open", "--json").stdout)
    assert told["user"] == "admin"
    page = lab.run("ssh", "controller", "curl", "-fsS", told["url"]).stdout
    assert "labkit" in page
    assert Path(told["credentials"]).stat().st_mode & 0o777 == 0o600


def test_no_password_is_in_a_log_or_a_process_list(lab: Lab, deployed: dict[str, Any]) -> None:
    hidden = {value.encode() for value in passwords(lab).values()}
    logs = [path for path in (lab.directory / "logs").rglob("*") if path.is_file()]
    assert len(logs) > 4
    leaks = [path for path in logs if any(secret in path.read_bytes() for secret in hidden)]
    assert leaks == []
    assert not any(secret.decode() in json.dumps(deployed) for secret in hidden)


def test_no_password_is_in_what_any_verb_prints(lab: Lab, deployed: dict[str, Any]) -> None:
    assert deployed["ended"]
    hidden = passwords(lab).values()
    written = lab.file.read_text(encoding="utf-8").split("CONFIG_KEYSTONE_ADMIN_PW: ")[1][:16]
    assert written in hidden
    # What a guest prints is not labkit's to choose.
    said = "/var/lib/labkit/runs/labkit-packstack/output.log"
    as_root(
        lab,
        "controller",
        f"grep -ha CONFIG_KEYSTONE_ADMIN_PW= /var/lib/labkit/answers.cfg >>{said}",
    )
    for verb in VERBS_THAT_LOOK:
        printed = lab.run(*verb.split())
        text = printed.stdout + printed.stderr
        assert text
        assert not [secret for secret in hidden if secret in text], verb
    assert "CONFIG_KEYSTONE_ADMIN_PW=********" in lab.run("logs", "deploy").stdout


def sent_through_tunnel(lab: Lab) -> int:
    # Not the statistics in the database: they are up to five seconds old.
    seen = as_root(lab, "controller", "ovs-ofctl dump-ports br-tun vxlan-ac10d096")
    return int(seen.split("tx pkts=")[1].split(",")[0])


def test_packet_crosses_the_tunnel_from_controller_to_compute(
    lab: Lab, deployed: dict[str, Any]
) -> None:
    assert deployed["ended"]
    for number, node in enumerate(TUNNEL_ENDS, start=1):
        as_root(lab, node, PORT.format(number=number))
    before = sent_through_tunnel(lab)
    assert " 5 received" in as_root(lab, "controller", "ping -c 5 -i 0.5 -w 20 10.99.0.2")
    assert sent_through_tunnel(lab) >= before + 5


def test_verify_tells_a_dead_agent_and_nothing_else(lab: Lab, deployed: dict[str, Any]) -> None:
    assert deployed["ended"]
    as_root(lab, "compute", "systemctl stop openstack-nova-compute; sleep 4")
    junit = lab.file.with_name("verify.xml")
    report = json.loads(lab.run("verify", "--json", "--junit", str(junit), code=1).stdout)
    as_root(lab, "compute", "systemctl start openstack-nova-compute")
    failed = {
        (item["node"], item["check"]) for item in report["results"] if item["verdict"] == "failed"
    }
    assert failed == {("controller", "nova-services"), ("controller", "hypervisors")}
    assert junit.read_text(encoding="utf-8").count("<failure") == len(failed)


def test_compute_after_a_reboot_has_its_tunnel_again(lab: Lab, deployed: dict[str, Any]) -> None:
    assert deployed["ended"]
    before = as_root(lab, "compute", "cat /proc/sys/kernel/random/boot_id")
    as_root(lab, "compute", "systemd-run --quiet --on-active=1 systemctl reboot")
    look = (
        "ovs-vsctl --timeout=5 show && ip link show vxlan_sys_4789 && "
        "cat /proc/sys/kernel/random/boot_id"
    )

    def check() -> None:
        seen = ask(lab, "compute", look)
        if before in seen or "vxlan-ac10d08a" not in seen:
            raise NotYet(seen)

    wait_until(check, what="the tunnel", deadline=Deadline.after(180))
    as_root(lab, "compute", PORT.format(number=2))
    # -c with -w: until three answers have come, or 30 s; the flows may still be on their way.
    assert " 3 received" in as_root(lab, "controller", "ping -c 3 -i 0.5 -w 30 10.99.0.2")


def test_add_compute_of_a_deployed_or_unknown_node_is_refused(
    lab: Lab, deployed: dict[str, Any]
) -> None:
    assert deployed["ended"]
    assert "is deployed already" in lab.run("add-compute", "compute", code=4).stderr
    assert "has no node 'second'" in lab.run("add-compute", "second", code=2).stderr


def test_add_compute_brings_a_node_into_cell_and_tunnels(
    lab: Lab, deployed: dict[str, Any]
) -> None:
    assert deployed["ended"]
    before = passwords(lab)
    text = lab.file.read_text(encoding="utf-8")
    head, tail = text.split("\n# What Packstack installs")
    lab.file.write_text(f"{head}{SECOND_COMPUTE}\n# What Packstack installs{tail}")
    as_root(
        lab,
        "controller",
        "sed -i 's/^CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO=.*/CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO=2.0/' "
        "/var/lib/labkit/answers.cfg",
    )

    seconds = UP_SECONDS + DEPLOY_SECONDS
    report = json.loads(lab.run("add-compute", "second", "--json", timeout=seconds).stdout)

    assert report["verification"]["passed"]
    assert report["run_id"] != deployed["run_id"]
    nodes = {item["node"] for item in report["verification"]["results"]}
    assert nodes == {"controller", "compute", "second"}
    for node in ("compute", "second"):
        assert as_root(lab, node, "ovs-vsctl show").count("type: vxlan") == len(nodes) - 1
    hosts = as_root(lab, "controller", "su -s /bin/sh nova -c 'nova-manage cell_v2 list_hosts'")
    assert "second.packstack.test" in hosts
    changed = {item["node"]: item["changed"] for item in report["prepared"]}
    # What was there is left alone, except for the new node's name.
    assert set(changed["compute"]) <= {"hosts"}
    assert passwords(lab) == before
    (notice,) = (text for text in report["notices"] if "by hand" in text)
    assert "CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO" in notice
