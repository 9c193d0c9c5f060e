"""The rehearsal box's stand-in packstack, run by hand in the document's lab: what it does to real nodes.

The tests run in the order they are written; one boot serves all of them.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

import pytest

from labkit.errors import CommandError
from labkit.retry import Deadline, NotYet, wait_until
from tests.e2e.driver import ROOT, UP_SECONDS, Lab, require_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(UP_SECONDS)]

PACKSTACK_SECONDS = 180.0
DONE = re.compile(r"^(.+?)\s*\[ (DONE|ERROR) \]$", re.MULTILINE)
ESCAPES = re.compile(r"\x1b\[[0-9;]*m|\r")
CONTROLLER, COMPUTE = "172.16.208.39", "172.16.208.141"
TUNNEL_ENDS = {"controller": "172.16.208.138", "compute": "172.16.208.150"}
SCRIPTS = "/etc/sysconfig/network-scripts"
ANSWERS = f"""\
[general]
CONFIG_PROVISION_DEMO=n
CONFIG_CONTROLLER_HOST={CONTROLLER}
CONFIG_COMPUTE_HOSTS={COMPUTE}
CONFIG_NETWORK_HOSTS={CONTROLLER}
CONFIG_STORAGE_HOST={CONTROLLER}
CONFIG_SAHARA_HOST={CONTROLLER}
CONFIG_AMQP_HOST={CONTROLLER}
CONFIG_MARIADB_HOST={CONTROLLER}
CONFIG_REDIS_HOST={CONTROLLER}
CONFIG_NTP_SERVERS=
CONFIG_LBAAS_INSTALL=y
CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS=extnet:br-ex
CONFIG_NEUTRON_OVS_BRIDGE_IFACES=br-ex:enp0s3
CONFIG_NEUTRON_OVS_TUNNEL_IF=enp0s8
CONFIG_NEUTRON_OVS_TUNNEL_SUBNETS=172.16.208.0/24
"""
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
# What a node's preparation does, as far as the stand-in packstack depends on it.
PREPARE = """\
set -e
systemctl disable --quiet --now firewalld NetworkManager
sed -i -E -e 's/^mirrorlist=/#&/' \
  -e 's|^#baseurl=http://mirror.centos.org/centos/.releasever|baseurl=http://127.0.0.1:8088/centos/7.9.2009|' \
  /etc/yum.repos.d/CentOS-Base.repo
