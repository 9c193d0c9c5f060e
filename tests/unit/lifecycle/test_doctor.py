from __future__ import annotations

import os
import pwd
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError
from labkit.host.inventory import Seen
from labkit.host.kvm import KvmProbe
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
from tests.fakes.tools import tools
from tests.support import labs

if TYPE_CHECKING:
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
    probe = KvmProbe(usable=False, reason="This host has no '/dev/kvm'.", hint="Turn it on.")
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
    assert doctor.space_finding(free=free, least=2, most=120).level is level


def test_check_that_meets_an_error_finds_a_problem_with_its_hint(host: Host) -> None:
    def check(_host: Host) -> Finding:
        message = "A bridge is missing."
        raise HostError(message, details=("br0",), hint="Make it.")

    found = doctor.run_check(check, host)
    assert found == Finding(
        check="check", level=Level.PROBLEM, found="A bridge is missing.\nbr0", fix="Make it."
    )


def test_kvm_that_is_not_usable_is_a_note_because_labkit_emulates(host: Host) -> None:
    assert doctor.kvm_works(host).level is Level.NOTE
    assert doctor.kvm_for_libvirt(host).level is Level.OK


def test_box_that_is_not_built_is_a_note_and_one_nobody_knows_a_problem(host: Host) -> None:
    assert doctor.box_built(host).fix == "Run 'labkit box build rehearsal'."
    session = replace(host.session, lab=replace(host.session.lab, box="rehearsla"))
    found = doctor.run_check(doctor.box_built, replace(host, session=session))
    assert found.level is Level.PROBLEM
    assert found.fix == "Did you mean 'rehearsal'?"


def test_lab_whose_range_is_in_use_does_not_fit(host: Host) -> None:
    assert doctor.run_check(doctor.lab_fits, host).level is Level.OK
    address = host.session.lab.nodes[0].nics[0].address
    taken = replace(host, seen=replace(NOTHING, links={"eth0": (address,)}))
    found = doctor.run_check(doctor.lab_fits, taken)
    assert found.level is Level.PROBLEM
    assert "overlaps" in found.found


def test_without_libvirt_only_that_is_a_problem(host: Host) -> None:
    silent = replace(host, seen=None, libvirt_error=HostError("No answer.", hint="Start it."))
    found = [
        doctor.run_check(check, silent)
        for check in (doctor.libvirt_answers, doctor.space_suffices, doctor.lab_fits)
    ]
    assert [item.level for item in found] == [Level.PROBLEM, Level.NOTE, Level.NOTE]


def test_every_finding_carries_the_name_of_its_check() -> None:
    assert len({check.__name__ for check in doctor.CHECKS}) == len(doctor.CHECKS)
