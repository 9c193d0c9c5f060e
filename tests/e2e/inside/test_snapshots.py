"""Snapshots of a lab of two nodes, from the first to `destroy`; one boot serves every check.

The tests run in the order they are written. The pool is a small file system of its own, so that
it can be filled.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.cli.session import looking
from labkit.errors import LabkitError, OperationError
from labkit.host.process import environment, run
from labkit.snapshots import guests, remove, restore, take
from labkit.snapshots.heal import heal
from labkit.snapshots.record import Journal, Shelf, SnapshotRecord
from labkit.state.tools import real_tools
from labkit.waiting import Deadline, NotYet, wait_until
from tests.support.driver import (
    POOL_PATH,
    QUICK_SECONDS,
    UP_SECONDS,
    Inventory,
    Lab,
    domain_state,
    inventory,
    processes,
    virsh,
    wait_for_no,
    write_lab,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labkit.state.session import Session

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(UP_SECONDS)]

NODES = ("one", "two")
POOL_SIZE = "4g"
CYCLES = 20
GROWING = "/var/tmp/growing"  # noqa: S108 -- in the guest
# Numbers lines until somebody stops it; the shell waits by itself, without a process.
WRITER = f"exec 9<><(:); n=0; while n=$((n+1)); do echo $n >>{GROWING}; read -t 0.05 -u 9; done"
TWO_DAYS = 2 * 86400


@pytest.fixture(scope="module")
def before() -> Inventory:
    run(["mount", "-t", "tmpfs", "-o", f"size={POOL_SIZE}", "small", POOL_PATH], timeout=10)
    virsh("pool-refresh", "default")
    return inventory()


@pytest.fixture(scope="module")
def lab(before: Inventory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    assert not before.domains
    found = write_lab(tmp_path_factory.mktemp("duo"), "duo", 7, nodes=2)
    found.up()
    yield found
    found.run("destroy")


def session(lab: Lab) -> Session:
    return looking(lab.file)


def listed(lab: Lab) -> dict[str, dict[str, object]]:
    told = json.loads(lab.run("snapshots", "--json").stdout)
    return {item["name"]: item for item in told["snapshots"]}


def domain(node: str) -> str:
    return f"duo_{node}"


def image(node: str) -> Path:
    return POOL_PATH / f"{domain(node)}.img"


def in_image(node: str) -> set[str]:
    """Return the snapshots qemu-img finds, which labkit did not write itself."""
    told = run(["qemu-img", "info", "-U", "--output=json", image(node)], timeout=30).stdout
    return {item["name"] for item in json.loads(told).get("snapshots", [])}


def assert_whole(lab: Lab, *, state: str = "running") -> None:
    """Every listed snapshot is in every image and in libvirt, no other is, nothing is pending."""
    keys = {item["key"] for item in listed(lab).values()}
    for node in NODES:
        assert in_image(node) == keys, f"the image of {node}"
        assert set(virsh("snapshot-list", "--name", domain(node)).split()) == keys
        assert domain_state(domain(node)) == state
    assert not Shelf(lab.directory / "snapshots").journal_file.exists()


def nonce(lab: Lab, node: str) -> str:
    return lab.run("ssh", node, f"cat {guests.AGENT_NONCE}").stdout.strip()


def qemu(node: str) -> int:
    """Return the process id of a node's QEMU."""
    for pid in processes("qemu-system-x86_64"):
        if f"guest={domain(node)}," in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    pytest.fail(f"no QEMU of {node}")


def end_libvirtd() -> None:
    os.kill(int(Path("/run/libvirtd.pid").read_text()), signal.SIGKILL)
    wait_for_no("libvirtd")


def start_libvirtd() -> None:
    """Start libvirtd, and again should it end, as its systemd unit does (Restart=on-failure)."""

    def answers() -> None:
        if not processes("libvirtd"):
            run(["libvirtd", "--daemon"], timeout=QUICK_SECONDS, check=False)
        if run(["virsh", "list"], timeout=30, check=False).returncode:
            raise NotYet

    wait_until(answers, what="libvirtd", deadline=Deadline.after(QUICK_SECONDS))


def restart_libvirtd() -> None:
    end_libvirtd()
    start_libvirtd()


def at(step: str, work: Callable[[], object]) -> Callable[[str], None]:
    """Return a seam that does something once, when a verb reaches a step."""
    waiting = [step]

    def fault(reached: str) -> None:
        with suppress(ValueError):
            waiting.remove(reached)
            work()

    return fault


