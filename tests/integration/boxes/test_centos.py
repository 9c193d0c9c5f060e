"""From a stand-in ISO to a published box with everything real but the installation itself."""

from __future__ import annotations

import json
import signal
import subprocess  # noqa: TID251 -- a labkit of its own is what gets killed here
import sys
import tarfile
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from labkit.boxes import build as box_build
from labkit.boxes.anaconda import install
from labkit.boxes.anaconda.log import LogSource
from labkit.boxes.anaconda.watch import LOGS
from labkit.boxes.cache import cached, reason_to_build, verify
from labkit.boxes.centos import ISO_VARIABLE
from labkit.boxes.definition import find_box
from labkit.errors import OperationError, UsageError
from labkit.host.files import file_sha256
from labkit.host.process import run
from tests.support import standin_iso
from tests.support.boxtree import CHECKOUT, kickstart, stand_in_box

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.boxes.anaconda.install import InstallJob
    from labkit.boxes.definition import BoxDefinition

pytestmark = pytest.mark.integration

MIB = 2**20
PACKAGES = "PACKAGE systemd-219-57.el7.x86_64\nPACKAGE kernel-3.10.0-1.el7.x86_64\nOK\n"
BOOT = standin_iso.BootFiles(kernel=b"kernel" * 1000, initrd=b"initrd" * 1000)


@dataclass
class FakeInstaller:
    """Does what an installation does to the disk and the logs, without a machine.

    Attributes:
        error: Raised at the end when set.
        jobs: What was asked of it.
    """

    error: Exception | None = None
    jobs: list[InstallJob] = field(default_factory=list)

    def __call__(
        self,
        job: InstallJob,
        progress: Callable[[str], None],
        cancelled: Callable[[], bool] | None = None,  # noqa: ARG002 -- the installer's signature
    ) -> None:
        self.jobs.append(job)
        progress("installing")
        job.logs.mkdir()
        install.prepare(job)
        run(["qemu-io", "-c", "write -P 7 0 3M", "-f", "qcow2", job.disk], timeout=60)
        (job.logs / LOGS[LogSource.RESULT]).write_text(PACKAGES, encoding="utf-8")
        if self.error is not None:
            raise self.error


@pytest.fixture(scope="session")
def iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("iso") / "mine.iso"
    box = kickstart(find_box("centos7", CHECKOUT))
    names = [name for name in box.packages if not name.startswith("@")]
    standin_iso.make(target, boot=BOOT, packages=names)
    return target


@pytest.fixture
def definition(iso: Path, tmp_path: Path) -> BoxDefinition:
    return stand_in_box(tmp_path / "root", iso)


def silent(_line: str) -> None:
    return


def left(cache: Path) -> list[str]:
    """Every file of a box's directory but the logs of its last installation."""
    top = cache / "boxes/centos7"
    files = [str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()]
    return sorted(name for name in files if not name.startswith("install/logs/"))


