"""Guests that do not come up: paused, killed, or given a damaged seed; and two labkits at once."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from labkit.waiting import Deadline, NotYet, wait_until
from tests.support.driver import (
    POOL_PATH,
    UP_SECONDS,
    Inventory,
    Lab,
    domain_state,
    inventory,
    processes,
    virsh,
    write_lab,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(UP_SECONDS)]


def is_running() -> bool:
    return domain_state("small_one") == "running"


def test_guest_that_never_answers_names_the_layer_and_its_console(
    before: Inventory, tmp_path: Path
) -> None:
    # On a busy host the firmware takes a quarter of a minute to its first word.
    lab = write_lab(tmp_path, "small", 1, LABKIT_BOOT_SECONDS="45")
    with lab.started("up") as running:
        running.until(is_running, "running")
        # The firmware has said something by now, the guest has not got to its first boot.
        console = lab.directory / "logs" / "one.console.log"
        running.until(lambda: console.stat().st_size, "a first line on the console")
        virsh("suspend", "small_one")
        output = running.output()

    assert running.child.returncode == 4
    assert "node 'one': its first boot's report, which did not come" in output
    assert "the domain is paused" in output
    assert "Last lines of its console:" in output
    assert str(console) in output
    assert "Traceback" not in output
    lab.run("destroy")
    assert inventory() == before


def test_qemu_killed_while_booting_ends_up_at_once(lab: Lab, before: Inventory) -> None:
    with lab.started("up") as running:
        running.until(is_running, "running")
        (qemu,) = processes("qemu-system-x86_64")
        os.kill(qemu, signal.SIGKILL)
        # Vagrant still ends what it was doing; a boot's time limit is 15 minutes.
        output = running.child.communicate(timeout=60)[0]

    assert running.child.returncode == 4
    assert "The domain of node 'one' stopped while it was starting." in output
    lab.run("destroy")
    assert inventory() == before


def test_damaged_seed_is_reported_in_the_guests_own_words(lab: Lab, before: Inventory) -> None:
    seed = POOL_PATH / "small_one_seed.iso"
    with lab.started("up") as running:
        running.until((lab.directory / "vagrant" / "gate").exists, "gate")
        content = seed.read_bytes()
        assert b"DEVICE=enp0s3" in content
        seed.write_bytes(content.replace(b"DEVICE=enp0s3", b"DEVICE=enp0s4"))
        output = running.child.communicate(timeout=UP_SECONDS)[0]

    assert running.child.returncode == 4
    assert "labkit-firstboot failed in node 'one'" in output
    assert "ifcfg-enp0s3" in output
    assert "Last lines of its console:" in output
    lab.run("destroy")
    assert inventory() == before


def test_second_labkit_on_one_lab_says_who_holds_it(lab: Lab, before: Inventory) -> None:
    with lab.started("up") as running:
        running.until(is_running, "running")
        for verb in ("up", "halt", "destroy"):
            refused = lab.run(verb, code=4)
            assert "Another labkit is working on the lab 'small'." in refused.stderr
            assert f"'labkit up', process {running.child.pid}, since 20" in refused.stderr
        # Looking is not working: it needs no lock.
        assert lab.status()[0]["state"] == "running"
        running.kill()
    # A killed holder leaves its note behind, not its lock.
    lab.run("destroy")
    assert inventory() == before


def test_boot_limit_that_is_no_number_is_refused(before: Inventory, tmp_path: Path) -> None:
    lab = write_lab(tmp_path, "small", 1, LABKIT_BOOT_SECONDS="soon")
    assert "LABKIT_BOOT_SECONDS is 'soon'" in lab.up(code=2).stderr
    lab.run("destroy")
    assert inventory() == before


def test_halt_by_force_cuts_the_power_of_a_booting_guest(lab: Lab, before: Inventory) -> None:
    with lab.started("up") as running:
        running.until(is_running, "running")
        running.kill()
    halted = lab.run("halt", "--force", timeout=UP_SECONDS)
    assert "powered off" in halted.stdout

    def off() -> None:
        if domain_state("small_one") != "shut off":
            raise NotYet

    wait_until(off, what="the domain to be off", deadline=Deadline.after(5))
    lab.run("destroy")
    assert inventory() == before