KILLED = """\
import os, signal, sys
from pathlib import Path
from labkit.cli.session import looking
from labkit.snapshots import remove, restore, take

session, step = looking(Path(sys.argv[1])), sys.argv[2]
end = lambda reached: reached == step and os.kill(os.getpid(), signal.SIGKILL)
{call}
"""


def killed(lab: Lab, step: str, call: str) -> None:
    """Make a call in a process of its own, which ends itself by SIGKILL at a step."""
    program = [sys.executable, "-c", KILLED.format(call=call), str(lab.file), step]
    assert run(program, timeout=QUICK_SECONDS, check=False).returncode == -signal.SIGKILL


def records(lab: Lab) -> tuple[SnapshotRecord, ...]:
    return Shelf(lab.directory / "snapshots").records()


def test_snapshot_of_running_nodes_holds_both_and_they_run_on(lab: Lab) -> None:
    result = lab.run("snapshot", "base", "--note", "before $(anything); <&> 'else'")

    assert "took 'base'" in result.stderr
    (base,) = listed(lab).values()
    assert base["note"] == "before $(anything); <&> 'else'"
    assert set(base["nodes"]) == set(NODES)  # type: ignore[call-overload]
    assert float(str(base["skew_ms"])) <= 50
    assert float(str(base["pause_ms"])) > 0
    assert_whole(lab)
    kept = records(lab)[0].nodes
    assert guests.digest(nonce(lab, "one")) == kept["one"].nonce
    assert kept["one"].nonce != kept["two"].nonce


# Early: an image that lost a snapshot has room inside, and would not need the pool's.
def test_pool_filled_in_the_middle_leaves_no_snapshot(lab: Lab) -> None:
    filler = POOL_PATH / "filler"
    free = os.statvfs(POOL_PATH)
    room = free.f_bavail * free.f_frsize - 24 * 2**20
    try:
        with pytest.raises(LabkitError) as raised:
            take.take(
                session(lab),
                "full",
                fault=at(
                    "paused", lambda: run(["fallocate", "-l", str(room), filler], timeout=30)
                ),
            )
    finally:
        filler.unlink(missing_ok=True)
    assert raised.value.message
    # A guest that wrote meanwhile was stopped by QEMU; it goes on once there is room.
    lab.up()
    assert set(listed(lab)) == {"base"}
    assert_whole(lab)


def test_listing_is_a_tree_that_fits_80_columns(lab: Lab) -> None:
    lab.run("snapshot", "child", "--note", "x" * 60)
    table = lab.run("snapshots").stdout

    assert max(map(len, table.splitlines())) <= 80
    assert "\n  child *" in table
    assert listed(lab)["child"]["parent"] == "base"


def test_name_that_is_taken_needs_replace(lab: Lab) -> None:
    old = listed(lab)["child"]["key"]
    refused = lab.run("snapshot", "child", code=4)
    assert "exists already" in refused.stderr
    assert "--replace" in refused.stderr
    lab.run("snapshot", "child", "--replace")

    assert listed(lab)["child"]["key"] != old
    assert_whole(lab)


@pytest.mark.parametrize("name", ["../up", "", "-x", "a b", ".hidden", "x" * 41])
def test_name_that_is_none_is_refused(lab: Lab, name: str) -> None:
    assert "is no name for a snapshot" in lab.run("snapshot", "--", name, code=2).stderr


def test_restore_brings_memory_back_and_proves_it(lab: Lab) -> None:
    kept = records(lab)[0].nodes["one"]
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = lab.run("ssh", "one", f"sudo touch /root/after; {boot}").stdout
    # The nonce in memory is a later snapshot's by now.
    result = lab.run("restore", "base")

    assert re.search(r"restored in [0-9.]+ s, SSH in [0-9.]+ s, healthy in", result.stderr)
    told = lab.run("ssh", "one", f"{boot}; sudo ls /root; cat {guests.AGENT_NONCE}").stdout
    assert told.startswith(before)
    (nonce,) = told.removeprefix(before).split()
    assert guests.digest(nonce) == kept.nonce
    assert_whole(lab)


def test_node_that_was_rebooted_is_not_taken_for_the_one_that_was_kept(lab: Lab) -> None:
    lab.run("ssh", "one", f"sudo rm {guests.AGENT_NONCE}")
    endpoint = session(lab).endpoint(session(lab).node("one"))
    kept = records(lab)[0].nodes["one"]
    with pytest.raises(OperationError, match="not from the memory that was kept"):
        guests.prove(endpoint, kept.nonce, tools=real_tools(), agent_done=lambda: False)