yum -y install centos-release-openstack-queens
echo centos >/etc/yum/vars/contentdir
sed -i 's|http://mirror.centos.org/.contentdir/.releasever|http://127.0.0.1:8088/centos/7.9.2009|' \
  /etc/yum.repos.d/*.repo
yum -y update
yum -y install openstack-packstack python-setuptools
"""
PORT = """\
ovs-vsctl --may-exist add-port br-int probe -- set interface probe type=internal
ip address replace 10.99.0.{number}/24 dev probe
ip link set dev probe up
"""


def as_root(lab: Lab, node: str, script: str, *, code: int = 0) -> str:
    return lab.run("ssh", node, f"sudo bash -c {shlex.quote(script)}", code=code).stdout


def ask(lab: Lab, node: str, command: str) -> str:
    """Ask a node that may be away for a moment; a connection it left open does not hold us up."""
    try:
        result = lab.attempt("ssh", node, command, timeout=15)
    except CommandError as exc:
        raise NotYet(exc.message) from exc
    if result.returncode != 0:
        msg = f"{result.stdout}{result.stderr}"
        raise NotYet(msg)
    return result.stdout


def run_packstack(lab: Lab, *, switches: str = "") -> tuple[int, str]:
    """Run it as a unit of its own, as a deployment does, and wait through the loss of the network."""
    script = (
        "export PYTHONUNBUFFERED=1; packstack --answer-file=/root/answers.cfg >/root/output 2>&1; "
        "echo $? >/root/status.new; mv /root/status.new /root/status"
    )
    start = (
        f"mkdir -p /etc/labkit-stand-in.d; echo '{switches}' >/etc/labkit-stand-in.d/packstack.conf; "
        "rm -f /root/status; systemctl reset-failed standin 2>/dev/null; "
        f"systemd-run --quiet --unit=standin bash -c {shlex.quote(script)}"
    )
    as_root(lab, "controller", start)

    def check() -> None:
        ask(lab, "controller", "sudo cat /root/status")

    wait_until(check, what="packstack's end", deadline=Deadline.after(PACKSTACK_SECONDS))
    status, output = as_root(lab, "controller", "cat /root/status /root/output").split("\n", 1)
    return int(status), ESCAPES.sub("", output)


def ports(lab: Lab, node: str) -> str:
    return as_root(lab, node, "ovs-vsctl show")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    require_sandbox()
    file = tmp_path_factory.mktemp("standin") / "lab.yaml"
    file.write_bytes((ROOT / "lab.yaml").read_bytes())
    found = Lab(file=file, name="packstack")
    found.up("--box", "rehearsal")
    key = as_root(
        found,
        "controller",
        "mkdir -p -m 700 /root/.ssh; ls /root/.ssh/id_rsa >/dev/null 2>&1 || "
        "ssh-keygen -q -t rsa -N '' -f /root/.ssh/id_rsa; cat /root/.ssh/id_rsa.pub",
    )
    trust = f"mkdir -p -m 700 /root/.ssh; echo '{key.strip()}' >>/root/.ssh/authorized_keys"
    for node in TUNNEL_ENDS:
        as_root(found, node, trust)
    yield found
    found.run("destroy")


def test_yum_with_the_stock_repositories_fails_as_since_2024(lab: Lab) -> None:
    script = "yum -y update 2>&1; echo $?; type packstack 2>&1"
    output = as_root(lab, "compute", script, code=1)
    assert "Could not resolve host: mirrorlist.centos.org" in output
    assert output.splitlines()[-2] == "1"


def test_preparation_by_hand_brings_packstack(lab: Lab) -> None:
    output = as_root(lab, "controller", PREPARE + "type packstack")
    assert "packstack is /usr/bin/packstack" in output
    as_root(lab, "compute", PREPARE.replace("openstack-packstack", ""))


@pytest.fixture(scope="module")
def first_run(lab: Lab) -> tuple[int, str]:
    as_root(lab, "controller", f"umask 077; cat >/root/answers.cfg <<'END'\n{ANSWERS}END")
    return run_packstack(lab)


def test_first_run_prints_every_step_and_ends_well(lab: Lab, first_run: tuple[int, str]) -> None:
    status, output = first_run
    log = as_root(lab, "controller", "cat /var/tmp/packstack/latest/openstack-setup.log")
    assert status == 0, f"{output}\n{log}"
    steps = [step for step, _ in DONE.findall(output)]
    assert len(steps) == 42 + 3  # without NTP; three manifests
    assert f"{CONTROLLER}_network.pp:" in steps
    assert steps[-1] == "Finalizing"
    assert "**** Installation completed successfully ******" in output
    assert "Warning: NetworkManager" not in output
    answers = as_root(lab, "controller", "stat -c %a /root/answers.cfg; cat /root/answers.cfg")
    assert answers.startswith("600\n")
    assert answers.count("\nCONFIG_") + answers.count("\nEXCLUDE_SERVERS") == 316


def test_external_card_is_a_port_of_br_ex_with_the_documents_files(
    lab: Lab, first_run: tuple[int, str]
) -> None:
    assert first_run[0] == 0
    assert as_root(lab, "controller", f"cat {SCRIPTS}/ifcfg-br-ex") == IFCFG_BR_EX
    assert as_root(lab, "controller", f"cat {SCRIPTS}/ifcfg-enp0s3") == IFCFG_ENP0S3
    addresses = as_root(lab, "controller", "ip -4 -br address")
    assert re.search(r"^br-ex .*172\.16\.208\.39/24", addresses, re.MULTILINE)
    assert not re.search(r"^enp0s3 .*172\.16", addresses, re.MULTILINE)


@pytest.mark.parametrize("node", list(TUNNEL_ENDS))
def test_tunnel_ports_are_those_neutron_makes(
    lab: Lab, first_run: tuple[int, str], node: str
) -> None:
    assert first_run[0] == 0
    local = TUNNEL_ENDS[node]
    (remote,) = (end for end in TUNNEL_ENDS.values() if end != local)
    name = "vxlan-" + "".join(f"{int(octet):02x}" for octet in remote.split("."))
    seen = ports(lab, node)
    assert re.search(rf'Port "?{name}"?\n', seen), seen
    options = f'{{df_default="true", in_key=flow, local_ip="{local}", out_key=flow, remote_ip="{remote}"}}'
    assert options in seen
    assert seen.count("vxlan-") == 2  # one port and its interface
    for patch in ("patch-tun", "patch-int"):
        assert f"Port {patch}\n" in seen
    assert ("int-br-ex" in seen) == (node == "controller")
    assert "vxlan_sys_4789" in as_root(lab, node, "ip link show vxlan_sys_4789")


def sent_through_tunnel(lab: Lab) -> int:
    # Not the statistics in the database: they are up to five seconds old.
    seen = as_root(lab, "controller", "ovs-ofctl dump-ports br-tun vxlan-ac10d096")
    return int(seen.split("tx pkts=")[1].split(",")[0])


def test_packet_crosses_the_tunnel_from_controller_to_compute(
    lab: Lab, first_run: tuple[int, str]
) -> None:
    assert first_run[0] == 0
    for number, node in enumerate(TUNNEL_ENDS, start=1):
        as_root(lab, node, PORT.format(number=number))
    before = sent_through_tunnel(lab)
    assert " 5 received" in as_root(lab, "controller", "ping -c 5 -i 0.5 -w 20 10.99.0.2")
    assert sent_through_tunnel(lab) >= before + 5


def test_services_answer_as_the_verifier_asks(lab: Lab, first_run: tuple[int, str]) -> None:
    assert first_run[0] == 0
    status = as_root(
        lab, "controller", "systemctl status --no-pager neutron-lbaasv2-agent.service"
    )
    assert "Active: active (running)" in status
    assert "stand-in" in status

    def listed(command: str) -> list[dict[str, object]]:
        script = f". /root/keystonerc_admin; openstack {command} -f json"
        found: list[dict[str, object]] = json.loads(as_root(lab, "controller", script))
        return found

    services = {
        (row["Binary"], row["Host"], row["State"]) for row in listed("compute service list")
    }
    assert ("nova-compute", "compute.packstack.test", "up") in services
    assert len(services) == 4
    (hypervisor,) = listed("hypervisor list")
    assert hypervisor["Hypervisor Hostname"] == "compute.packstack.test"
    assert (hypervisor["Host IP"], hypervisor["State"]) == (COMPUTE, "up")
    agents = {(row["Binary"], row["Host"]) for row in listed("network agent list") if row["Alive"]}
    assert ("neutron-lbaasv2-agent", "controller.packstack.test") in agents
    assert ("neutron-openvswitch-agent", "compute.packstack.test") in agents
    rest = as_root(
        lab,
        "controller",
        ". /root/keystonerc_admin; openstack token issue -c expires -c user_id -f json; "
        "su -s /bin/sh nova -c 'nova-manage cell_v2 list_hosts'; "
        "for path in :5000/v3/ /dashboard/; do "
        f"curl -sS -L -o /dev/null -w '%{{http_code}}\\n' http://{CONTROLLER}$path; done",
    )
    assert json.loads(rest[: rest.index("}") + 1]).keys() == {"expires", "user_id"}
    assert re.search(r"^\|.*\| compute\.packstack\.test +\|$", rest, re.MULTILINE)
    assert rest.splitlines()[-2:] == ["200", "200"]


def test_service_that_stops_is_reported_down(lab: Lab, first_run: tuple[int, str]) -> None:
    assert first_run[0] == 0
    as_root(lab, "compute", "systemctl stop openstack-nova-compute")
    script = "sleep 4; . /root/keystonerc_admin; openstack hypervisor list -f json"
    assert json.loads(as_root(lab, "controller", script))[0]["State"] == "down"
    as_root(lab, "compute", "systemctl start openstack-nova-compute")


def test_second_run_with_the_same_answers_changes_nothing(
    lab: Lab, first_run: tuple[int, str]
) -> None:
    assert first_run[0] == 0
    look = (
        # Without Packstack's own flaws: keys of groups that are off start from their defaults again.
        "ovs-vsctl --columns=_uuid,name list port; "
        "grep -vE '(HEAT_AUTH_ENC_KEY|STORAGE_HOST|SAHARA_HOST|LDAP_URL)=' /root/answers.cfg; "
        f"cat {SCRIPTS}/ifcfg-*; systemctl show -p MainPID neutron-openvswitch-agent"
    )
    before = as_root(lab, "controller", look)
    status, output = run_packstack(lab)
    assert status == 0, output
    assert as_root(lab, "controller", look) == before


def test_known_failure_ends_in_its_step_and_its_words(
    lab: Lab, first_run: tuple[int, str]
) -> None:
    assert first_run[0] == 0
    status, output = run_packstack(lab, switches="FAIL=missing-package")
    assert status == 1
    assert DONE.findall(output)[-2:] == [
        (f"{CONTROLLER}_controller.pp:", "ERROR"),
        ("Applying Puppet manifests", "ERROR"),
    ]
    assert "Package openstack-nova-api has not been found in enabled Yum repos." in output


def test_compute_after_a_reboot_has_its_tunnel_again(lab: Lab, first_run: tuple[int, str]) -> None:
    assert first_run[0] == 0
    before = as_root(lab, "compute", "cat /proc/sys/kernel/random/boot_id")
    as_root(lab, "compute", "systemd-run --quiet --on-active=1 systemctl reboot")
    look = (
        "sudo ovs-vsctl --timeout=5 show && ip link show vxlan_sys_4789 && "
        "cat /proc/sys/kernel/random/boot_id"
    )

    def check() -> None:
        seen = ask(lab, "compute", look)
        if before in seen or "vxlan-ac10d08a" not in seen:
            raise NotYet(seen)

    wait_until(check, what="the tunnel", deadline=Deadline.after(PACKSTACK_SECONDS))
    as_root(lab, "compute", PORT.format(number=2))
    # -c with -w: until three answers have come, or 30 s; the flows may still be on their way.
    assert " 3 received" in as_root(lab, "controller", "ping -c 3 -i 0.5 -w 30 10.99.0.2")
