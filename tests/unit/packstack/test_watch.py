from __future__ import annotations

import os
import subprocess  # noqa: TID251 -- the guest's bash, run here
from typing import TYPE_CHECKING

import pytest

from labkit.packstack.watch import NodeSample, parse_watch, watch_script

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IP = "172.16.208.39"
GUEST_TMP = "/var/tmp/"  # noqa: S108 -- where Packstack works in the guest


@pytest.fixture
def packstack(tmp_path: Path) -> Path:
    directory = tmp_path / "packstack" / "0123abcd" / "manifests"
    directory.mkdir(parents=True)
    return directory


def sample(
    root: Path, offsets: Mapping[str, int], since: str = "/nowhere", fetched: str = ""
) -> NodeSample:
    script = watch_script(offsets, since=since, fetched=fetched).replace(GUEST_TMP, f"{root}/")
    done = subprocess.run(
        ["bash", "-s"], input=script.encode(), capture_output=True, check=True, cwd=root
    )
    assert done.stderr == b""
    return parse_watch(done.stdout)


def test_node_without_logs_shows_its_boot_id_alone(tmp_path: Path) -> None:
    seen = sample(tmp_path, {})
    assert seen.logs == ()
    assert len(seen.boot_id) == 36


def test_logs_come_with_what_is_new(tmp_path: Path, packstack: Path) -> None:
    (packstack / f"{IP}_controller.pp.finished").write_bytes(b"one\ntwo\n")
    (packstack / f"{IP}_network.pp.running").write_bytes(b"no line end \xff labkit-log x 1 2")
    (packstack / f"{IP}_compute.pp").write_bytes(b"a manifest is no log")

    first = sample(tmp_path, {})
    again = sample(tmp_path, {log.path: log.size for log in first.logs} | {"/other": 5})

    assert [(log.manifest, log.size) for log in first.logs] == [
        (f"{IP}_network.pp", 30),
        (f"{IP}_controller.pp", 8),
    ]
    assert first.logs[0].content == b"no line end \xff labkit-log x 1 2"
    assert [log.content for log in again.logs] == [b"", b""]


def test_logs_that_packstack_fetched_are_shown_when_asked_for_alone(tmp_path: Path) -> None:
    fetched = tmp_path / "packstack" / "latest" / "manifests"
    fetched.mkdir(parents=True)
    log = fetched / f"{IP}_compute.pp.log"
    log.write_bytes(b"one\nError: two\n")
    assert sample(tmp_path, {}).logs == ()
    known = {str(log).removesuffix(".log"): 4}
    (seen,) = sample(tmp_path, known, fetched=str(fetched)).logs
    assert (seen.manifest, seen.size, seen.content) == (f"{IP}_compute.pp", 15, b"Error: two\n")


def test_log_keeps_its_identity_when_puppet_is_done(tmp_path: Path, packstack: Path) -> None:
    running = packstack / f"{IP}_controller.pp.running"
    running.write_bytes(b"one\n")
    before = sample(tmp_path, {}).logs[0]
    with running.open("ab") as log:
        log.write(b"two\n")
    running.rename(packstack / f"{IP}_controller.pp.finished")

    after = sample(tmp_path, {before.path: before.size}).logs[0]

    assert (after.path, after.content) == (before.path, b"two\n")


def test_logs_of_earlier_runs_are_left_out(tmp_path: Path, packstack: Path) -> None:
    old = packstack / f"{IP}_controller.pp.finished"
    old.write_bytes(b"old\n")
    mark = tmp_path / "mark"
    mark.touch()
    past = mark.stat().st_mtime - 60
    os.utime(old, (past, past))
    assert sample(tmp_path, {}, since=str(mark)).logs == ()
    assert len(sample(tmp_path, {}).logs) == 1


def test_hostile_path_runs_nothing_and_keeps_its_offset(tmp_path: Path) -> None:
    manifests = tmp_path / "packstack" / "x'; touch oops; ' y" / "manifests"
    manifests.mkdir(parents=True)
    (manifests / f"{IP}_controller.pp.running").write_bytes(b"one\ntwo\n")
    known = {f"{manifests}/{IP}_controller.pp": 4, "/y\n/z 9": 3, "relative": 1}
    (log,) = sample(tmp_path, known).logs
    assert (log.size, log.content) == (8, b"two\n")
    assert not (tmp_path / "oops").exists()


@pytest.mark.parametrize("printed", [b"", b"nonsense", b"boot x\ngarbage\n", b"boot a b\n"])
def test_garbage_is_refused(printed: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected|values to unpack"):
        parse_watch(printed)
