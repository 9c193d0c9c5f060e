"""Building a box, up to and around the tools that do it."""

from __future__ import annotations

import errno
import shutil
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from labkit.boxes import build as box_build
from labkit.boxes.cache import (
    CachedBox,
    build_lock,
    cached,
)
from labkit.boxes.definition import (
    find_box,
)
from labkit.errors import CommandError, HostError, OperationError, UsageError
from labkit.waiting import WaitCancelled
from tests.support.boxtree import CHECKOUT, debian, put_in_cache, stand_in_box
from tests.support.users import public_directory, without_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.boxes.anaconda.install import InstallJob


def test_build_of_a_cached_box_says_so_and_makes_nothing(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path)
    said: list[str] = []
    assert box_build.build(definition, tmp_path, said.append) == cached(definition, tmp_path)
    assert said == ["box 'rehearsal' is cached"]


def test_build_beside_another_waits_and_takes_what_that_made(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    waiting = threading.Event()
    found: list[CachedBox] = []

    def told(message: str) -> None:
        assert "waiting for another labkit" in message
        waiting.set()

    with build_lock("rehearsal", tmp_path, progress=print):
        second = threading.Thread(
            target=lambda: found.append(box_build.build(definition, tmp_path, told))
        )
        second.start()
        assert waiting.wait(10)
        box = put_in_cache(definition, tmp_path)
    second.join(10)
    assert found == [box]


def test_build_without_space_says_how_much_is_needed(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(HostError, match="GiB are free"):
        box_build.check_space(tmp_path, "rehearsal", needed=free * 2)


@pytest.mark.parametrize(
    ("log", "error", "told"),
    [
        ("E: Unable to fetch\nCould not resolve 'deb.invalid'\n", HostError, "not be downloaded"),
        ("tar: x: No space left on device\n", HostError, "ran full"),
        ("E: unmet dependencies\n", CommandError, "failed"),
    ],
)
def test_build_failure_is_explained_by_its_log(
    log: str, error: type[Exception], told: str
) -> None:
    explained = box_build.explain_failure("rehearsal", log, CommandError("it ended"))
    assert type(explained) is error
    assert told in explained.message
    assert explained.details[-1] == log.splitlines()[-1]


def test_mmdebstrap_command_takes_trims_in_order_and_a_mirror_last(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    odd = tmp_path / "a b"
    command = box_build.mmdebstrap_command(
        debian(definition),
        definition.sources,
        overlay=odd,
        target=tmp_path / "t.tar",
        mirror="http://mirror.invalid/debian",
    )
    assert command[-1] == "http://mirror.invalid/debian"
    assert f"--customize-hook=tar-in '{odd}' /" in command
    (customize,) = [part for part in command if "/customize" in part]
    applied = customize.split("/customize ")[1].split()
    assert applied == [n for n in debian(definition).trims if f"trims/{n}" in definition.sources]
    excluded = [i for i, part in enumerate(command) if "path-exclude" in part]
    included = [i for i, part in enumerate(command) if "path-include" in part]
    assert max(excluded) < min(included)  # dpkg's last match decides


def test_overlay_has_modes_of_its_own_and_no_top_level_links(tmp_path: Path) -> None:
    target = tmp_path / "overlay.tar"
    box_build.overlay_tar(find_box("rehearsal", CHECKOUT).sources, target)
    with tarfile.open(target) as archive:
        members = {member.name: member for member in archive}
    assert members["usr/sbin/labkit-firstboot"].mode == 0o755
    assert members["etc/systemd/system/network.service"].mode == 0o644
    # Debian has links there; a directory from our tar would take their place.
    assert not {"lib", "bin", "sbin"} & {name.split("/")[0] for name in members}
    assert {member.uid for member in members.values()} == {0}


@pytest.fixture
def leftovers(tmp_path: Path) -> Callable[[], list[str]]:
    directory = tmp_path / "boxes/rehearsal"
    (directory / ".building-1").mkdir(parents=True)
    (directory / ".building-1/tree.tar").write_text("half")
    return lambda: [path.name for path in directory.glob(".building-*")]


def test_leftovers_of_a_killed_build_are_removed(
    leftovers: Callable[[], list[str]], tmp_path: Path
) -> None:
    assert leftovers()
    box_build.remove_leftovers(tmp_path / "boxes/rehearsal")
    assert not leftovers()


def test_build_with_an_iso_for_a_box_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not made from an ISO"):
        box_build.build(
            find_box("rehearsal", CHECKOUT), tmp_path, lambda _line: None, own_iso=tmp_path
        )
    assert list(tmp_path.iterdir()) == []


def test_build_with_a_missing_iso_is_refused_and_leaves_no_build(tmp_path: Path) -> None:
    definition = find_box("centos7", CHECKOUT)
    with pytest.raises(UsageError, match="does not exist"):
        box_build.build(definition, tmp_path, lambda _line: None, own_iso=tmp_path / "no.iso")
    assert list((tmp_path / "boxes/centos7").iterdir()) == []
    assert cached(definition, tmp_path) is None


OWN_ISO = b"an image"


class Installer:
    """Stands in for anaconda: leaves a disk behind, or fails."""

    def __init__(
        self, error: Exception | None = None, before: Callable[[Path], None] | None = None
    ) -> None:
        self.error = error
        self.before = before

    def __call__(
        self,
        job: InstallJob,
        progress: Callable[[str], None],
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        progress("installing")
        assert cancelled is None or not cancelled()
        job.logs.mkdir()
        (job.logs / "result.log").write_text("PACKAGE bash-4.2.46-30.el7.x86_64\nOK\n")
        job.disk.write_bytes(b"half")
        if self.before is not None:
            self.before(job.work)
        if self.error is not None:
            raise self.error


@pytest.fixture
def installed(tmp_path: Path) -> Callable[[Installer], CachedBox]:
    """Build a box from an ISO with an installer that stands in."""
    iso = tmp_path / "mine.iso"
    iso.write_bytes(OWN_ISO)
    definition = stand_in_box(tmp_path / "root", iso)

    def build(installer: Installer) -> CachedBox:
        cache = tmp_path / "cache"
        return box_build.build(definition, cache, print, own_iso=iso, installer=installer)

    return build


def left(tmp_path: Path) -> list[str]:
    top = tmp_path / "cache/boxes/centos7"
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())


def test_build_whose_installation_fails_keeps_its_logs_alone(
    installed: Callable[[Installer], CachedBox], tmp_path: Path
) -> None:
    with pytest.raises(OperationError, match="it hung"):
        installed(Installer(OperationError("it hung")))
    assert left(tmp_path) == ["install/logs/result.log"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
    ],
)
def test_build_that_cannot_write_is_a_sentence_with_the_variable(
    installed: Callable[[Installer], CachedBox], tmp_path: Path, error: OSError, told: str
) -> None:
    with pytest.raises(HostError, match=told) as caught:
        installed(Installer(error))
    assert "LABKIT_CACHE_DIR" in caught.value.hint
    assert left(tmp_path) == ["install/logs/result.log"]


def test_build_that_fails_and_cannot_be_cleared_away_tells_the_first_error(
    installed: Callable[[Installer], CachedBox], tmp_path: Path
) -> None:
    """What a failed build leaves may be in use; that is the next build's trouble."""

    def occupy(_work: Path) -> None:
        (building,) = (tmp_path / "cache/boxes/centos7").glob(".building-*")
        shutil.rmtree(building)
        building.write_text("in the way")

    with pytest.raises(OperationError, match="it hung"):
        installed(Installer(OperationError("it hung"), occupy))


def test_build_whose_installer_leaves_something_odd_tells_the_first_error(
    installed: Callable[[Installer], CachedBox],
) -> None:
    def occupy(work: Path) -> None:
        (work / "a directory").mkdir()

    with pytest.raises(OperationError, match="it hung"):
        installed(Installer(OperationError("it hung"), occupy))


def test_build_in_another_users_cache_says_so() -> None:
    with public_directory() as cache:
        cache.chmod(0o555)
        with without_root(), pytest.raises(HostError, match="Permission denied") as caught:
            box_build.build(find_box("rehearsal", CHECKOUT), cache, print)
    assert "LABKIT_CACHE_DIR" in caught.value.hint


def test_build_beside_another_is_given_up_when_cancelled(tmp_path: Path) -> None:
    with (
        build_lock("rehearsal", tmp_path, progress=print),
        pytest.raises(WaitCancelled, match="builds the box 'rehearsal' was cancelled"),
    ):
        box_build.build(find_box("rehearsal", CHECKOUT), tmp_path, print, cancelled=lambda: True)


def test_build_of_debian_packages_ends_when_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "mmdebstrap").write_text("#!/bin/sh\ntouch ../started\nexec sleep 60\n")
    (tools / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.chdir(tools)
    with pytest.raises(CommandError, match="'mmdebstrap' was cancelled"):
        box_build.build(
            find_box("rehearsal", CHECKOUT),
            tmp_path / "cache",
            print,
            cancelled=(tmp_path / "started").exists,
        )
    assert list((tmp_path / "cache/boxes/rehearsal").iterdir()) == []
