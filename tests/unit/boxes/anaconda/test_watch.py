"""How an installation is followed: growing files on a clock that the test turns."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.anaconda.log import InstallState
from labkit.boxes.anaconda.watch import (
    LINE_BYTES,
    SETTLE_SECONDS,
    InstallOutcome,
    LogTail,
    Patience,
    Watch,
    outcome,
)
from labkit.host.libvirt.xml import DomainState
from labkit.waiting import NotYet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = Patience(silence=600.0, last_words=15.0)
FAILED = InstallState(failure="it broke", insight=2)
DONE = InstallState(ok=True)


def decided(
    state: InstallState,
    *,
    paused: bool = False,
    off: float | None = None,
    failing: float = 0.0,
    silent: float = 0.0,
) -> InstallOutcome | None:
    return outcome(
        state, paused=paused, off=off, failing=failing, silent=silent, patience=PATIENCE
    )


def test_outcome_ok_and_off_is_success() -> None:
    assert decided(DONE, off=0.0) == InstallOutcome()


def test_outcome_ok_but_still_on_is_not_decided() -> None:
    assert decided(DONE) is None


def test_outcome_off_without_ok_is_a_failure_once_the_logs_had_time() -> None:
    assert decided(InstallState(), off=0.0) is None
    found = decided(InstallState(), off=SETTLE_SECONDS)
    assert found is not None
    assert found.reason.startswith("the machine went off or restarted before")


def test_outcome_failure_waits_for_last_words_or_the_end() -> None:
    assert decided(FAILED, failing=14.9) is None
    assert decided(FAILED, failing=15.0) == InstallOutcome(reason="it broke")
    assert decided(FAILED, off=0.0) == InstallOutcome(reason="it broke")


def test_outcome_ok_after_a_failure_is_a_failure() -> None:
    state = InstallState(ok=True, failure="it broke", insight=2)
    assert decided(state, off=5.0) == InstallOutcome(reason="it broke")


def test_outcome_silence_is_hung_also_after_ok() -> None:
    for state in (InstallState(), DONE):
        assert decided(state, silent=599.0) is None
        found = decided(state, silent=600.0)
        assert found is not None
        assert found.reason == (
            "it hung: no console output, no log line and no disk write for 600 s"
        )


def test_outcome_paused_is_said_to_be_so() -> None:
    found = decided(InstallState(), paused=True)
    assert found is not None
    assert found.paused


def test_tail_returns_whole_lines_only_and_keeps_the_rest(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    tail = LogTail(path=log)
    assert tail.lines() == []

    log.write_bytes(b"one\ntw")
    assert tail.lines() == ["one"]
    assert tail.rest() == "tw"
    with log.open("ab") as stream:
        stream.write(b"o\n\xff\n")
    assert tail.lines() == ["two", "\ufffd"]
    assert tail.size == 10
    assert tail.rest() == ""
    tail.close()


def test_tail_of_a_rotated_log_loses_no_line(tmp_path: Path) -> None:
    log = tmp_path / "anaconda.log"
    log.write_bytes(b"one\n")
    tail = LogTail(path=log)
    assert tail.lines() == ["one"]

    with log.open("ab") as stream:
        stream.write(b"two\nthr")
    log.rename(tmp_path / "anaconda.log.0")
    log.write_bytes(b"ee\nfour\n")

    assert tail.lines() == ["two", "three", "four"]
    assert tail.lines() == []
    tail.close()


def test_tail_of_an_endless_line_takes_no_endless_memory(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    log.write_bytes(b"." * (LINE_BYTES + 1))
    tail = LogTail(path=log)

    assert [len(line) for line in tail.lines()] == [LINE_BYTES + 1]
    assert tail.rest() == ""
    tail.close()


@dataclass(slots=True, kw_only=True)
class FakeMachine:
    """The outside of a machine that installs: a directory of logs and a disk, a state and a clock, all moved by the test."""

    directory: Path
    state: DomainState | None = DomainState.RUNNING
    now: float = 1000.0
    said: list[str] = field(default_factory=list)

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        (self.directory / "disk.qcow2").write_bytes(b"")
        watch = Watch(
            logs=self.directory,
            disk=self.directory / "disk.qcow2",
            patience=PATIENCE,
            machine=lambda: self.state,
            progress=self.said.append,
            clock=lambda: self.now,
        )
        with closing(watch):
            yield watch

    def write(self, name: str, text: str) -> None:
        with (self.directory / name).open("a") as stream:
            stream.write(text)


def test_watch_reports_each_change_once_and_ends_when_ok_and_off(tmp_path: Path) -> None:
    machine = FakeMachine(directory=tmp_path)
    with machine.watch() as watch:
        machine.write("serial.log", "Starting installer, one moment...\n")
        for _ in range(2):
            with pytest.raises(NotYet):
                watch.look()
        machine.write("anaconda.log", "10:00:00,1 DEBUG packaging:Installing bash (1/2)\n")
        with pytest.raises(NotYet):
            watch.look()
        # No line end: the last thing a machine says may lack it.
        machine.write("result.log", "OK")
        machine.state = None

        assert watch.look() == InstallOutcome()
        assert machine.said == [
            "anaconda prepares the installation",
            "installing package 1 of 2",
            "the installed system reported success",
        ]


def test_watch_ok_that_arrives_after_the_end_still_counts(tmp_path: Path) -> None:
    machine = FakeMachine(directory=tmp_path, state=DomainState.SHUTOFF)
    with machine.watch() as watch:
        with pytest.raises(NotYet):
            watch.look()
        machine.now += SETTLE_SECONDS / 2
        machine.write("result.log", "OK\n")

        assert watch.look() == InstallOutcome()


@pytest.mark.parametrize("sign", ["serial.log", "anaconda.log", "result.log", "disk.qcow2"])
def test_watch_any_sign_of_life_begins_the_silence_anew(tmp_path: Path, sign: str) -> None:
    machine = FakeMachine(directory=tmp_path)
    with machine.watch() as watch:
        with pytest.raises(NotYet):
            watch.look()
        machine.now += 599
        machine.write(sign, "x")
        with pytest.raises(NotYet):
            watch.look()
        machine.now += 599
        with pytest.raises(NotYet):
            watch.look()
        machine.now += 1

        assert "it hung" in watch.look().reason


def test_watch_last_lines_have_a_heading_for_each_log_that_spoke(tmp_path: Path) -> None:
    machine = FakeMachine(directory=tmp_path, state=None)
    with machine.watch() as watch:
        machine.write("serial.log", "\n".join(f"line {number}" for number in range(20)))
        machine.write("result.log", "FAILED no disk\n")
        found = watch.look()

        assert found.reason == "the kickstart reported: no disk"
        assert watch.last_lines() == (
            "Last lines of the serial console:",
            *(f"  line {number}" for number in range(11, 20)),
            "Last lines of the result port:",
            "  FAILED no disk",
        )
