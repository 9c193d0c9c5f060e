from __future__ import annotations

import subprocess  # noqa: TID251 -- the guest's bash, run here
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError
from labkit.host.process import environment
from labkit.host.ssh import ScriptResult
from labkit.packstack import detached
from labkit.packstack.detached import Job, RunFile, RunSample, RunState
from labkit.waiting import Deadline, NotYet, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.host import ssh

FAKE_SYSTEMD = Path(__file__).parents[2] / "fakes" / "systemd"


@dataclass
class FakeGuest:
    """Runs what would go to a guest in a bash of this host, with a fake systemd."""

    directory: Path

    def run_script(self, script: str, *, what: str, timeout: float) -> ScriptResult:
        del what
        path = f"{FAKE_SYSTEMD}:{environment()['PATH']}"
        done = subprocess.run(
            ["bash", "-s"],
            input=f"{{\n{script}\n}} </dev/null\nexit\n".encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
            env=environment(PATH=path, FAKE_SYSTEMD=str(self.directory)),
        )
        return ScriptResult(
            returncode=done.returncode, stdout=done.stdout, stderr=done.stderr.decode()
        )


@pytest.fixture
def guest(tmp_path: Path) -> FakeGuest:
    return FakeGuest(tmp_path)


@pytest.fixture
def job(guest: FakeGuest, tmp_path: Path) -> Iterator[Job]:
    job = Job(unit="labkit-test", description="a 'test'", runs=PurePosixPath(tmp_path / "runs"))
    yield job
    detached.stop(as_connection(guest), job)


def as_connection(guest: FakeGuest) -> ssh.Connection:
    return guest  # type: ignore[return-value] # it has the one method that is used


def ended(guest: FakeGuest, job: Job, offset: int = 0) -> RunSample:
    def check() -> RunSample:
        found = detached.sample(as_connection(guest), job, offset=offset)
        if found.state is RunState.RUNNING:
            msg = "it runs"
            raise NotYet(msg)
        return found

    return wait_until(check, what="the run's end", deadline=Deadline.after(20))


def start(guest: FakeGuest, job: Job, script: str, *files: RunFile, run_id: str = "r1") -> bool:
    return detached.start(as_connection(guest), job, script, run_id=run_id, files=files)


def test_sample_of_a_run_never_started_says_none(guest: FakeGuest, job: Job) -> None:
    found = detached.sample(as_connection(guest), job, offset=0)
    assert (found.state, found.code, found.size, found.output) == (RunState.NONE, None, 0, b"")


def test_run_that_ends_leaves_output_and_exit_code(guest: FakeGuest, job: Job) -> None:
    assert start(guest, job, "echo out; echo err >&2; cat; exit 7")
    found = ended(guest, job)
    assert (found.state, found.code, found.run_id) == (RunState.ENDED, 7, "r1")
    assert found.output == b"out\nerr\n"
    assert not found.rebooted
    assert found.free_bytes > 0


def test_second_start_of_a_running_run_starts_nothing(guest: FakeGuest, job: Job) -> None:
    assert start(guest, job, "sleep 30")
    assert not start(guest, job, "echo second", run_id="r2")
    assert detached.sample(as_connection(guest), job, offset=0).run_id == "r1"


def test_start_after_an_ended_run_keeps_the_earlier_ones_output(
    guest: FakeGuest, job: Job
) -> None:
    for number in range(detached.KEPT_RUNS + 2):
        assert start(guest, job, f"echo {number}", run_id=f"r{number}")
        assert ended(guest, job).output == f"{number}\n".encode()
    kept = sorted(path.name for path in Path(job.runs).glob(f"{job.unit}*"))
    assert len(kept) == detached.KEPT_RUNS


def test_output_from_an_offset_leaves_out_what_is_known(guest: FakeGuest, job: Job) -> None:
    assert start(guest, job, "printf 'caf\\303\\251'")
    ended(guest, job)
    found = detached.sample(as_connection(guest), job, offset=4)
    assert (found.output, found.size) == (b"\xa9", 5)
    assert detached.sample(as_connection(guest), job, offset=5).output == b""


def test_exit_code_that_was_never_written_is_no_success(guest: FakeGuest, job: Job) -> None:
    assert start(guest, job, "cat status.new")
    assert int(ended(guest, job).output) != 0


def test_killed_run_is_lost(guest: FakeGuest, job: Job) -> None:
    assert start(guest, job, "sleep 30")
    detached.stop(as_connection(guest), job)
    assert ended(guest, job).state is RunState.LOST


def test_run_of_another_boot_is_seen_as_rebooted(guest: FakeGuest, job: Job) -> None:
    assert start(guest, job, "sleep 30")
    detached.stop(as_connection(guest), job)
    Path(job.directory / "boot_id").write_text("another\n")
    assert ended(guest, job).rebooted


def test_run_whose_files_a_power_cut_emptied_is_lost_and_rebooted(
    guest: FakeGuest, job: Job
) -> None:
    assert start(guest, job, "sleep 30")
    detached.stop(as_connection(guest), job)
    for name in ("boot_id", "run_id", "started", "output.log"):
        Path(job.directory / name).write_bytes(b"")
    found = ended(guest, job)
    assert (found.state, found.run_id, found.started) == (RunState.LOST, "-", 0)
    assert found.rebooted


@pytest.mark.parametrize("content", [b"", b"plain\n", b"CONTENT_ENDS\n'\"$(exit 9)`\\\x00\xff"])
def test_files_arrive_byte_for_byte_and_private(
    guest: FakeGuest, job: Job, tmp_path: Path, content: bytes
) -> None:
    target = tmp_path / "it's $HOME" / "answers.cfg"
    assert start(guest, job, "true", RunFile(path=PurePosixPath(target), content=content))
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o777 == 0o600
    assert Path(job.directory).stat().st_mode & 0o777 == 0o700


def test_start_that_systemd_refuses_says_why(guest: FakeGuest, job: Job, tmp_path: Path) -> None:
    (tmp_path / "refuse").touch()
    with pytest.raises(OperationError, match="could not start 'labkit-test'") as caught:
        start(guest, job, "true")
    assert caught.value.details == ("Failed to start transient service unit: labkit-test",)


def test_sample_that_makes_no_sense_shows_what_came(job: Job) -> None:
    class FakeLiar:
        def run_script(self, script: str, *, what: str, timeout: float) -> ScriptResult:
            del script, what, timeout
            return ScriptResult(returncode=1, stdout=b"", stderr="sudo: a password is required\n")

    with pytest.raises(OperationError, match="cannot be read") as caught:
        detached.sample(FakeLiar(), job, offset=0)  # type: ignore[arg-type] # the method used
    assert caught.value.details == ("sudo: a password is required",)


@pytest.mark.parametrize(
    ("tick", "took", "seconds"), [(0.5, 0.1, 0.5), (2.0, 1.5, 3.0), (2.0, 60.0, 20.0)]
)
def test_rest_grows_with_what_a_look_takes(tick: float, took: float, seconds: float) -> None:
    assert detached.rest(tick, took) == seconds


@pytest.mark.parametrize("name", ["look", "watch", "gather", "fetch", "routes"])
def test_script_that_writes_no_file_needs_no_room_on_a_full_disk(name: str) -> None:
    # bash of CentOS 7 keeps a here-document or here-string in a temporary file.
    text = resources.files("labkit.packstack").joinpath("guest", f"{name}.sh").read_text()
    assert "<<" not in text
