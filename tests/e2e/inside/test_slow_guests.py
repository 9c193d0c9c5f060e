"""Guests that are slow to come up, each in its own way: `up` is patient, and says what it waits for."""

from __future__ import annotations

import contextlib
import subprocess  # noqa: TID251 -- processes that keep the host busy beside labkit
import sys
import time
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import run
from tests.support.driver import (
    UP_SECONDS,
    Inventory,
    Lab,
    Started,
    domain_state,
    inventory,
    virsh,
    write_lab,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(UP_SECONDS)]

GUEST = "10.77.1.11"
# What says something, of a connection that stays as it is otherwise.
WORDS = ("INPUT", "-s", GUEST, "-p", "tcp", "--sport", "22", "--tcp-flags", "PSH", "PSH")
LOSS = ("-m", "statistic", "--mode", "random", "--probability", "0.1")


@contextlib.contextmanager
def dropped(*rule: str) -> Iterator[None]:
    """Let the host drop these packets."""
    chain, *matches = rule
    run(["iptables", "-I", chain, *matches, "-j", "DROP"], timeout=10)
    try:
        yield
    finally:
        run(["iptables", "-D", chain, *matches, "-j", "DROP"], timeout=10)


def calls() -> list[str]:
    """Return this host's ends of the connections to the guest's SSH server."""
    found = run(["ss", "-Htn", "state", "established", "dst", f"{GUEST}:22"], timeout=10)
    return [line.split()[2] for line in found.stdout.splitlines()]


def ended_well(running: Started) -> None:
    output = running.child.communicate(timeout=UP_SECONDS)[0]
    assert running.child.returncode == 0, output


def test_guest_that_takes_the_connection_and_never_greets_is_said_to(
    before: Inventory, tmp_path: Path
) -> None:
    lab = write_lab(tmp_path, "small", 1, LABKIT_BOOT_SECONDS="90")
    with dropped(*WORDS):
        told = lab.up(code=4).stderr
    assert "node 'one': its SSH server, which did not come" in told
    assert f"{GUEST}: it took the connection and has not greeted yet" in told
    lab.run("destroy")
    assert inventory() == before


def test_guest_that_greets_after_25_s_is_waited_for_on_one_connection(
    lab: Lab, before: Inventory
) -> None:
    with lab.started("up") as running:
        with dropped(*WORDS):
            running.until(calls, "a connection")
            first = calls()
            time.sleep(25)  # noqa: TID251 -- the guest's, not labkit's
            assert calls() == first
        ended_well(running)
    lab.run("destroy")
    assert inventory() == before


@pytest.mark.long
def test_guest_that_is_paused_for_40_s_while_it_boots_comes_up(
    lab: Lab, before: Inventory
) -> None:
    console = lab.directory / "logs" / "one.console.log"
    with lab.started("up") as running:
        running.until(lambda: domain_state("small_one") == "running", "running")
        running.until(lambda: console.stat().st_size, "a first line on the console")
        virsh("suspend", "small_one")
        time.sleep(40)  # noqa: TID251 -- the guest's, not labkit's
        virsh("resume", "small_one")
        ended_well(running)
    lab.run("destroy")
    assert inventory() == before


@pytest.mark.long
def test_guest_on_a_host_that_has_much_else_to_do_comes_up(lab: Lab, before: Inventory) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        lab.up()
    finally:
        for each in busy:
            each.kill()
            each.wait()
    lab.run("destroy")
    assert inventory() == before


@pytest.mark.long
def test_guest_that_loses_one_packet_in_ten_comes_up(lab: Lab, before: Inventory) -> None:
    with dropped("INPUT", "-s", GUEST, *LOSS), dropped("OUTPUT", "-d", GUEST, *LOSS):
        lab.up()
    lab.run("destroy")
    assert inventory() == before
