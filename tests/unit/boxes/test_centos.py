"""What a box from an ISO is made of, without installing one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from labkit.boxes import centos
from labkit.boxes.centos import own_copy
from labkit.boxes.definition import (
    find_box,
)
from labkit.errors import HostError, UsageError
from labkit.host.download import Wanted
from tests.support.boxtree import CHECKOUT, kickstart
from tests.support.users import public_directory, without_root

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"an image" * 1000
WANTED = Wanted(
    name="any.iso",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    sources=("http://nowhere.invalid/any.iso",),
)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.iso"
    path.write_bytes(CONTENT)
    return path


def test_iso_of_the_environment_is_used_and_the_option_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = kickstart(find_box("centos7", CHECKOUT))
    monkeypatch.setenv(centos.ISO_VARIABLE, str(tmp_path / "env.iso"))
    for own, told in ((None, "env.iso"), (tmp_path / "option.iso", "option.iso")):
        with pytest.raises(UsageError, match=told):
            centos.find_iso(file, cache=tmp_path, own_iso=own, progress=lambda _line: None)


def test_render_writes_kickstart_domain_and_kernel_line_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "cache"))
    definition = find_box("centos7", CHECKOUT)
    assert centos.render(definition, tmp_path / "out") == (
        "ks.cfg",
        "domain.xml",
        "cmdline.txt",
    )
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert written.keys() == {"ks.cfg", "domain.xml", "cmdline.txt"}
    assert written["ks.cfg"] == definition.sources["ks.cfg"]
    assert b"inst.stage2=hd:LABEL=CentOS\\x207\\x20x86_64" in written["cmdline.txt"]
    cmdline = ET.fromstring(written["domain.xml"]).findtext("os/cmdline")  # noqa: S314 -- ours
    assert cmdline == written["cmdline.txt"].decode().rstrip()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(UsageError, match="not empty"):
        centos.render(definition, tmp_path / "out")


def test_render_of_a_box_without_a_kickstart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mmdebstrap"):
        centos.render(find_box("rehearsal", CHECKOUT), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_packages_told_are_the_package_lines_sorted() -> None:
    log = "PACKAGE zlib-1.2.7-17.el7.x86_64\r\nsomething\nPACKAGE bash-4.2.46-30.el7.x86_64\nOK\n"
    assert centos.packages_told(log) == (
        "bash-4.2.46-30.el7.x86_64",
        "zlib-1.2.7-17.el7.x86_64",
    )


def test_unexpected_versions_name_the_package_expected_and_found() -> None:
    file = kickstart(find_box("centos7", CHECKOUT)).model_copy(
        update={"guest": {"systemd": "219-57.el7", "kernel": "3.10.0-862.el7", "vim": "7.4-1"}}
    )
    packages = (
        "kernel-3.10.0-862.el7.x86_64",
        "kernel-tools-3.10.0-1.el7.x86_64",
        "systemd-219-62.el7.x86_64",
        "systemd-libs-219-62.el7.x86_64",
    )
    assert centos.unexpected_versions(file, packages) == (
        "the guest was expected to have systemd-219-57.el7 and has systemd-219-62.el7.x86_64",
        "the guest was expected to have vim-7.4-1 and has none",
    )


def test_provenance_inside_the_box_says_what_it_was_made_from() -> None:
    definition = find_box("centos7", CHECKOUT)
    file = kickstart(definition)
    known = json.loads(centos.provenance_text(definition, file, ("a-1-1.x",)))
    assert known["iso_sha256"] == file.iso.sha256
    assert known["kickstart_sha256"] == hashlib.sha256(definition.sources["ks.cfg"]).hexdigest()
    assert known["packages"] == ["a-1-1.x"]
    assert known.keys() >= {"labkit_version", "built_at", "key"}


def test_downloaded_iso_is_the_one_in_the_cache(tmp_path: Path) -> None:
    definition = find_box("centos7", CHECKOUT)
    assert centos.downloaded_iso(definition, tmp_path) is None
    path = (
        tmp_path / "downloads" / kickstart(definition).iso.sha256 / kickstart(definition).iso.name
    )
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert centos.downloaded_iso(definition, tmp_path) == path
    assert centos.downloaded_iso(find_box("rehearsal", CHECKOUT), tmp_path) is None


def test_own_copy_that_is_right_is_used_where_it_is(own: Path) -> None:
    assert own_copy(own, WANTED) == own


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (CONTENT[:-1], "is cut short: 'any.iso' was expected to have 8000 bytes, and it has 7999"),
        (CONTENT + b"x", "is another file: 'any.iso' was expected to have 8000 bytes"),
        (b"", "is cut short"),
        (bytes(len(CONTENT)), f"is another file: the sha256 {WANTED.sha256} was expected"),
    ],
)
def test_own_copy_that_is_another_file_is_refused(own: Path, content: bytes, told: str) -> None:
    own.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        own_copy(own, WANTED)
    assert told in caught.value.message
    assert WANTED.sha256 in caught.value.hint


def test_own_copy_that_is_missing_or_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist") as caught:
        own_copy(tmp_path / "no.iso", WANTED)
    assert "--iso" in caught.value.hint
    with pytest.raises(UsageError, match="expected to be an ISO file"):
        own_copy(tmp_path, WANTED)


def test_own_copy_that_may_not_be_read_says_so() -> None:
    with public_directory() as place:
        own = place / "mine.iso"
        own.write_bytes(CONTENT)
        own.chmod(0o000)
        with without_root(), pytest.raises(HostError, match="cannot be read: Permission denied"):
            own_copy(own, WANTED)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("CentOS-7-x86_64-Minimal-2009.iso", 1020264448),
        ("downloaded.iso", 1020264448),
        ("CentOS-7-x86_64-Minimal-2009.iso", 1000),
        ("CentOS-7-x86_64-Minimal-2009.iso", len(CONTENT)),
    ],
)
def test_case_24_own_copy_of_another_boxs_iso_names_that_box(
    tmp_path: Path, name: str, size: int
) -> None:
    wanted = centos.wanted_iso(kickstart(find_box("centos7", CHECKOUT)))
    # Its own size would take seconds to read.
    wanted = replace(wanted, size=len(CONTENT))
    with (tmp_path / name).open("wb") as sink:
        sink.truncate(size)
    with pytest.raises(UsageError, match="is another file") as caught:
        own_copy(tmp_path / name, wanted)
    assert "the ISO of the box 'centos7-2009'" in caught.value.hint
    assert wanted.sha256 in caught.value.hint


def test_case_24_own_copy_that_is_cut_short_names_no_other_box(tmp_path: Path) -> None:
    wanted = centos.wanted_iso(kickstart(find_box("centos7", CHECKOUT)))
    (tmp_path / wanted.name).write_bytes(b"begin")
    with pytest.raises(UsageError, match="is cut short") as caught:
        own_copy(tmp_path / wanted.name, wanted)
    assert "the box" not in caught.value.hint
