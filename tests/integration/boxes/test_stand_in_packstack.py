"""The rehearsal box's stand-in packstack: options, answer files, what it prints; no guest, no network."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import run
from tests.fakes.guest_root import ROOTFS, FakeGuestRoot

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

OPTIONS = ROOTFS / "usr/lib/labkit/packstack/options"
NODE = ROOTFS / "usr/lib/labkit/packstack-node"
MULTINODE = """\
[general]
CONFIG_PROVISION_DEMO=n
CONFIG_CONTROLLER_HOST=172.16.208.39
CONFIG_NETWORK_HOSTS=172.16.208.39
CONFIG_COMPUTE_HOSTS=172.16.208.141,172.16.208.142
CONFIG_AMQP_HOST=172.16.208.39
CONFIG_MARIADB_HOST=172.16.208.39
CONFIG_REDIS_HOST=172.16.208.39
CONFIG_NEUTRON_OVS_BRIDGE_IFACES=br-ex:enp0s3
CONFIG_NEUTRON_OVS_TUNNEL_IF=enp0s8
CONFIG_NEUTRON_OVS_TUNNEL_SUBNETS=10.0.0.0/24
"""


@pytest.fixture
def guest(tmp_path: Path) -> FakeGuestRoot:
    return FakeGuestRoot.make(tmp_path / "root")


@pytest.fixture
def answers(guest: FakeGuestRoot) -> Path:
    file = guest.path / "answers.cfg"
    file.write_text(MULTINODE)
    return file


def values(file: Path) -> dict[str, str]:
    lines = (line for line in file.read_text().splitlines() if line and line[0] not in "#[")
    return dict(line.split("=", 1) for line in lines)


def test_parameters_are_packstacks_316_with_287_options() -> None:
    rows = [line.split("\t") for line in OPTIONS.read_text().splitlines() if line[0] != "#"]
    assert len({row[0] for row in rows}) == len(rows) == 316
    assert len([row for row in rows if row[1] != "-"]) == 287
    assert {len(row) for row in rows} == {9}
    assert len([row for row in rows if row[6] != "-"]) == 43


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--allinone", "--answer-file=/a"), "Please use either --allinone or --answer-file"),
        (("--answer-file=/a", "--provision-demo=n"), "is mutually exclusive to all other"),
        (("--answer-file", "/a", "--install-hosts", "192.0.2.1"), "is mutually exclusive"),
        (("--no-such-thing",), "no such option: --no-such-thing"),
        (("--answer-file",), "--answer-file option requires an argument"),
        (("--timeout=soon", "--allinone"), "invalid integer value: 'soon'"),
    ],
)
def test_option_error_ends_with_2_and_text_on_stderr(
    guest: FakeGuestRoot, arguments: tuple[str, ...], text: str
) -> None:
    result = guest.packstack(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "\npackstack: error: " in result.stderr
    assert text in result.stderr


def test_run_prints_the_protocol_in_its_order(guest: FakeGuestRoot, answers: Path) -> None:
    result = guest.packstack(f"--answer-file={answers}", PYTHONUNBUFFERED="1")
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert lines[:2] == ["Welcome to the Packstack setup utility", ""]
    assert re.fullmatch(
        r"The installation log file is available at: "
        r"/var/tmp/packstack/\d{8}-\d{6}-[0-9a-f]+/openstack-setup\.log",
        lines[2],
    )
    assert "Installing:" in lines
    done = [line for line in result.stdout.split("\n") if "\x1b[32mDONE\x1b[0m" in line]
    assert len(done) == 42 + 4
    clean_up = done[0]
    assert clean_up == "Clean Up".ljust(53) + "[ \x1b[32mDONE\x1b[0m ]"
    assert len(clean_up) == 70
    long = "Fixing Keystone LDAP config parameters to be undef if empty"
    assert f"{long}[ \x1b[32mDONE\x1b[0m ]" in done
    assert "\r172.16.208.39_network.pp:".ljust(54) + "[ \x1b[32mDONE\x1b[0m ]" in done
    text = result.stdout
    marks = [
        "Applying 172.16.208.39_controller.pp\n\r172.16.208.39_controller.pp:",
        "Applying 172.16.208.39_network.pp\n\r172.16.208.39_network.pp:",
        "Applying 172.16.208.141_compute.pp\nApplying 172.16.208.142_compute.pp\n\r",
        "\nApplying Puppet manifests ",
        "\nFinalizing ",
        "\n **** Installation completed successfully ******\n",
        "\nAdditional information:\n * ",
        " * The generated manifests are available at: /var/tmp/packstack/",
    ]
    found = [text.index(mark) for mark in marks]
    assert found == sorted(found)


def test_run_through_a_pipe_holds_the_applying_line_back(
    guest: FakeGuestRoot, answers: Path
) -> None:
    buffered = guest.packstack(f"--answer-file={answers}").stdout
    # Nothing is lost; it only comes together with the line that ends it.
    assert buffered.count("\nApplying 172.16.208.") == 4


def test_answer_file_is_made_anew_with_all_keys_for_its_owner_alone(
    guest: FakeGuestRoot, answers: Path
) -> None:
    answers.write_text(f"{MULTINODE}CONFIG_NO_SUCH_KEY=1\nCONFIG_PROVISION_DEMO_FLOATRANGE=x\n")
    answers.chmod(0o644)
    guest.packstack(f"--answer-file={answers}")
    seen = values(answers)
    assert len(seen) == 316
    assert stat.S_IMODE(answers.stat().st_mode) == 0o600
    assert "CONFIG_NO_SUCH_KEY" not in seen
    assert seen["CONFIG_PROVISION_DEMO_FLOATRANGE"] == "172.24.4.0/24"
    assert seen["CONFIG_SERVICE_WORKERS"] == "%{::processorcount}"
    assert re.fullmatch("[0-9a-f]{16}", seen["CONFIG_KEYSTONE_ADMIN_PW"])
    assert seen["CONFIG_MAGNUM_DB_PW"] == "PW_PLACEHOLDER"  # magnum is not installed


def test_second_run_keeps_every_password(guest: FakeGuestRoot, answers: Path) -> None:
    guest.packstack(f"--answer-file={answers}")
    first = values(answers)
    guest.packstack(f"--answer-file={answers}")
    second = values(answers)
    changed = {key for key in first if first[key] != second[key]}
    assert changed == {"CONFIG_HEAT_AUTH_ENC_KEY"}  # Packstack's own flaw while heat is off


def test_command_line_scenario_writes_the_documents_answers(guest: FakeGuestRoot) -> None:
    result = guest.packstack(
        "--allinone",
        "--provision-demo=n",
        "--os-neutron-ovs-bridge-mappings=extnet:br-ex",
        "--os-neutron-ovs-bridge-interfaces",
        "br-ex:enp0s3",
        "--os-neutron-ml2-type-drivers=vxlan,flat",
        "--os-neutron-lbaas-install=y",
    )
    assert result.returncode == 0, result.stdout
    (file,) = (guest.path / "root").glob("packstack-answers-*.txt")
    assert f" * A new answerfile was created in: /root/{file.name}\n" in result.stdout
    seen = values(file)
    assert seen["CONFIG_COMPUTE_HOSTS"] == seen["CONFIG_NETWORK_HOSTS"] == "172.16.208.39"
    assert seen["CONFIG_NEUTRON_OVS_BRIDGE_IFACES"] == "br-ex:enp0s3"
    assert seen["CONFIG_LBAAS_INSTALL"] == "y"


def test_install_hosts_makes_the_first_controller_and_the_others_computes(
    guest: FakeGuestRoot,
) -> None:
    guest.packstack("--install-hosts=192.0.2.1,192.0.2.2,192.0.2.3", "--default-password=secret")
    (file,) = (guest.path / "root").glob("packstack-answers-*.txt")
    seen = values(file)
    assert seen["CONFIG_CONTROLLER_HOST"] == seen["CONFIG_NETWORK_HOSTS"] == "192.0.2.1"
    assert seen["CONFIG_COMPUTE_HOSTS"] == "192.0.2.2,192.0.2.3"
    assert seen["CONFIG_NOVA_DB_PW"] == "secret"


def test_validate_answer_file_names_unknown_keys(guest: FakeGuestRoot, answers: Path) -> None:
    assert guest.packstack(f"--validate-answer-file={answers}").returncode == 0
    answers.write_text(f"{MULTINODE}CONFIG_BOGUS=1\n")
    result = guest.packstack(f"--validate-answer-file={answers}")
    assert result.returncode == 1
    assert "ERROR : Found unexpected answerfile options ['CONFIG_BOGUS']" in result.stdout


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("CONFIG_PROVISION_DEMO=n\n", "File contains no section headers."),
        ("[general]\nCONFIG_ADMIN=%(user)s\nCONFIG_KEYSTONE_ADMIN_EMAIL=%(x)s\n", "Bad value"),
        ("[general]\nCONFIG_NOVA_INSTALL=bogus\n", "allowed values ['y', 'n']: bogus"),
        ("[general]\nCONFIG_NEUTRON_INSTALL=n\n", "neutron has to be installed"),
    ],
)
def test_answer_file_that_packstack_refuses_is_an_error_before_any_step(
    guest: FakeGuestRoot, answers: Path, text: str, error: str
) -> None:
    answers.write_text(text)
    result = guest.packstack(f"--answer-file={answers}")
    assert result.returncode == 1
    assert "\n\x1b[0;31mERROR : Failed handling answer file: " in result.stdout
    assert error in result.stdout
    assert "Installing:" not in result.stdout
    assert answers.read_text() == text


def test_answer_file_is_parsed_as_python_2_does(guest: FakeGuestRoot, answers: Path) -> None:
    answers.write_text(
        f"{MULTINODE}config_region = one\n"
        "config_keystone_region =  North ;a comment \nCONFIG_MYSQL_PW=old\n"
    )
    guest.packstack(f"--answer-file={answers}")
    seen = values(answers)
    assert seen["CONFIG_KEYSTONE_REGION"] == "North"
    assert seen["CONFIG_MARIADB_PW"] == "old"


def test_tunnel_nic_without_subnets_fails_as_with_todays_facter(
    guest: FakeGuestRoot, answers: Path
) -> None:
    text = MULTINODE.replace("CONFIG_NEUTRON_OVS_TUNNEL_SUBNETS=10.0.0.0/24\n", "")
    answers.write_text(text)
    result = guest.packstack(f"--answer-file={answers}")
    assert result.returncode == 1
    assert "Couldn't detect ipaddress of interface enp0s8 on node 172.16." in result.stdout
    assert "Preparing Neutron API entries".ljust(50) + "[ \x1b[0;31mERROR" in result.stdout


def test_host_without_the_key_fails_in_its_step(guest: FakeGuestRoot, answers: Path) -> None:
    (guest.path / "hosts/172.16.208.142.refuses").touch()
    result = guest.packstack(f"--answer-file={answers}")
    assert result.returncode == 1
    assert "Setting up ssh keys".ljust(50) + "[ \x1b[0;31mERROR" in result.stdout
    assert "Permission denied (publickey)." in result.stdout


@pytest.mark.parametrize(
    ("name", "step", "text"),
    [
        ("mirrorlist", "Preparing servers", "Could not resolve host: mirrorlist.centos.org"),
        ("leatherman", "Pre installing Puppet", "leatherman_curl.so.1.3.0"),
        ("no-space", "Copying Puppet modules", "No space left on device"),
        ("tunnel-if", "Preparing Neutron API", "Couldn't detect ipaddress of interface enp0s8"),
    ],
)
def test_known_failure_of_a_step_prints_what_packstack_prints(
    guest: FakeGuestRoot, answers: Path, name: str, step: str, text: str
) -> None:
    result = guest.packstack(f"--answer-file={answers}", switches=f"FAIL={name}\n")
    assert result.returncode == 1
    last = [line for line in result.stdout.splitlines() if "[ \x1b" in line][-1]
    assert last.startswith(step)
    assert "ERROR\x1b[0m ]" in last
    assert text in result.stdout
    assert "Please check log file /var/tmp/packstack/" in result.stdout
    assert "Additional information:" in result.stdout


def test_missing_setuptools_is_a_traceback_before_anything(guest: FakeGuestRoot) -> None:
    result = guest.packstack("--allinone", switches="FAIL=setuptools\n")
    assert (result.returncode, result.stdout) == (1, "")
    assert "Failed to load plugin from file ssl_001.py" in result.stderr


def test_error_in_a_manifest_names_it_and_its_first_line(
    guest: FakeGuestRoot, answers: Path
) -> None:
    log = "\x1b[mNotice: fine\x1b[0m\n\x1b[1;31mError: it broke\x1b[0m\nError: more\n"
    (guest.path / "hosts/172.16.208.141").write_text(log)
    result = guest.packstack(f"--answer-file={answers}")
    assert result.returncode == 1
    assert (
        "ERROR : Error appeared during Puppet run: 172.16.208.141_compute.pp\nError: it broke\n"
        "You will find full trace in log /var/tmp/packstack/"
    ) in result.stdout
    assert "Finalizing" not in result.stdout


def test_kernel_update_adds_a_bullet_per_host(guest: FakeGuestRoot, answers: Path) -> None:
    result = guest.packstack(f"--answer-file={answers}", switches="FAIL=kernel-reboot\n")
    assert result.returncode == 0
    assert (
        " * Because of the kernel update the host 172.16.208.141 requires reboot." in result.stdout
    )


def test_dry_run_applies_no_manifest(guest: FakeGuestRoot, answers: Path) -> None:
    result = guest.packstack(f"--answer-file={answers}", "--dry-run")
    assert result.returncode == 0
    assert "Applying 172" not in result.stdout
    assert "Applying Puppet manifests" in result.stdout


def test_hosts_are_told_every_tunnel_end_but_their_own(
    guest: FakeGuestRoot, answers: Path
) -> None:
    guest.packstack(f"--answer-file={answers}")
    # Later with one more compute node, the finished one left out of the work.
    text = MULTINODE.replace("142", "143").replace(
        "[general]\n", "[general]\nEXCLUDE_SERVERS=172.16.208.141\n"
    )
    answers.write_text(text)
    guest.packstack(f"--answer-file={answers}")
    hiera = (guest.path / "hosts/172.16.208.143_compute.pp").read_text()
    assert "LOCAL_IP=10.0.0.143\n" in hiera
    assert "PEERS=10.0.0.141\\ 10.0.0.142\\ 10.0.0.39\\ \n" in hiera


def test_run_files_are_private_and_latest_points_to_the_newest(
    guest: FakeGuestRoot, answers: Path
) -> None:
    guest.packstack(f"--answer-file={answers}")
    base = guest.path / "var/tmp/packstack"
    latest = base / (base / "latest").readlink()
    assert stat.S_IMODE((latest / "openstack-setup.log").stat().st_mode) == 0o600
    assert {path.name for path in (latest / "manifests").glob("*.pp")} == {
        "172.16.208.39_controller.pp",
        "172.16.208.39_network.pp",
        "172.16.208.141_compute.pp",
        "172.16.208.142_compute.pp",
    }
    log = (latest / "openstack-setup.log").read_text().splitlines()[0]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d::INFO::run_setup::\d+::root:: ", log)


def ifcfg(root: Path, text: str, *, operstate: str = "up") -> list[str]:
    scripts = root / "etc/sysconfig/network-scripts"
    scripts.mkdir(parents=True)
    (scripts / "ifcfg-enp0s3").write_text(text)
    (root / "sys/class/net/enp0s3").mkdir(parents=True)
    (root / "sys/class/net/enp0s3/operstate").write_text(f"{operstate}\n")
    argv = ["bash", "-c", f". {NODE}; bridge_ifcfg br-ex enp0s3"]
    env = {"PATH": os.defpath, "LABKIT_ROOT": str(root)}
    return run(argv, timeout=10, env=env).stdout.splitlines()


BRIDGE = [
    *("DEVICE=br-ex", "NAME=br-ex", "DEVICETYPE=ovs", "OVSBOOTPROTO=static", "TYPE=OVSBridge"),
    'OVS_EXTRA="set bridge br-ex fail_mode=standalone"',
]


def test_bridge_ifcfg_keeps_letter_keys_in_order_and_drops_the_others(tmp_path: Path) -> None:
    text = (
        "TYPE=Ethernet\nBOOTPROTO=static\nIPADDR=192.0.2.9\nIPADDR0=192.0.2.10\nDNS1=192.0.2.53\n"
        "HWADDR=52:54:00:00:00:01\nIPV6INIT=yes\nUUID=abc\nNAME=enp0s3\nDEVICE=enp0s3\nONBOOT=yes\n"
    )
    assert ifcfg(tmp_path, text) == ["IPADDR=192.0.2.9", "UUID=abc", "ONBOOT=yes", *BRIDGE]


def test_bridge_ifcfg_of_a_card_that_is_down_asks_for_dhcp(tmp_path: Path) -> None:
    lines = ifcfg(tmp_path, "IPADDR=192.0.2.9\n", operstate="down")
    assert "OVSBOOTPROTO=dhcp" in lines
    assert not [line for line in lines if line.startswith("IPADDR")]
