"""`labkit box build` of stand-in ISOs, as a person runs it: success, each failure, and kills."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess  # noqa: TID251 -- labkit itself is the child that has to be killed half-way
import sys
import tarfile
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from labkit.boxes.anaconda.install import InstallJob, install, owner_mark, remove_leftovers
from labkit.boxes.cache import cached
from labkit.boxes.definition import KICKSTART, find_box
from labkit.boxes.file import KickstartBoxFile
from labkit.errors import HostError
from labkit.host.files import cache_root
from labkit.host.libvirt.connection import connect
from labkit.host.process import CommandResult, environment, run
from labkit.waiting import Deadline, NotYet, wait_until
from tests.support import standin_iso
from tests.support.driver import ROOT, virsh
from tests.support.standin_iso import BootFiles, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

# Under TCG five times as much; a guest that boots is never silent for half of that.
SILENCE = 3
BUILD_SECONDS = 120.0
PACKAGES = ("chrony", "rsync", "net-tools")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A labkit with boxes of its own, laid out as a wheel has it, and a cache of its own.

    Attributes:
        path: Holds the package `labkit`.
        cache: LABKIT_CACHE_DIR of its commands.
        boot: Kernel and initrd of the stand-in ISOs.
    """

    path: Path
    cache: Path
    boot: BootFiles

    def add_box(
        self, name: str, failure: Failure, *, write_mib: int = 8, log_kib: int = 0
    ) -> Path:
        """Write a stand-in ISO and the box made from it; return the ISO."""
        iso = self.path / f"{name}.iso"
        standin_iso.make(
            iso,
            boot=self.boot,
            packages=PACKAGES,
            failure=failure,
            write_mib=write_mib,
            log_kib=log_kib,
        )
        content = iso.read_bytes()
        box = {
            "based_on": "centos7",
            "description": f"Stand-in for tests: {failure.value}.",
            "stand_in": True,
            "iso": {
                "name": iso.name,
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "sources": ["http://192.0.2.1/stand-in.iso"],
                "label": standin_iso.LABEL,
            },
            "packages": ["@core", *PACKAGES],
            "guest": {},
            "disk_gib": 2,
            "memory_mib": 1024,
            "timeouts": {"install": 120, "silence": SILENCE},
        }
        file = self.path / "labkit/data/boxes" / name / "box.yaml"
        file.parent.mkdir()
        # JSON is YAML.
        file.write_text(json.dumps(box))
        return iso

    def argv(self, *arguments: str | Path) -> list[str]:
        """Return a command line of this labkit, to be run in its directory."""
        return [sys.executable, "-m", "labkit", *map(str, arguments)]

    def environment(self) -> dict[str, str]:
        return environment(LABKIT_CACHE_DIR=str(self.cache), NO_COLOR="1")

    def run(self, *arguments: str | Path, code: int = 0) -> CommandResult:
        """Run a command of this labkit to its end and require its exit code."""
        result = run(
            self.argv(*arguments),
            timeout=BUILD_SECONDS,
            check=False,
            env=self.environment(),
            cwd=self.path,
        )
        assert result.returncode == code, f"{result.stdout}\n{result.stderr}"
        return result

    @contextmanager
    def started(self, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """Start a command and leave it running; it is killed when the context ends."""
        child = subprocess.Popen(
            self.argv(*arguments),
            env=self.environment(),
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield child
        finally:
            child.kill()
            child.communicate()

    def published(self, name: str) -> list[Path]:
        return sorted((self.cache / "boxes" / name).glob("*/labkit.box"))

    def files(self, name: str) -> set[str]:
        """Return what a build left in the cache beside published boxes, without logs."""
        root = self.cache / "boxes" / name
        found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        return {path for path in found if not path.startswith("install/logs/")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    path = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "labkit", path / "labkit", ignore=shutil.ignore_patterns("__pycache__"))
    data = path / "labkit/data"
    for name in ("boxes", "kickstart"):
        shutil.copytree(ROOT / name, data / name)
    for name in ("Vagrantfile.j2", "lab.yaml"):
        shutil.copy(ROOT / name, data / name)
    rehearsal = cached(find_box("rehearsal"), cache_root())
    assert rehearsal is not None
    boot = standin_iso.boot_files(rehearsal, cache_root())
    return Tree(path=path, cache=tmp_path_factory.mktemp("cache"), boot=boot)


def build_domains() -> list[str]:
    return [name for name in virsh("list", "--all", "--name").split() if "labkit-build" in name]


def wait_for_domains(count: int, seconds: float = 30) -> None:
    def check() -> None:
        if len(build_domains()) != count:
            raise NotYet(build_domains())

    wait_until(check, what=f"{count} domain(s)", deadline=Deadline.after(seconds))


def test_killed_and_interrupted_builds_leave_nothing_and_the_next_one_succeeds(
    tree: Tree,
) -> None:
    # More than virtlogd keeps in one file: the rest of the log goes on in a new one.
    iso = tree.add_box("stand-in", Failure.NONE, log_kib=3072)
    log = tree.cache / "boxes/stand-in/install/logs/serial.log"
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        with tree.started("box", "build", "stand-in", "--iso", iso) as child:
            wait_for_domains(1)
            wait_until(
                lambda: _require(log.stat().st_size),
                what="a first line on the console",
                deadline=Deadline.after(30),
            )
            child.send_signal(number)
            assert child.wait(timeout=30) == code
        # Left alone, the guest would go on for longer than that.
        wait_for_domains(0, seconds=3)
        assert tree.published("stand-in") == []

    built = tree.run("box", "build", "stand-in", "--iso", iso)

    assert "installing package" in built.stderr
    assert "the installed system reported success" in built.stderr
    assert (log.parent / "anaconda.log.0").is_file()
    assert build_domains() == []
    (box,) = tree.published("stand-in")
    _check_box(tree, box)
    started = time.monotonic()
    again = tree.run("box", "build", "stand-in", "--iso", iso)
    assert "cached" in again.stderr
    assert time.monotonic() - started < 3
    tree.run("box", "verify", "stand-in")


def _require(condition: object) -> None:
    if not condition:
        raise NotYet


def _check_box(tree: Tree, box: Path) -> None:
    with tarfile.open(box, "r:") as archive:
        names = archive.getnames()
        member = archive.getmember("box.img")
        metadata = _json_in(archive, "metadata.json")
        provenance = _json_in(archive, "provenance.json")
    assert set(names) >= {"metadata.json", "Vagrantfile", "box.img"}
    assert metadata["virtual_size"] == 2
    assert "chrony-1.0-1.el7.x86_64" in provenance["packages"]
    # The stand-in wrote random bytes, which do not get smaller.
    assert member.size > 8 << 20
    install_files = {name for name in tree.files("stand-in") if name.startswith("install/")}
    assert install_files == set()
    assert not list(tree.cache.glob("boxes/*/.building-*"))


def _json_in(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
    stream = archive.extractfile(name)
    assert stream is not None
    found: dict[str, Any] = json.load(stream)
    return found


@pytest.mark.parametrize(
    ("failure", "words", "evidence"),
    [
        (
            Failure.NO_KICKSTART,
            "the kickstart or the installer's image was not found on the CD-ROMs",
            "Entering emergency mode",
        ),
        (
            Failure.MISSING_PACKAGE,
            "anaconda gave up: Missing package: net-tools",
            "The installer will now terminate",
        ),
        (
            Failure.POST_ERROR,
            "a script of the kickstart failed, line 1",
            "FAILED anaconda stopped with an error",
        ),
        (
            Failure.HANG,
            f"it hung: no console output, no log line and no disk write for {SILENCE * 5} s",
            "Installing rsync (2/3)",
        ),
        (
            Failure.PANIC,
            "the installer's kernel panicked: sysrq triggered crash",
            "end Kernel panic",
        ),
        (
            Failure.POWEROFF_WITHOUT_OK,
            "the machine went off or restarted before the installed system reported success",
            "Power down",
        ),
        (
            Failure.REBOOT,
            "the machine went off or restarted before the installed system reported success",
            "Restarting system",
        ),
    ],
    ids=lambda value: value.value if isinstance(value, Failure) else None,
)
def test_failed_installation_is_named_with_evidence_and_publishes_nothing(
    tree: Tree, failure: Failure, words: str, evidence: str
) -> None:
    name = failure.value
    iso = tree.add_box(name, failure)
    result = tree.run("box", "build", name, "--iso", iso, code=4)

    # The terminal's width is no part of the message.
    said = " ".join(result.stderr.split())
    assert f"Installing the box '{name}' failed at the stage" in said
    assert words in said
    assert evidence in said
    logs = tree.cache / "boxes" / name / "install/logs"
    assert str(logs) in result.stderr.replace("\n", "")
    kept = {path.name for path in logs.iterdir()}
    assert kept == {"serial.log", "anaconda.log", "result.log", "domain.xml", "ks.cfg"}
    assert build_domains() == []
    assert tree.files(name) == set()
    assert "Traceback" not in result.stderr


def test_full_disk_is_said_to_be_full(tree: Tree, tmp_path: Path) -> None:
    iso = tree.add_box("large", Failure.NONE, write_mib=96)
    small = tmp_path / "small"
    small.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", small], timeout=10)
    definition = find_box("large", tree.path / "labkit/data")
    file = definition.file
    assert isinstance(file, KickstartBoxFile)
    job = InstallJob(
        name="large",
        box=file,
        iso=iso,
        work=small,
        kickstart=definition.sources[KICKSTART].decode(),
        domain_type="qemu",
    )
    try:
        with pytest.raises(HostError) as caught:
            install(job, progress=lambda _line: None)
    finally:
        run(["umount", small], timeout=10)

    assert "QEMU could not write to" in caught.value.message
    assert "0 MiB free" in caught.value.message
    assert build_domains() == []


IDLE = """
<domain type='qemu'>
  <name>{name}</name><uuid>{uuid}</uuid><description>{description}</description>
  <memory unit='MiB'>16</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
</domain>
"""


def test_leftover_of_a_dead_labkit_is_removed_and_nothing_else(tmp_path: Path) -> None:
    own = owner_mark(os.getpid())
    descriptions = {
        "labkit-build-dead": own.rpartition(" ")[0] + " 1",
        "labkit-build-alive": own,
        "somebody-else": "",
    }
    for name, description in descriptions.items():
        xml = tmp_path / f"{name}.xml"
        xml.write_text(IDLE.format(name=name, uuid=uuid.uuid4(), description=description))
        virsh("create", str(xml))
    said: list[str] = []
    try:
        with connect() as host:
            remove_leftovers(host, said.append)
        left = set(virsh("list", "--all", "--name").split())
    finally:
        for name in descriptions:
            # One of them is meant to be gone.
            run(["virsh", "destroy", name], timeout=30, check=False)

    assert left == {"labkit-build-alive", "somebody-else"}
    assert said == ["removing 'labkit-build-dead', which a killed labkit left"]
