"""Waiting for another labkit: who it is, how long, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess  # noqa: TID251 -- another process is what holds the lock here
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError, OperationError
from labkit.host.locks import held
from labkit.waiting import WaitCancelled
from tests.support.users import public_directory, without_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def silent(_line: str) -> None:
    return


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.lock"
    path.touch()
    return path


@contextmanager
def other_process(file: Path) -> Iterator[int]:
    """Let another process hold the lock; its command line ends like labkit's."""
    argv = [sys.executable, "-c", HOLDER, str(file), "/opt/bin/labkit", "box", "build", "x"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        try:
            yield child.pid
        finally:
            child.kill()


def test_lock_that_is_free_is_held_without_a_word(tmp_path: Path) -> None:
    said: list[str] = []
    with held(tmp_path / "new/some.lock", doing="works", seconds=0, progress=said.append):
        assert (tmp_path / "new/some.lock").exists()
    assert said == []


def test_lock_of_another_process_names_it_and_is_given_up_in_time(file: Path) -> None:
    said: list[str] = []
    with (
        other_process(file) as pid,
        pytest.raises(OperationError) as caught,
        held(file, doing="builds the box 'x'", seconds=0.2, progress=said.append),
    ):
        pass
    who = f"another labkit (process {pid}, 'labkit box build x')"
    assert said == [f"waiting for {who} that builds the box 'x'"]
    assert caught.value.message == f"A{who[1:]} builds the box 'x'."


def test_lock_waited_for_long_tells_again_and_again(file: Path) -> None:
    said: list[str] = []
    with (
        held(file, doing="works", seconds=0, progress=silent),
        pytest.raises(OperationError, match="still works after 1 s of waiting"),
        held(file, doing="works", seconds=1.3, progress=said.append, told_every=0.3),
    ):
        pass
    assert len(said) > 2
    assert "s so far" in said[-1]


def test_lock_waited_for_is_given_up_when_cancelled(file: Path) -> None:
    cancelled = threading.Event()

    def told(_line: str) -> None:
        cancelled.set()

    with (
        held(file, doing="works", seconds=0, progress=silent),
        pytest.raises(WaitCancelled, match="that works was cancelled"),
        held(file, doing="works", seconds=60, progress=told, cancelled=cancelled.is_set),
    ):
        pass


def test_lock_waited_for_is_interrupted_by_ctrl_c(file: Path) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))

    def told(_line: str) -> None:
        timer.start()

    with (
        held(file, doing="works", seconds=0, progress=silent),
        pytest.raises(KeyboardInterrupt),
        held(file, doing="works", seconds=60, progress=told),
    ):
        pass


def test_lock_of_a_killed_process_is_free(file: Path) -> None:
    with other_process(file):
        pass
    with held(file, doing="works", seconds=0, progress=silent):
        pass


def test_lock_is_free_again_after_an_error_in_the_block(file: Path) -> None:
    with suppress(KeyError), held(file, doing="works", seconds=0, progress=silent):
        raise KeyError
    with held(file, doing="works", seconds=0, progress=silent):
        pass


def test_lock_on_a_file_of_another_user_that_can_only_be_read_works() -> None:
    with public_directory() as place:
        file = place / "labkit.box"
        file.touch(mode=0o444)
        place.chmod(0o555)
        with without_root(), held(file, doing="works", seconds=0, progress=silent, make=False):
            assert not os.access(file, os.W_OK, effective_ids=True)


def test_lock_in_a_place_that_cannot_be_written_names_the_file_and_the_variable() -> None:
    with public_directory() as place:
        place.chmod(0o555)
        with (
            without_root(),
            pytest.raises(HostError, match="Permission denied") as caught,
            held(place / "locks/some.lock", doing="works", seconds=0, progress=silent),
        ):
            pass
    assert "LABKIT_CACHE_DIR" in caught.value.hint


def test_lock_on_a_file_that_is_not_to_be_made_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(HostError, match="No such file"),
        held(tmp_path / "gone", doing="x", seconds=0, progress=silent, make=False),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
