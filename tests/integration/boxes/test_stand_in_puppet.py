"""The rehearsal box's stand-ins that the real Packstack calls on a host; no guest, no network."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from labkit.host.process import run
from tests.fakes.guest_root import ROOTFS, FakeGuestRoot
from tests.support.real_packstack import NEEDS_LIB2TO3, packstack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.integration

PUPPET = ROOTFS / "usr/lib/labkit/puppet"
HIERA = ROOTFS / "usr/lib/labkit/hiera"
QUEUE = "usr/lib/labkit/message-queue"
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
CONFIG_KEYSTONE_ADMIN_PW=it's "$HOME" `id` \\ # ; {x}
"""


@pytest.fixture
def guest(tmp_path: Path) -> FakeGuestRoot:
    return FakeGuestRoot.make(tmp_path / "root")


def bash(script: str, root: Path) -> str:
    env = {"PATH": os.defpath, "LABKIT_ROOT": str(root)}
    return run(["bash", "-c", f". {PUPPET}; {script}"], timeout=10, env=env).stdout


def hieradata(home: Path) -> Path:
    """Let Packstack write its data for Hiera, by a dry run, and return the file."""
    (home / "answers.cfg").write_text(MULTINODE, encoding="utf-8")
    outcome = packstack(home, f"--answer-file={home / 'answers.cfg'}", "--dry-run")
    assert outcome.returncode == 0, outcome.output
    (file,) = (home / "var").glob("2*/hieradata/common.yaml")
    return file


def assignments(file: Path) -> str:
    return run([sys.executable, HIERA, file], timeout=10).stdout


@NEEDS_LIB2TO3
def test_hiera_reads_what_packstack_wrote_and_nothing_of_it_is_run(tmp_path: Path) -> None:
    text = assignments(hieradata(tmp_path))
    keys = ("KEYSTONE_ADMIN_PW", "NEUTRON_OVS_BRIDGE_MAPPINGS", "NEUTRON_OVS_TUNNEL_SUBNETS")
    wanted = " ".join(f'"${{hiera[CONFIG_{key}]}}"' for key in keys)
    told = bash(f"{text}\nprintf '%s\\n' {wanted}", tmp_path).splitlines()
    assert told == ['it\'s "$HOME" `id` \\ #', "extnet:br-ex", ""]


@NEEDS_LIB2TO3
@pytest.mark.parametrize(
    ("host", "found"),
    [("172.16.208.39", "extnet:br-ex br-ex:enp0s3"), ("172.16.208.141", " ")],
    ids=["network", "compute"],
)
def test_host_gets_the_bridges_of_its_kind(host: str, found: str, tmp_path: Path) -> None:
    text = assignments(hieradata(tmp_path))
    script = f'{text}\nhost={host}; find_bridges; echo "$mappings $uplinks"'
    assert bash(script, tmp_path) == f"{found}\n"


def test_hiera_leaves_nested_data_out_and_joins_lists(tmp_path: Path) -> None:
    file = tmp_path / "common.yaml"
    data = {"LIST": ["a:b", "c"], "NESTED": {"x": 1}, "TRUTH": True, "EMPTY": [], "NUMBER": 4789}
    YAML(typ="safe", pure=True).dump(data, file)
    told = dict(line.split("=", 1) for line in assignments(file).splitlines())
    assert {key: shlex.split(value) for key, value in told.items()} == {
        "hiera[LIST]": ["a:b,c"],
        "hiera[TRUTH]": ["true"],
        "hiera[EMPTY]": [""],
        "hiera[NUMBER]": ["4789"],
    }


def ifcfg(root: Path, text: str, *, operstate: str = "up") -> list[str]:
    scripts = root / "etc/sysconfig/network-scripts"
    scripts.mkdir(parents=True)
    (scripts / "ifcfg-enp0s3").write_text(text)
    (root / "sys/class/net/enp0s3").mkdir(parents=True)
    (root / "sys/class/net/enp0s3/operstate").write_text(f"{operstate}\n")
    return bash("bridge_ifcfg br-ex enp0s3", root).splitlines()


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


