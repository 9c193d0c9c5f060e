"""The rehearsal box itself, booted without libvirt or Vagrant: its contract and its speed."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from typing import cast

import pytest

from labkit.boxes.build import build
from labkit.boxes.definition import find_box
from labkit.errors import HostError
from labkit.host.files import cache_root
from labkit.host.process import run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

SPEED_LIMIT = 0.55  # of the untrimmed guest's time to SSH


def ready(*names: str) -> None:
    """Build what is not cached; skip where nothing can be built or booted."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root: run 'sudo make test'")
    missing = [t for t in ("qemu-system-x86_64", "unshare", "genisoimage") if not shutil.which(t)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; run 'make setup'")
    for name in names:
        try:
            build(find_box(name), cache_root(), lambda _line: None)
        except HostError as exc:
            pytest.skip(f"{exc.message} {exc.hint}")


def inside(*arguments: str) -> object:
    module = [sys.executable, "-m", "tests.support.bare_guest"]
    done = run(["unshare", "--net", "--", *module, *arguments], timeout=900)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen() -> dict[str, str]:
    ready("rehearsal")
    return cast("dict[str, str]", inside("look", "rehearsal"))


def test_guest_with_seed_runs_without_failed_units(seen: dict[str, str]) -> None:
    assert (seen["failed"], seen["state"]) == ("", "running")


def test_guest_has_the_lab_files_names_and_addresses(seen: dict[str, str]) -> None:
    macs = ("52:54:00:00:00:03", "52:54:00:00:00:08")
    assert tuple(seen["macs"].split()) == macs
    assert ["enp0s3", "UP", "172.16.208.39/24"] in map(str.split, seen["addresses"].splitlines())
    assert ["enp0s8", "UP", "172.16.208.138/24"] in map(str.split, seen["addresses"].splitlines())
    assert "default via 172.16.208.254 dev enp0s3" in seen["routes"]
    assert seen["hostname"] == "controller.lab"
    assert seen["second_nic"] == "controller.lab"  # SSH, host key checked, over the other NIC
    assert seen["rp_filter"] == "2"


def test_guest_says_that_it_is_a_stand_in(seen: dict[str, str]) -> None:
    assert "stand-in" in seen["variant"]
    assert "not CentOS" in seen["variant"]


def test_guest_has_no_host_key_but_the_seeds(seen: dict[str, str]) -> None:
    keys = [name for name in seen["keys"].split() if name.startswith("ssh_host_")]
    assert keys == ["ssh_host_ed25519_key"]


def test_seed_that_a_killed_firstboot_left_mounted_is_gone_after_the_next(
    seen: dict[str, str],
) -> None:
    (report,) = seen["left_seeds"].splitlines()
    assert report.startswith("labkit-firstboot: unchanged ")


def test_guest_starts_openvswitch_when_an_ifcfg_asks_for_it(seen: dict[str, str]) -> None:
    assert seen["openvswitch"] == "inactive"
    bridge = next(line for line in seen["ovs_addresses"].splitlines() if line.startswith("br-ex"))
    assert "172.16.208.39/24" in bridge
    assert "default via 172.16.208.254" in seen["ovs_routes"]
    assert seen["ovs"].split() == ["enp0s3", "standalone"]


def test_guest_powers_off_on_the_power_button(seen: dict[str, str]) -> None:
    assert seen["button"] == "0"


def test_guest_after_reboot_keeps_its_ovs_bridge_and_its_seed(seen: dict[str, str]) -> None:
    assert seen["again_state"] == "running"
    assert "br-ex" in seen["again_addresses"]
    assert seen["port"].startswith("labkit-firstboot: unchanged ")
    assert "labkit-firstboot: unchanged " in seen["console"]


@pytest.mark.long
def test_guest_trimmed_answers_ssh_sooner_than_untrimmed() -> None:
    names = ("rehearsal", "rehearsal-untrimmed")
    ready(*names)
    trimmed, untrimmed = cast("list[list[float]]", inside("measure", *names))
    ratio = statistics.mean(trimmed) / statistics.mean(untrimmed)
    assert ratio <= SPEED_LIMIT, f"{trimmed} against {untrimmed} s"