def test_build_publishes_a_box_that_says_what_it_was_made_from(
    definition: BoxDefinition, iso: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    said: list[str] = []
    built = box_build.build(definition, cache, said.append, own_iso=iso, installer=FakeInstaller())
    assert verify(built) == ()
    assert left(cache) == [
        f"{definition.key[:16]}/{name}" for name in ("labkit.box", "provenance.json")
    ]
    assert "the guest was expected to have kernel-3.10.0-862.el7 and has kernel-3.10.0-1" in str(
        said
    )
    with tarfile.open(built.box_file, "r:") as archive:
        assert archive.getnames()[-1] == "box.img"
        member = archive.extractfile("provenance.json")
        assert member is not None
        inside = json.loads(member.read())
    run(
        ["tar", "--extract", "--file", built.box_file, "--directory", tmp_path, "box.img"],
        timeout=60,
    )
    outside = json.loads((built.box_file.parent / "provenance.json").read_text())
    for known in (inside, outside):
        assert known["iso_sha256"] == file_sha256(iso)
        assert known["packages"] == ["kernel-3.10.0-1.el7.x86_64", "systemd-219-57.el7.x86_64"]
        assert len(known["kickstart_sha256"]) == 64
    pattern: list[str | Path] = [
        "qemu-io",
        "-f",
        "qcow2",
        "-r",
        "-c",
        "read -P 7 0 3M",
        tmp_path / "box.img",
    ]
    assert "verification failed" not in run(pattern, timeout=60).stdout


def test_build_a_second_time_is_cached_and_needs_no_iso(
    definition: BoxDefinition, iso: Path, tmp_path: Path
) -> None:
    installer = FakeInstaller()
    build = box_build.build
    first = build(definition, tmp_path, silent, own_iso=iso, installer=installer)
    assert build(definition, tmp_path, silent, installer=installer) == first
    assert len(installer.jobs) == 1
    assert reason_to_build(definition, tmp_path) is None


def test_build_takes_the_iso_of_the_environment(
    definition: BoxDefinition, iso: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ISO_VARIABLE, str(iso))
    installer = FakeInstaller()
    box_build.build(definition, tmp_path / "cache", silent, installer=installer)
    assert installer.jobs[0].iso == iso


def test_build_that_fails_keeps_the_logs_alone(
    definition: BoxDefinition, iso: Path, tmp_path: Path
) -> None:
    installer = FakeInstaller(error=OperationError("it hung"))
    with pytest.raises(OperationError, match="it hung"):
        box_build.build(definition, tmp_path, silent, own_iso=iso, installer=installer)
    assert left(tmp_path) == []
    assert (installer.jobs[0].logs / "ks.cfg").read_bytes() == definition.sources["ks.cfg"]
    assert cached(definition, tmp_path) is None
    box_build.build(definition, tmp_path, silent, own_iso=iso, installer=FakeInstaller())
    assert cached(definition, tmp_path) is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_build_killed_while_installing_is_cleaned_up_by_the_next(
    definition: BoxDefinition, iso: Path, tmp_path: Path, number: signal.Signals
) -> None:
    cache = tmp_path / "cache"
    program = f"""
        import sys
        from pathlib import Path
        from labkit.boxes import build as box_build
        from labkit.boxes import definition as boxes
        from labkit.boxes.anaconda import install

        def installer(job, progress, cancelled=None):
            job.logs.mkdir()
            install.prepare(job)
            print("ready", flush=True)
            sys.stdin.read()

        box = boxes.find_box("centos7", Path({str(tmp_path / "root")!r}))
        box_build.build(box, Path({str(cache)!r}), lambda line: None, own_iso=Path({str(iso)!r}),
                        installer=installer)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(number)
        assert child.wait(30) != 0
    assert cached(definition, cache) is None
    assert bool(left(cache)) is (number is signal.SIGKILL)
    box_build.build(definition, cache, silent, own_iso=iso, installer=FakeInstaller())
    assert len(left(cache)) == 2
    assert [path.name for path in (cache / "boxes/centos7").glob(".building-*")] == []


def test_build_from_an_iso_with_another_label_starts_nothing(iso: Path, tmp_path: Path) -> None:
    definition = stand_in_box(
        tmp_path / "root", iso, replacing=(("label: CentOS 7 x86_64", "label: CentOS 8"),)
    )
    with pytest.raises(OperationError, match="label 'CentOS 8' and has 'CentOS 7 x86_64'"):
        box_build.build(definition, tmp_path, silent, own_iso=iso, installer=FakeInstaller())
    assert left(tmp_path) == []


def test_build_from_a_truncated_iso_is_refused(
    definition: BoxDefinition, iso: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.iso"
    short.write_bytes(iso.read_bytes()[:-2048])
    with pytest.raises(UsageError, match="is cut short"):
        box_build.build(definition, tmp_path, silent, own_iso=short, installer=FakeInstaller())
    assert left(tmp_path) == []