def say(guest: FakeGuestRoot, line: str) -> list[str]:
    """Say a line to the message queue and return its answer."""
    return guest.run(QUEUE, stdin=f"{line}\n").stdout.splitlines()


def hosts(guest: FakeGuestRoot) -> Mapping[str, list[str]]:
    text = (guest.path / "var/lib/labkit-stand-in/hosts").read_text()
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()}


def messages(guest: FakeGuestRoot) -> set[str]:
    file = guest.path / "messages.log"
    return set(file.read_text().splitlines()) if file.exists() else set()


def test_message_queue_remembers_roles_and_tells_each_other_host_a_new_end(
    guest: FakeGuestRoot,
) -> None:
    assert say(guest, "172.16.208.39 one.lab - controller") == ["done"]
    assert say(guest, "172.16.208.39 one.lab 10.0.0.39 network,lbaas") == ["done"]
    assert say(guest, "172.16.208.141 two.lab 10.0.0.141 compute") == ["10.0.0.39", "done"]
    assert say(guest, "172.16.208.142 three.lab 10.0.0.142 compute") == [
        "10.0.0.141",
        "10.0.0.39",
        "done",
    ]
    assert hosts(guest) == {
        "172.16.208.39": ["one.lab", "10.0.0.39", "network,lbaas,controller"],
        "172.16.208.141": ["two.lab", "10.0.0.141", "compute"],
        "172.16.208.142": ["three.lab", "10.0.0.142", "compute"],
    }
    assert messages(guest) == {
        "172.16.208.39 peers 10.0.0.141",
        "172.16.208.39 peers 10.0.0.141 10.0.0.142",
        "172.16.208.141 peers 10.0.0.142 10.0.0.39",
    }


def test_message_queue_tells_nobody_what_is_known(guest: FakeGuestRoot) -> None:
    for line in ("192.0.2.1 one.lab 10.0.0.1 network", "192.0.2.2 two.lab 10.0.0.2 compute"):
        say(guest, line)
    (guest.path / "messages.log").unlink()
    assert say(guest, "192.0.2.2 two.lab 10.0.0.2 compute") == ["10.0.0.1", "done"]
    assert say(guest, "192.0.2.1 one.lab - controller") == ["10.0.0.2", "done"]
    assert not messages(guest)


@pytest.mark.parametrize(
    "line",
    ["", "x", "1.2.3.4 $(id) - network", "1.2.3.4 a 5;6 network", "1.2.3.4 a - a\tb", "é a - b"],
)
def test_message_queue_keeps_nothing_of_a_line_it_does_not_know(
    guest: FakeGuestRoot, line: str
) -> None:
    assert say(guest, line) == []
    assert not (guest.path / "var/lib/labkit-stand-in/hosts").exists()


@pytest.mark.parametrize(
    ("line", "called"),
    [
        (
            "status neutron-l3-agent openstack-nova-compute",
            "is-active neutron-l3-agent openstack-nova-compute",
        ),
        ("peers 10.0.0.1 10.0.0.2", "peers 10.0.0.1 10.0.0.2"),
        ("peers", "peers"),
        ("status", ""),
        ("status --help", ""),
        ("status a;id", ""),
        ("peers $(id)", ""),
        ("peers 10.0.0", ""),
        ("stop neutron-l3-agent", ""),
        ("", ""),
    ],
)
def test_host_messages_are_states_and_peers_alone(
    guest: FakeGuestRoot, line: str, called: str
) -> None:
    for tool in ("usr/bin/systemctl", "usr/lib/labkit/openvswitch-agent"):
        (guest.path / tool).write_text('#!/bin/bash\necho "$@"\n')
        (guest.path / tool).chmod(0o755)
    assert guest.run("usr/lib/labkit/host-messages", stdin=f"{line}\n").stdout.strip() == called
