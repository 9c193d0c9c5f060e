from __future__ import annotations

import grp
import os
import pwd
import shutil
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.definition import find_box
from labkit.errors import HostError
from labkit.host import process
from labkit.host.firewall import Forwarding
from labkit.host.inventory import POOL_PATH, Seen
from labkit.host.kvm import KvmProbe
from labkit.host.libvirt.xml import DomainState
from labkit.host.links import Link
from labkit.lifecycle import doctor
from labkit.lifecycle.doctor import (
    Finding,
    Host,
    Level,
    may_open,
    memory_finding,
    memory_mib,
    qemu_user,
)
from labkit.state.directory import LabDirectory
from labkit.state.session import Session
from tests.fakes.libvirt import FakeHost
from tests.fakes.tools import tools
from tests.support import labs
from tests.support.boxtree import add_box
from tests.support.bringup import put_in_cache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOTHING = Seen(domains=(), networks=(), volumes={}, links={})
ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def host(tmp_path: Path) -> Host:
    session = Session(
        lab=labs.lab(),
        lab_file=tmp_path / "lab.yaml",
        directory=LabDirectory(tmp_path / "demo"),
        progress=lambda _event: None,
        tools=tools(),
        cancelled=threading.Event(),
    )
    probe = KvmProbe(reason="This host has no '/dev/kvm'.", hint="Turn it on.")
    return Host(
        session=session, cache=tmp_path / "cache", kvm=probe, seen=NOTHING, pool_free=500 * 2**30
    )


def device(mode: int, *, uid: int = 0, gid: int = 106) -> os.stat_result:
    return os.stat_result((0o020000 | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "uid", "groups", "expected"),
    [
        (0o660, 64055, [106], True),
        (0o660, 64055, [107], False),
        (0o666, 64055, [107], True),
        (0o640, 64055, [106], False),
        (0o600, 0, [], True),
        (0o066, 1, [106], False),
    ],
)
def test_device_opens_for_whom_its_mode_says(
    mode: int, uid: int, groups: list[int], *, expected: bool
) -> None:
    assert may_open(device(mode, uid=1), uid=uid, groups=groups) is expected


def test_qemu_user_is_the_one_of_qemu_conf_that_is_not_commented_out() -> None:
    assert qemu_user(f'#user = "nobody"\n user = "{ME}"\n') == ME
    assert qemu_user('user = "no-such-user"\n') is None


def test_memory_is_read_from_meminfo() -> None:
    text = "MemTotal:       24683984 kB\nMemFree: 1 kB\nMemAvailable:   21592000 kB\n"
    assert memory_mib(text) == (24105, 21085)


@pytest.mark.parametrize(
    ("needed", "level"), [(0, Level.OK), (100, Level.OK), (101, Level.NOTE), (201, Level.PROBLEM)]
)
def test_memory_level_follows_what_is_there(needed: int, level: Level) -> None:
    found = memory_finding(needed=needed, total=200, available=100)
    assert found.level is level
    assert bool(found.fix) is (level is not Level.OK)


@pytest.mark.parametrize(
    ("free", "level"), [(120, Level.OK), (119, Level.NOTE), (1, Level.PROBLEM)]
)
def test_space_level_follows_what_is_free(free: int, level: Level) -> None:
    assert doctor.space_finding(pool="default", free=free, least=2, most=120).level is level


def test_check_that_meets_an_error_finds_a_problem_with_its_hint(host: Host) -> None:
    def check(_host: Host) -> Finding:
        message = "A bridge is missing."
        raise HostError(message, details=("br0",), hint="Make it.")

    found = doctor.run_check(check, host)
    assert found == Finding(
        check="check", level=Level.PROBLEM, found="A bridge is missing.\nbr0", fix="Make it."
    )


def test_kvm_that_is_not_usable_is_a_note_for_a_stand_in_alone(host: Host) -> None:
    assert doctor.kvm_works(host).level is Level.NOTE
    session = replace(host.session, lab=replace(host.session.lab, box="centos7"))
    real = doctor.kvm_works(replace(host, session=session))
    assert real.level is Level.PROBLEM
    assert "'labkit deploy' does not work on emulated nodes" in real.found
    assert real.fix.endswith("Or use '--box rehearsal'.")
    unknown = replace(host.session, lab=replace(host.session.lab, box="rehearsla"))
    assert doctor.kvm_works(replace(host, session=unknown)).level is Level.NOTE
    assert doctor.kvm_for_libvirt(host).level is Level.OK


