"""Building boxes with the real tools; packages are not downloaded here."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tarfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.build import build
from labkit.boxes.cache import cached
from labkit.boxes.definition import BoxDefinition, find_box
from labkit.boxes.disk import BootEntry, build_disk
from labkit.errors import HostError
from labkit.host.process import run

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.integration
CHECKOUT = Path(__file__).parents[3]


def need(*tools: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [tool for tool in tools if shutil.which(tool, path=path) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; run 'make setup'")


def left_in(cache: Path) -> list[str]:
    return [p.name for p in (cache / "boxes").glob("*/*")] if (cache / "boxes").exists() else []


@pytest.mark.parametrize(
    "script",
    [
        "kickstart/labkit-firstboot",
        "boxes/rehearsal/customize",
        "boxes/rehearsal/rootfs/usr/lib/labkit/network-scripts",
        *sorted(str(p.relative_to(CHECKOUT)) for p in CHECKOUT.glob("boxes/rehearsal/trims/*")),
    ],
)
def test_guest_script_is_clean_for_shellcheck(script: str) -> None:
    need("shellcheck")
    run(["shellcheck", "--shell=bash", CHECKOUT / script], timeout=60)


@pytest.mark.parametrize("root", [True, False])
def test_disk_from_a_tree_is_ext4_behind_a_boot_record(tmp_path: Path, *, root: bool) -> None:
    need("mke2fs", "qemu-img", "grub-mkimage", "debugfs", *([] if root else ["fakeroot"]))
    if root and os.geteuid() != 0:
        pytest.skip("unpacking as root needs root: run 'sudo make test'")
    tree = tmp_path / "tree.tar"
    with tarfile.open(tree, "w") as archive:
        member = tarfile.TarInfo("owned")
        member.uid, member.gid, member.mode = 1234, 1234, 0o600
        archive.addfile(member)
    target = tmp_path / "box.img"
    entry = BootEntry(kernel="/k", initrd="/i", arguments=("a",))

    build_disk(tree, target, gib=2, entry=entry, root=root)

    raw = tmp_path / "raw"
    run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", target, raw], timeout=60)
    assert raw.stat().st_size == 2 * 2**30
    with raw.open("rb") as stream:
        assert stream.read(512)[-2:] == b"\x55\xaa"
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    argv = ["debugfs", "-R", "stat /owned", f"{raw}?offset={2**20}"]
    assert "User:  1234" in run(argv, timeout=60, env=env).stdout


def test_build_without_network_is_a_host_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("mmdebstrap")
    monkeypatch.setenv("LABKIT_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
    with pytest.raises(HostError, match="could not be downloaded") as caught:
        build(find_box("rehearsal", CHECKOUT), tmp_path, lambda _line: None)
    assert "LABKIT_DEBIAN_MIRROR" in caught.value.hint
    assert left_in(tmp_path) == []


def test_build_without_mmdebstrap_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    (tools / "setpriv").symlink_to(setpriv)
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(HostError, match="'mmdebstrap' is not installed"):
        build(find_box("rehearsal", CHECKOUT), tmp_path / "cache", lambda _line: None)
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_build_killed_publishes_nothing_and_the_next_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    stuck = tools / "mmdebstrap"
    stuck.write_text(f"#!/bin/sh\nkill -{how.value} {'$(cat parent)'}\nexec sleep 30\n")
    stuck.chmod(0o755)
    victim = textwrap.dedent(
        f"""
        import os, sys
        from pathlib import Path
        sys.path.insert(0, {str(CHECKOUT)!r})
        from labkit.boxes.build import build
        from labkit.boxes.definition import find_box
        Path("parent").write_text(str(os.getpid()))
        build(find_box("rehearsal", Path({str(CHECKOUT)!r})), Path("cache").absolute(), print)
        """
    )
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    argv: Sequence[str] = [sys.executable, "-c", victim]
    done = run(argv, timeout=60, check=False, cwd=tmp_path, env=env)
    assert done.returncode != 0
    definition: BoxDefinition = find_box("rehearsal", CHECKOUT)
    cache = tmp_path / "cache"
    assert cached(definition, cache) is None
    assert all(name.startswith(".building-") for name in left_in(cache))
    assert bool(left_in(cache)) is (how is signal.SIGKILL)

    monkeypatch.setenv("LABKIT_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
    need("mmdebstrap")
    with pytest.raises(HostError):
        build(definition, cache, lambda _line: None)
    assert left_in(cache) == []