def test_dry_runs_say_what_would_be_done_and_do_nothing(lab: Lab) -> None:
    known = listed(lab)
    assert "would take 'more'" in lab.run("snapshot", "more", "--dry-run").stdout
    assert "would restore 'base'" in lab.run("restore", "base", "--dry-run").stdout
    assert "would delete 'base'" in lab.run("snapshot", "--delete", "base", "--dry-run").stdout
    assert listed(lab).keys() == known.keys()
    assert_whole(lab)


def test_delete_gives_the_children_to_the_parent(lab: Lab) -> None:
    lab.run("snapshot", "grandchild")
    lab.run("snapshot", "--delete", "child")

    assert listed(lab)["grandchild"]["parent"] == "base"
    assert "no snapshot 'child'" in lab.run("restore", "child", code=2).stderr
    lab.run("snapshot", "--delete", "grandchild")
    assert_whole(lab)


@pytest.mark.parametrize("step", take.STEPS)
def test_snapshot_killed_at_any_step_is_whole_or_gone_after_the_next_verb(
    lab: Lab, step: str
) -> None:
    if step == "replaced":
        lab.run("snapshot", "torn")
    killed(lab, step, "take.take(session, 'torn', replace=True, fault=end)")

    published = step in {"published", "replaced"}
    assert ("torn" in listed(lab)) == published
    if published:
        lab.run("snapshot", "--delete", "torn")
    else:
        assert "no snapshot 'torn'" in lab.run("snapshot", "--delete", "torn", code=2).stderr
        heal(session(lab))
    assert set(listed(lab)) == {"base"}
    assert_whole(lab)


@pytest.mark.parametrize("step", [*restore.STEPS, "put one back"])
def test_restore_killed_at_any_step_is_completed_by_the_next_verb(lab: Lab, step: str) -> None:
    before = qemu("one")
    killed(lab, step, "restore.restore(session, 'base', fault=end)")
    # What was under way is completed first, and proven as any restore is.
    heal(session(lab))

    assert_whole(lab)
    assert (qemu("one") == before) == (step == "checked")


@pytest.mark.parametrize("step", remove.STEPS)
def test_delete_killed_at_any_step_is_completed_by_the_next_verb(lab: Lab, step: str) -> None:
    take.take(session(lab), "doomed")
    killed(lab, step, "remove.delete(session, 'doomed', fault=end)")
    assert set(listed(lab)) == {"base"}
    assert "deleted 'doomed'" in lab.run("snapshot", "--delete", "doomed").stderr

    assert set(listed(lab)) == {"base"}
    assert_whole(lab)


def test_snapshot_interrupted_while_the_nodes_stand_still_lets_them_run_on(lab: Lab) -> None:
    def interrupt(step: str) -> None:
        if step == "paused":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take.take(session(lab), "cut", fault=interrupt)

    assert set(listed(lab)) == {"base"}
    assert_whole(lab)


def test_snapshot_that_libvirt_never_knew_is_removed_from_the_image(lab: Lab) -> None:
    virsh("snapshot-create-as", domain("two"), "labkit-lost-0")
    virsh("snapshot-delete", domain("two"), "labkit-lost-0", "--metadata")
    shelf = Shelf(lab.directory / "snapshots")
    shelf.note(Journal(verb="take", name="lost", key="labkit-lost-0", running=NODES))

    heal(session(lab))

    assert_whole(lab)


def test_libvirtd_restarted_while_a_node_is_saved_leaves_the_lab_running(lab: Lab) -> None:
    frozen = qemu("two")

    def freeze() -> None:
        os.kill(frozen, signal.SIGSTOP)

    def restart() -> None:
        # One node is saved, the other one hangs: nothing later can be the middle.
        end_libvirtd()
        os.kill(frozen, signal.SIGCONT)
        start_libvirtd()

    first, second = at("paused", freeze), at("saved", restart)

    def fault(step: str) -> None:
        first(step)
        second(step)

    with pytest.raises(LabkitError, match="libvirtd does not answer"):
        take.take(session(lab), "cut", fault=fault)
    lab.up()

    assert set(listed(lab)) == {"base"}
    assert_whole(lab)