def test_box_that_is_not_built_is_a_note_and_one_nobody_knows_a_problem(host: Host) -> None:
    assert doctor.box_built(host).fix == "Run 'labkit box build rehearsal'."
    session = replace(host.session, lab=replace(host.session.lab, box="rehearsla"))
    found = doctor.run_check(doctor.box_built, replace(host, session=session))
    assert found.level is Level.PROBLEM
    assert found.fix == "Did you mean 'rehearsal'?"


def test_box_from_an_image_that_needs_virt_customize_is_a_problem_without_it(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    text = 'builder: image\ndescription: "Mine."\ndisk_gib: 9\nimage: a.qcow2\n'
    session = replace(
        host.session,
        lab=replace(host.session.lab, box="mine"),
        lab_file=tmp_path / "lab.yaml",
    )
    add_box(tmp_path, "mine", text)
    found = doctor.run_check(doctor.box_built, replace(host, session=session))
    assert found.level is Level.PROBLEM
    assert "'virt-customize'" in found.found
    add_box(tmp_path, "mine", f"{text}contract: complete\n")
    assert doctor.box_built(replace(host, session=session)).level is Level.NOTE


def kvm_used(host: Host, tmp_path: Path, *, conf: str, mode: int) -> Host:
    """Return a host whose KVM works for labkit, with a device of that mode."""
    device, qemu_conf = tmp_path / "kvm", tmp_path / "qemu.conf"
    device.touch()
    device.chmod(mode)
    qemu_conf.write_text(conf, encoding="utf-8")
    usable = KvmProbe(reason="A test guest ran.")
    return replace(host, kvm=usable, device=device, qemu_conf=qemu_conf)


def test_kvm_that_libvirts_qemu_may_open_is_ok(host: Host, tmp_path: Path) -> None:
    used = kvm_used(host, tmp_path, conf='user = "nobody"', mode=0o666)

    assert doctor.kvm_works(used).level is Level.OK
    assert doctor.kvm_for_libvirt(used).found == f"'nobody' may open '{used.device}'."


def test_kvm_that_libvirts_qemu_may_not_open_is_a_problem_with_its_command(
    host: Host, tmp_path: Path
) -> None:
    found = doctor.kvm_for_libvirt(kvm_used(host, tmp_path, conf='user = "nobody"', mode=0o600))

    group = grp.getgrgid((tmp_path / "kvm").stat().st_gid).gr_name
    assert found.level is Level.PROBLEM
    assert "libvirt runs QEMU as 'nobody', who may not open" in found.found
    assert f"'sudo usermod -aG {group} nobody'" in found.fix


def test_kvm_of_a_user_nobody_knows_is_a_note(host: Host, tmp_path: Path) -> None:
    used = kvm_used(host, tmp_path, conf='user = "no-such-user"', mode=0o666)

    found = doctor.kvm_for_libvirt(used)

    assert found.level is Level.NOTE
    assert found.fix == f"Set 'user' in '{used.qemu_conf}'."


def test_qemu_conf_that_may_not_be_read_counts_as_the_packages_own(
    host: Host, tmp_path: Path
) -> None:
    used = kvm_used(host, tmp_path, conf="", mode=0o666)
    missing = replace(used, qemu_conf=tmp_path / "not-there")

    assert doctor.kvm_for_libvirt(missing).level is doctor.kvm_for_libvirt(used).level


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put commands of a test's own before all others, or hide every other one."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def make(name: str, script: str) -> None:
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    return make


def test_vagrant_without_its_libvirt_provider_is_a_problem(
    host: Host, commands: Callable[[str, str], None]
) -> None:
    commands("vagrant", "echo 1,,plugin-name,vagrant-other")

    found = doctor.run_check(doctor.vagrant_has_libvirt, host)

    assert (found.level, found.fix) == (
        Level.PROBLEM,
        "Run 'make setup', which installs everything labkit needs.",
    )
    assert "vagrant-libvirt" in found.found


def test_vagrant_with_its_libvirt_provider_is_ok(
    host: Host, commands: Callable[[str, str], None]
) -> None:
    commands("vagrant", "echo 1,,plugin-name,vagrant-libvirt")

    assert doctor.run_check(doctor.vagrant_has_libvirt, host).level is Level.OK


def test_tools_are_ok_when_each_is_there(host: Host, commands: Callable[[str, str], None]) -> None:
    for tool in (*doctor.TOOLS, *doctor.DEBIAN_TOOLS):
        commands(tool, "")

    assert doctor.tools_installed(host).level is Level.OK


@pytest.mark.parametrize(("box", "of_debian"), [("rehearsal", True), ("centos7", False)])
def test_tools_that_build_boxes_of_debian_are_needed_for_those_alone(
    host: Host,
    commands: Callable[[str, str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    box: str,
    *,
    of_debian: bool,
) -> None:
    for tool in doctor.TOOLS:
        commands(tool, "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    session = replace(host.session, lab=replace(host.session.lab, box=box))

    found = doctor.tools_installed(replace(host, session=session))

    assert found.level is (Level.PROBLEM if of_debian else Level.OK)
    assert ("mmdebstrap" in found.found) is of_debian


def test_tools_of_a_box_that_is_built_build_nothing(
    host: Host,
    commands: Callable[[str, str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for tool in doctor.TOOLS:
        commands(tool, "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    put_in_cache(find_box("rehearsal"), host.cache)

    assert doctor.tools_installed(host).level is Level.OK


def test_tools_that_are_missing_are_all_named(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    there = process.environment()["PATH"]
    tools_of_all = (*doctor.TOOLS, *doctor.DEBIAN_TOOLS)
    missing = [tool for tool in tools_of_all if shutil.which(tool, path=there) is None]
    assert {"vagrant", "ssh"} <= set(missing)

    found = doctor.tools_installed(host)

    assert (found.level, found.fix) == (
        Level.PROBLEM,
        "Run 'make setup', which installs everything labkit needs.",
    )
    assert found.found == f"Not installed: {', '.join(missing)}."


def memory(host: Host, tmp_path: Path, *, available: int) -> Host:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: {8192 * 1024} kB\nMemAvailable: {available * 1024} kB\n")
    return replace(host, meminfo=path)


def seen(host: Host, *states: DomainState) -> Seen:
    """Return a libvirt in which the lab's first nodes are in these states."""
    libvirt = FakeHost()
    for node, state in zip(host.session.lab.nodes, states, strict=False):
        libvirt.add(node, state)
    return replace(NOTHING, domains=tuple(libvirt.domains.values()))


def test_memory_of_nodes_that_run_is_not_needed_again(host: Host, tmp_path: Path) -> None:
    states = (DomainState.RUNNING, DomainState.SHUTOFF)
    small = replace(memory(host, tmp_path, available=1000), seen=seen(host, *states))

    assert doctor.memory_suffices(small).found.startswith("The lab needs 2048 MiB more;")
    assert doctor.memory_suffices(small).level is Level.NOTE
    assert doctor.memory_suffices(replace(small, seen=None)).found.startswith(
        "The lab needs 4096 MiB more;"
    )


def test_space_is_needed_for_nodes_that_do_not_exist(host: Host) -> None:
    half = replace(host, seen=seen(host, DomainState.SHUTOFF), pool_free=59 * 2**30)
    whole = replace(half, seen=seen(host, DomainState.SHUTOFF, DomainState.SHUTOFF))

    assert doctor.space_suffices(half).level is Level.NOTE
    assert "full disks would take 60 GiB" in doctor.space_suffices(half).found
    assert doctor.space_suffices(whole).level is Level.OK
    assert doctor.space_suffices(replace(half, pool_free=0)).level is Level.PROBLEM


def looked_at(host: Host, libvirt: FakeHost) -> Host:
    """Look at a host whose KVM answer is kept, so that no guest is started for it.

    What is seen of the network of the machine that tests is left out.
    """
    session = replace(host.session, tools=tools(connect=libvirt.connect))
    found = doctor.look_at(session, host.cache, probe=lambda **_options: host.kvm)
    if found.seen is None:
        return found
    alone = replace(found.seen, links={}, routes=(), forwarding=Forwarding())
    return replace(found, seen=alone)


def test_host_is_what_libvirt_and_its_pool_say(host: Host) -> None:
    libvirt = FakeHost()
    libvirt.add_lab(host.session.lab)
    libvirt.free_bytes = 7 * 2**30

    found = looked_at(host, libvirt)

    assert found.missing_nodes() == ()
    assert (found.pool_free, found.libvirt_error) == (7 * 2**30, None)
    assert doctor.libvirt_answers(found).level is Level.OK
    assert libvirt.open == 0


def test_host_without_the_pool_has_the_room_of_where_it_would_be_and_makes_none(
    host: Host,
) -> None:
    libvirt = FakeHost()

    found = looked_at(host, libvirt)

    assert found.pool_free is not None
    assert found.pool_free > 0
    assert found.seen is not None
    assert libvirt.calls == []


def test_host_whose_libvirt_does_not_answer_keeps_the_reason(host: Host) -> None:
    libvirt = FakeHost()
    libvirt.fail("connect", "", HostError("libvirtd hangs.", hint="Restart it."))

    found = looked_at(host, libvirt)

    assert found.seen is None
    assert len(found.missing_nodes()) == len(host.session.lab.nodes)
    assert doctor.run_check(doctor.libvirt_answers, found) == Finding(
        check="libvirt_answers", level=Level.PROBLEM, found="libvirtd hangs.", fix="Restart it."
    )


def test_lab_whose_range_is_in_use_does_not_fit(host: Host) -> None:
    assert doctor.run_check(doctor.lab_fits, host).level is Level.OK
    address = host.session.lab.nodes[0].nics[0].address
    taken = replace(host, seen=replace(NOTHING, links={"eth0": Link(addresses=(address,))}))
    found = doctor.run_check(doctor.lab_fits, taken)
    assert found.level is Level.PROBLEM
    assert "overlaps" in found.found


def test_lab_without_libvirt_is_not_judged(host: Host) -> None:
    silent = replace(host, seen=None)

    assert doctor.lab_fits(silent).level is Level.NOTE
    assert doctor.space_suffices(silent).level is Level.NOTE


def test_without_libvirt_only_that_is_a_problem(host: Host) -> None:
    silent = replace(host, seen=None, libvirt_error=HostError("No answer.", hint="Start it."))
    found = [
        doctor.run_check(check, silent)
        for check in (doctor.libvirt_answers, doctor.space_suffices, doctor.lab_fits)
    ]
    assert [item.level for item in found] == [Level.PROBLEM, Level.NOTE, Level.NOTE]


def test_every_finding_carries_the_name_of_its_check() -> None:
    assert len({check.__name__ for check in doctor.CHECKS}) == len(doctor.CHECKS)


def test_case_15_pool_of_another_name_is_a_problem_and_no_space_is_invented(host: Host) -> None:
    libvirt = FakeHost()
    libvirt.pools, libvirt.pool_path = {"images"}, POOL_PATH

    found = looked_at(host, libvirt)

    assert found.pool_free is None
    assert doctor.space_suffices(found).found == "Unknown without a storage pool."
    fits = doctor.run_check(doctor.lab_fits, found)
    assert fits.level is Level.PROBLEM
    assert "belongs to the pool 'images'" in fits.found
    assert libvirt.calls == []


def test_case_15_lab_that_names_that_pool_is_judged_by_it(host: Host) -> None:
    libvirt = FakeHost()
    libvirt.pools, libvirt.free_bytes = {"images"}, 9 * 2**30
    session = replace(host.session, lab=replace(host.session.lab, pool="images"))

    found = looked_at(replace(host, session=session), libvirt)

    assert doctor.lab_fits(found).level is Level.OK
    assert doctor.space_suffices(found).found.startswith("The pool 'images' has 9 GiB free")


def test_case_16_pool_that_is_off_is_a_note_and_stays_off(host: Host) -> None:
    libvirt = FakeHost()
    libvirt.pools = libvirt.pools_off = {"default"}

    found = looked_at(host, libvirt)

    assert doctor.libvirt_answers(found).level is Level.OK
    assert found.pool_free is not None
    assert doctor.run_check(doctor.lab_fits, found) == Finding(
        check="lab_fits",
        level=Level.NOTE,
        found="storage pool 'default': it is off; 'labkit up' starts it",
    )
    assert libvirt.calls == []
