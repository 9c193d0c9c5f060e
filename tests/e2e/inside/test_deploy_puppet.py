"""A deployment whose bridge Puppet itself makes, by puppet-vswitch, from what Packstack wrote."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.deployed_guest import DEPLOY_SECONDS, ONE_NODE, SCRIPTS, as_root, deploy
from tests.support.driver import UP_SECONDS, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(UP_SECONDS + DEPLOY_SECONDS)]

LAB = ONE_NODE.replace("box: rehearsal\n", "box: rehearsal-puppet\n").replace("512 MiB", "1 GiB")
RUN = "/var/tmp/packstack/latest/manifests/10.77.9.11_network.pp.log"  # noqa: S108 -- Packstack's
BRIDGE = [
    'DEVICE=br-ex', 'DEVICETYPE=ovs', 'NAME=br-ex', 'OVSBOOTPROTO=static',
    'OVS_EXTRA="set bridge br-ex fail_mode=standalone"', 'TYPE=OVSBridge',
]  # fmt: skip
PORT = [
    "BOOTPROTO=none", "DEVICE=enp0s3", "DEVICETYPE=ovs", "NAME=enp0s3", "ONBOOT=yes",
    "OVS_BRIDGE=br-ex", "TYPE=OVSPort",
]  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    file = tmp_path_factory.mktemp("puppet") / "lab.yaml"
    file.write_text(LAB, encoding="utf-8")
    found = Lab(file=file, name="faulty")
    found.up()
    yield found
    found.run("destroy")


def test_puppet_makes_the_bridge_that_labkit_expects(lab: Lab) -> None:
    # What the card's file gives the bridge, and what puppet-vswitch leaves out.
    before = as_root(lab, "one", f"cat {SCRIPTS}/ifcfg-enp0s3").splitlines()
    kept = [
        line
        for line in before
        if re.match(r"[A-Za-z_]+=", line)
        and line.split("=")[0] not in {"DEVICE", "NAME", "TYPE", "HWADDR", "BOOTPROTO"}
    ]
    report = deploy(lab)
    assert report["verification"]["passed"]
    assert not report["mended"]
    log = re.sub(r"\x1b\[[0-9;]*m", "", as_root(lab, "one", f"cat {RUN}"))
    # In a class of its own, Main, which the stand-in does not print.
    assert "/Stage[main]/Main/Vs_port[enp0s3]/ensure: created" in log, log
    bridge = as_root(lab, "one", f"cat {SCRIPTS}/ifcfg-br-ex").splitlines()
    assert sorted(bridge) == sorted([*kept, *BRIDGE])
    assert sorted(as_root(lab, "one", f"cat {SCRIPTS}/ifcfg-enp0s3").splitlines()) == PORT