def test_libvirtd_restarted_during_a_restore_does_not_stop_it(lab: Lab) -> None:
    report = restore.restore(session(lab), "base", fault=at("prepared", restart_libvirtd))

    assert {proof.node for proof in report.proofs} == set(NODES)
    assert_whole(lab)


def test_qemu_killed_while_saving_leaves_no_snapshot_and_the_other_node_running(lab: Lab) -> None:
    def kill() -> None:
        os.kill(qemu("two"), signal.SIGKILL)
        wait_until(is_off, what="two to be off", deadline=Deadline.after(20))

    def is_off() -> None:
        if domain_state(domain("two")) != "shut off":
            raise NotYet

    with pytest.raises(OperationError) as raised:
        take.take(session(lab), "half", fault=at("paused", kill))
    assert "two" in raised.value.message
    assert domain_state(domain("one")) == "running"
    assert set(listed(lab)) == {"base"}
    # A node that crashed comes back as well.
    lab.run("restore", "base")
    assert_whole(lab)


def test_qemu_killed_during_a_restore_is_reported_and_restored_again(lab: Lab) -> None:
    with pytest.raises(LabkitError):
        restore.restore(
            session(lab),
            "base",
            fault=at("put back", lambda: os.kill(qemu("one"), signal.SIGKILL)),
        )
    lab.run("restore", "base")
    assert_whole(lab)


def test_pool_too_full_is_refused_before_the_pause(lab: Lab) -> None:
    filler = POOL_PATH / "filler"
    free = os.statvfs(POOL_PATH)
    room = free.f_bavail * free.f_frsize - 24 * 2**20
    run(["fallocate", "-l", str(room), filler], timeout=30)
    try:
        refused = lab.run("snapshot", "full", code=3)
    finally:
        filler.unlink()
    assert "nothing was paused" in refused.stderr
    assert_whole(lab)


@pytest.mark.parametrize("how", ["paused", "off", "undefined"])
def test_restore_works_from_any_state(lab: Lab, how: str) -> None:
    vagrant = lab.directory / "vagrant"
    env = environment(VAGRANT_DEFAULT_PROVIDER="libvirt", VAGRANT_CHECKPOINT_DISABLE="1")
    if how == "paused":
        virsh("suspend", domain("one"))
    else:
        for node in NODES:
            virsh("destroy", domain(node))
    if how == "undefined":
        virsh("undefine", "--snapshots-metadata", domain("one"))
        virsh("net-destroy", "duo_lan")
        # Vagrant notices, and forgets the machine.
        run(["vagrant", "status"], timeout=60, cwd=vagrant, env=env)

    lab.run("restore", "base")

    assert_whole(lab)
    if how == "undefined":
        told = run(["vagrant", "status"], timeout=60, cwd=vagrant, env=env).stdout
        assert told.count("running (libvirt)") == 2


def test_clock_two_days_old_is_right_after_restore(lab: Lab) -> None:
    for node in NODES:
        lab.run("ssh", node, f"sudo date -s @$(($(date +%s) - {TWO_DAYS}))")
    take.take(session(lab), "old")
    report = restore.restore(session(lab), "old")

    assert {proof.node for proof in report.proofs} == set(NODES)
    assert max(proof.clock_seconds for proof in report.proofs) <= 1
    assert "agent" in {proof.clock_by for proof in report.proofs}
    remove.delete(session(lab), "old")


def test_clock_is_set_over_ssh_where_no_agent_answers(lab: Lab) -> None:
    lab.run("ssh", "one", "sudo systemctl stop qemu-guest-agent")
    lab.run("ssh", "one", f"sudo date -s @$(($(date +%s) - {TWO_DAYS}))")
    take.take(session(lab), "silent")
    report = restore.restore(session(lab), "silent")

    (one,) = (proof for proof in report.proofs if proof.node == "one")
    assert one.clock_by == "SSH"
    assert one.clock_seconds <= 1
    remove.delete(session(lab), "silent")
    restore.restore(session(lab), "base")


def test_growing_file_loses_nothing_in_repeated_cycles(lab: Lab) -> None:
    lab.run("ssh", "one", f"rm -f {GROWING}; setsid -f bash -c '{WRITER}' >/dev/null 2>&1")
    look = f"pgrep -f growing | head -1; cat {GROWING}"
    for number in range(CYCLES):
        writer, *least = lab.run("ssh", "one", look).stdout.split()
        take.take(session(lab), "cycle", replace=number > 0)
        report = restore.restore(session(lab), "cycle")

        assert len(report.proofs) == 2
        same, *lines = lab.run("ssh", "one", look).stdout.split()
        assert same == writer
        assert lines == [str(count) for count in range(1, len(lines) + 1)]
        assert len(lines) > len(least)
    assert_whole(lab)


