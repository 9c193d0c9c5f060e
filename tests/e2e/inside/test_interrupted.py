"""`up` ended half-way by kill -9, Ctrl-C or SIGTERM: `destroy` leaves nothing, `up` goes on."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import environment, run
from tests.support.driver import (
    POOL_PATH,
    UP_SECONDS,
    Inventory,
    Lab,
    domain_state,
    inventory,
    processes,
    virsh,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(UP_SECONDS)]

# Somebody else's things, as like the lab's own as can be without being them.
FOREIGN_DOMAIN = """\
<domain type='qemu'><name>small_two</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>
"""
FOREIGN_NETWORK = "<network><name>small_other</name><bridge name='lkother'/></network>"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    directory = tmp_path_factory.mktemp("foreign")
    (directory / "domain.xml").write_text(FOREIGN_DOMAIN)
    (directory / "network.xml").write_text(FOREIGN_NETWORK)
    virsh("define", str(directory / "domain.xml"))
    virsh("net-define", str(directory / "network.xml"))
    virsh("vol-create-as", "default", "small_two.img", "1M")
    return inventory()


def moments(lab: Lab) -> dict[str, Callable[[], object]]:
    """Return what can be seen of an `up`, in the order it happens."""
    box = "labkit-rehearsal-*_vagrant_box_image_*"
    return {
        "box upload": lambda: list(POOL_PATH.glob(box)),
        # It loads, and waits for the gate.
        "vagrant": lambda: processes("vagrant"),
        "keys": (lab.directory / "keys" / "id_rsa").exists,
        "network": lambda: "small_lan" in virsh("net-list", "--name").split(),
        "seed": (POOL_PATH / "small_one_seed.iso").exists,
        # Everything Vagrant needs is there, and it may begin.
        "gate": (lab.directory / "vagrant" / "gate").exists,
        "disk": (POOL_PATH / "small_one.img").exists,
        "domain": lambda: domain_state("small_one"),
        "running": lambda: domain_state("small_one") == "running",
    }


@pytest.mark.parametrize(
    "moment",
    ["box upload", "vagrant", "keys", "network", "seed", "gate", "disk", "domain", "running"],
)
def test_killed_up_is_removed_by_destroy_and_nothing_else_is(
    lab: Lab, before: Inventory, moment: str
) -> None:
    if moment == "box upload":
        # The box stays in the pool from test to test; this one wants to see it arrive.
        for volume in POOL_PATH.glob("labkit-rehearsal-*"):
            virsh("vol-delete", volume.name, "default")
    with lab.started("up") as running:
        running.until(moments(lab)[moment], moment)
        running.kill()

    lab.run("destroy")

    assert inventory() == before


def test_half_uploaded_box_is_never_used(lab: Lab) -> None:
    for volume in POOL_PATH.glob("labkit-rehearsal-*"):
        virsh("vol-delete", volume.name, "default")
    with lab.started("up") as running:
        running.until(moments(lab)["box upload"], "the box volume")
        running.kill()
    (half,) = POOL_PATH.glob("labkit-rehearsal-*")
    size = half.stat().st_size
    broken = run(["qemu-img", "check", "-q", half], timeout=60, check=False)
    assert broken.returncode != 0, "the kill came too late to show anything"

    with lab.started("up") as running:
        running.until(moments(lab)["vagrant"], "vagrant")
        running.kill()

    (whole,) = POOL_PATH.glob("labkit-rehearsal-*")
    check = run(["qemu-img", "check", "-q", whole], timeout=60, check=False)
    assert check.returncode == 0, f"{size} bytes, then {whole.stat().st_size}: {check.stderr}"
    lab.run("destroy")


def test_up_goes_on_after_kills_and_an_interrupt(lab: Lab, before: Inventory) -> None:
    """Ended before Vagrant, while Vagrant works, and while the guest boots."""
    for moment in ("seed", "disk"):
        with lab.started("up") as running:
            running.until(moments(lab)[moment], moment)
            running.kill()
    with lab.started("up") as running:
        # A domain of the killed run may still be there; Vagrant starts after that is removed.
        running.until(moments(lab)["vagrant"], "vagrant")
        running.until(moments(lab)["running"], "running")
        require_interrupted(running.signal(signal.SIGINT))

    result = lab.up("--json")

    (node,) = json.loads(result.stdout)["nodes"]
    # Kept when Vagrant had finished before the interrupt: only the wait was cut short then.
    assert node["action"] in {"recreate", "keep"}
    assert lab.run("ssh", "one", "hostname").stdout.startswith("one")
    lab.run("destroy")
    assert inventory() == before


def test_terminated_up_says_so_and_takes_vagrant_with_it(lab: Lab, before: Inventory) -> None:
    with lab.started("up") as running:
        running.until(moments(lab)["vagrant"], "vagrant")
        require_interrupted(running.signal(signal.SIGTERM))
    assert not processes("vagrant")
    lab.run("destroy")
    assert inventory() == before


def require_interrupted(ended: tuple[int, str]) -> None:
    code, output = ended
    assert code == 130, output
    assert "interrupted" in output
    assert "labkit destroy" in output
    assert "Traceback" not in output


def undo_what_vagrant_made(domain: str) -> None:
    """Remove what Vagrant may have made between the gate and its end."""
    if domain_state(domain) == "running":
        virsh("destroy", domain)
    if domain_state(domain):
        virsh("undefine", domain)
    if (POOL_PATH / f"{domain}.img").exists():
        virsh("vol-delete", f"{domain}.img", "default")


def test_bare_vagrant_up_of_the_rendered_vagrantfile_waits_by_itself(
    lab: Lab, before: Inventory
) -> None:
    with lab.started("up") as running:
        running.until(moments(lab)["gate"], "gate")
        running.kill()
    undo_what_vagrant_made("small_one")
    plain = {name: value for name, value in os.environ.items() if name != "LABKIT_WAITS"}
    where = lab.directory / "vagrant"
    # The one thing that the docs ask of who calls Vagrant himself.
    env = {**environment(), **plain, "VAGRANT_HOME": str(where / "home")}

    made = run(["vagrant", "up"], cwd=where, env=env, timeout=300, check=False)

    assert made.returncode == 0, f"{made.stdout}\n{made.stderr}"
    assert "Machine booted and ready" in made.stdout
    asked = run(["vagrant", "status", "--machine-readable"], cwd=where, env=env, timeout=60)
    status = asked.stdout
    assert ",one,state,running" in status
    lab.run("destroy")
    assert inventory() == before
