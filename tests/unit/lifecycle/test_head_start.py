from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from labkit.errors import CommandError
from labkit.lifecycle.head_start import HeadStart, started
from labkit.state.directory import LabDirectory, LabState, NodeState, path_lab_id
from labkit.state.session import Session
from labkit.state.tools import real_tools
from tests.fakes import vagrant
from tests.support import labs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 20.0


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "cache"))
    return vagrant.install(tmp_path, monkeypatch)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    directory = LabDirectory(tmp_path / "demo")
    directory.create()
    return Session(
        lab=labs.lab(),
        lab_file=tmp_path / "lab.yaml",
        directory=directory,
        progress=lambda _event: None,
        tools=real_tools(),
    )


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as found:
        yield found


def start(session: Session, pool: ThreadPoolExecutor) -> HeadStart:
    early = started(session, pool)
    assert early is not None
    return early


def test_head_start_of_a_new_lab_is_for_all_nodes_and_waits(
    session: Session, pool: ThreadPoolExecutor, record: Path
) -> None:
    session.directory.gate.touch()
    early = start(session, pool)
    early.made.result(SECONDS)
    assert early.names == ("controller", "compute")
    assert (record / "arguments").read_text().split()[:3] == ["up", *early.names]
    environment = vagrant.environment_in(record)
    assert environment["LABKIT_GATE"] == str(session.directory.gate)
    assert not session.directory.gate.exists()
    assert "load __FILE__" in (session.directory.vagrant / "Vagrantfile").read_text()


def test_head_start_follows_one_that_was_killed(
    session: Session, pool: ThreadPoolExecutor, record: Path
) -> None:
    start(session, pool).made.result(SECONDS)
    (record / "arguments").unlink()
    start(session, pool).made.result(SECONDS)
    assert (record / "arguments").exists()


def test_head_start_is_not_for_a_lab_with_nodes(
    session: Session, pool: ThreadPoolExecutor, record: Path
) -> None:
    state = LabState(lab="demo", lab_id=path_lab_id(session.directory.path))
    session.directory.save(state.with_node("controller", NodeState()))
    assert started(session, pool) is None
    assert not (session.directory.vagrant / "Vagrantfile").exists()
    assert not (record / "arguments").exists()


def test_head_start_leaves_the_vagrantfile_of_a_lab_whose_state_was_lost(
    session: Session, pool: ThreadPoolExecutor, record: Path
) -> None:
    vagrantfile = session.directory.vagrant / "Vagrantfile"
    vagrantfile.write_text("Vagrant.configure('2') { }\n")
    session.directory.gate.touch()
    assert started(session, pool) is None
    assert vagrantfile.read_text() == "Vagrant.configure('2') { }\n"
    assert session.directory.gate.exists()
    assert not (record / "arguments").exists()


def test_head_start_is_left_out_where_nothing_can_be_written(
    session: Session, pool: ThreadPoolExecutor, record: Path
) -> None:
    session.directory.vagrant.rmdir()
    assert started(session, pool) is None
    assert not (record / "arguments").exists()


@pytest.mark.usefixtures("record")
def test_dropped_head_start_ends_its_vagrant(
    session: Session, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVE", "exec sleep 100")
    before = time.monotonic()
    early = start(session, pool)
    early.drop()
    assert isinstance(early.made.exception(0), CommandError)
    assert time.monotonic() - before < SECONDS


@pytest.mark.usefixtures("record")
def test_head_start_ends_with_its_session(
    session: Session, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVE", "exec sleep 100")
    early = start(session, pool)
    session.cancelled.set()
    assert isinstance(early.made.exception(SECONDS), CommandError)


@pytest.mark.usefixtures("record")
def test_drop_of_a_head_start_that_failed_is_quiet(
    session: Session, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVE", "exit 3")
    early = start(session, pool)
    early.drop()
    with pytest.raises(CommandError, match="exited with 3"):
        early.made.result(0)