def test_file_system_is_clean_after_a_restore_under_writes(lab: Lab, tmp_path: Path) -> None:
    restore.restore(session(lab), "cycle")
    errors = lab.run("ssh", "one", "cat /sys/fs/ext4/vda1/errors_count").stdout.strip()
    assert errors == "0"
    lab.run("halt")
    raw = tmp_path / "one.raw"
    run(["qemu-img", "convert", "-O", "raw", image("one"), raw], timeout=120)
    checked = run(["/usr/sbin/e2fsck", "-fn", f"{raw}?offset=1048576"], timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout
    raw.unlink()


def test_snapshot_of_nodes_that_are_off_is_restored_as_off(lab: Lab) -> None:
    lab.run("snapshot", "off")
    lab.run("restore", "base")
    assert_whole(lab)
    lab.run("restore", "off")
    assert_whole(lab, state="shut off")
    lab.run("restore", "base")
    lab.run("snapshot", "--delete", "off")


def redefine(node: str, changed: Callable[[str], str], directory: Path) -> None:
    file = directory / f"{node}.xml"
    file.write_text(changed(virsh("dumpxml", "--inactive", domain(node))))
    virsh("define", str(file))


@pytest.mark.parametrize(
    ("part", "other"),
    [("<vcpu placement='static'>1<", "<vcpu placement='static'>2<"), ("52:54:00", "52:54:01")],
)
def test_changed_hardware_is_refused_and_the_lab_runs_on(
    lab: Lab, tmp_path: Path, part: str, other: str
) -> None:
    before = [qemu(node) for node in NODES]
    redefine("two", lambda xml: xml.replace(part, other), tmp_path)
    try:
        refused = lab.run("restore", "base", code=4)
    finally:
        redefine("two", lambda xml: xml.replace(other, part), tmp_path)

    assert "the lab is as it was" in refused.stderr
    assert "two: its domain has" in refused.stderr
    assert "one: " not in refused.stderr
    assert [qemu(node) for node in NODES] == before
    assert_whole(lab)


def test_damaged_images_are_refused_with_node_and_reason(lab: Lab) -> None:
    for node in NODES:
        virsh("destroy", domain(node))
    kept = POOL_PATH / "kept"
    run(["cp", "--sparse=always", image("two"), kept], timeout=60)

    def refused() -> str:
        told = lab.run("restore", "base", code=4).stderr
        assert "the lab is as it was" in told
        assert "one: " not in told
        assert domain_state(domain("one")) == domain_state(domain("two")) == "shut off"
        run(["cp", "--sparse=always", kept, image("two")], timeout=60)
        return told

    key = records(lab)[0].key
    run(["qemu-img", "snapshot", "-d", key, image("two")], timeout=60)
    assert "two: its disk 'duo_two.img' does not hold the snapshot any more" in refused()

    with image("two").open("r+b") as file:
        file.write(b"\0" * 512)
    assert "two: its disk 'duo_two.img' is damaged: it does not begin with" in refused()

    with image("two").open("r+b") as file:
        # The first-level table of the disk: every cluster it names becomes another.
        file.seek(40)
        file.seek(int.from_bytes(file.read(8)))
        file.write(b"\x80\x00\x00\x00\x00\x07\x00\x00" * 4)
    assert "two: its image 'duo_two.img' is damaged" in refused()

    image("two").unlink()
    assert "two: its disk, the volume 'duo_two.img', is not in the storage pool" in refused()

    kept.unlink()
    lab.run("restore", "base")
    assert_whole(lab)


def test_destroy_leaves_nothing_of_a_lab_with_snapshots(lab: Lab, before: Inventory) -> None:
    lab.run("snapshot", "last")
    # Vagrant can do it too, one node after the other.
    env = environment(VAGRANT_DEFAULT_PROVIDER="libvirt", VAGRANT_CHECKPOINT_DISABLE="1")
    run(["vagrant", "destroy", "-f", "one"], timeout=60, cwd=lab.directory / "vagrant", env=env)
    assert domain_state(domain("one")) == ""
    assert not image("one").exists()
    lab.run("destroy")

    assert inventory() == before
