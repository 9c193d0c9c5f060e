"""The adapter over python-vagrant on the real Vagrant, in the cases that start no machine."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.errors import CommandError
from labkit.host import vagrant
from labkit.host.process import run

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_VAGRANTFILE = Path(vagrant.__file__).with_name("ruby") / "first_vagrantfile.rb"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        shutil.which("vagrant") is None, reason="vagrant is missing: run 'make setup'"
    ),
]


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> vagrant.Machines:
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    (tmp_path / "root").mkdir()
    return vagrant.Machines(
        root=tmp_path / "root", log=tmp_path / "vagrant.log", cache=tmp_path / "cache"
    )


def test_vagrant_and_its_libvirt_provider_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    vagrant.require()


def test_up_with_a_broken_vagrantfile_keeps_what_vagrant_said(
    machines: vagrant.Machines,
) -> None:
    (machines.root / "Vagrantfile").write_text("Vagrant.configure('2') do |config|\n  oops oops\n")
    with pytest.raises(CommandError) as caught:
        machines.up(("one",), gate=machines.root / "gate", cancelled=lambda: False)
    assert caught.value.message.startswith("'vagrant up one --no-provision")
    assert any("Vagrantfile" in line for line in caught.value.details)
    assert machines.log.read_text().splitlines()[-1] in caught.value.details
    before = machines.log.read_bytes()

    with pytest.raises(CommandError):
        machines.destroy()

    assert machines.log.read_bytes().startswith(before)
    assert len(machines.log.read_bytes()) > len(before)


def test_cancelled_up_leaves_no_vagrant_behind(machines: vagrant.Machines) -> None:
    mark = machines.root / "started"
    (machines.root / "Vagrantfile").write_text(
        f"File.write({str(mark)!r}, Process.pid)\nsleep 60\n"
    )
    with pytest.raises(CommandError, match="cancelled"):
        machines.up(("one",), gate=machines.root / "gate", cancelled=mark.exists)
    assert not Path("/proc", mark.read_text()).exists()


def test_first_vagrantfile_waits_for_the_labs_own(machines: vagrant.Machines) -> None:
    vagrantfile, mark = machines.root / "Vagrantfile", machines.root / "mark"
    vagrantfile.write_bytes(FIRST_VAGRANTFILE.read_bytes())
    ended = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        made = pool.submit(
            machines.up, ("one",), gate=machines.root / "gate", cancelled=ended.is_set
        )
        try:
            with pytest.raises(TimeoutError):
                made.result(timeout=4)
            aside = machines.root / "aside"
            aside.write_text(f"File.write({str(mark)!r}, __FILE__)\nexit 0\n")
            aside.replace(vagrantfile)
            made.result(timeout=60)
        finally:
            ended.set()
    assert mark.read_text() == str(vagrantfile)


def test_first_vagrantfile_does_not_keep_a_vagrant_run_by_hand(machines: vagrant.Machines) -> None:
    (machines.root / "Vagrantfile").write_bytes(FIRST_VAGRANTFILE.read_bytes())
    # It has nothing to destroy, and says so: it does not wait for a gate it knows nothing of.
    machines.destroy()
    assert "Domain is not created" in machines.log.read_text()


def test_box_that_is_no_box_is_refused_with_vagrants_words(
    machines: vagrant.Machines, tmp_path: Path
) -> None:
    catalog = tmp_path / "box.json"
    catalog.write_text('{"name": "labkit-x", "versions": []}')
    with pytest.raises(CommandError) as caught:
        vagrant.add_box(catalog, "labkit-x", "1.0.0", machines.log)
    assert caught.value.details
    assert not vagrant.box_directory("labkit-x", "1.0.0").exists()


@pytest.fixture
def bootsnap() -> None:
    if run(["ruby", "-e", "require 'bootsnap'"], timeout=60, check=False).returncode != 0:
        pytest.skip("Ruby's Bootsnap is not installed: 'apt-get install ruby-bootsnap'")


def start(machines: vagrant.Machines) -> bool:
    """Start Vagrant and return whether Bootsnap was at work in it."""
    mark = machines.root / "mark"
    mark.unlink(missing_ok=True)
    file = machines.root / "Vagrantfile"
    if not file.exists():
        file.write_text(
            f"File.write({str(mark)!r},\n"
            "  RubyVM::InstructionSequence.singleton_class.include?(LabkitBootsnap::Tolerant))\n"
            "exit 0\n"
        )
    machines.up(("one",), gate=machines.root / "gate", cancelled=lambda: False)
    return mark.read_text() == "true"


def compiled(machines: vagrant.Machines) -> list[Path]:
    """Return what Ruby kept of its files."""
    return [path for path in machines.cache.glob("*/*/**/compile-cache*/**/*") if path.is_file()]


def truncate(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.usefixtures("bootsnap")
def test_ruby_keeps_what_it_compiled_of_vagrant(machines: vagrant.Machines) -> None:
    assert start(machines)
    kept = compiled(machines)
    assert len(kept) > 500
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert start(machines)
    assert {path: path.stat().st_mtime_ns for path in kept} == before


@pytest.mark.usefixtures("bootsnap")
@pytest.mark.parametrize("spoil", [truncate, garble, make_directory])
def test_vagrant_starts_with_a_spoiled_cache(
    machines: vagrant.Machines, spoil: Callable[[Path], None]
) -> None:
    start(machines)
    for path in compiled(machines):
        spoil(path)
    assert start(machines)


@pytest.mark.usefixtures("bootsnap")
def test_another_set_of_gems_replaces_what_was_kept(
    machines: vagrant.Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(machines)
    (first,) = (machines.cache / "bootsnap").iterdir()
    (tmp_path / "gems").mkdir()
    monkeypatch.setenv("RUBYLIB", str(tmp_path / "gems"))
    assert start(machines)
    (second,) = (machines.cache / "bootsnap").iterdir()
    assert second != first


@pytest.mark.usefixtures("bootsnap")
def test_cache_whose_name_is_a_pattern_costs_nobody_a_file(
    machines: vagrant.Machines, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "bootsnap" / "mine").mkdir(parents=True)
    assert start(replace(machines, cache=tmp_path / "{a,b}"))
    assert (tmp_path / "a/bootsnap/mine").is_dir()
    assert (tmp_path / "b/bootsnap/mine").is_dir()


def test_vagrant_starts_without_bootsnap(
    machines: vagrant.Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bootsnap.rb").write_text("raise LoadError, 'cannot load such file -- bootsnap'\n")
    monkeypatch.setenv("RUBYLIB", str(tmp_path))
    assert not start(machines)
    assert not compiled(machines)
