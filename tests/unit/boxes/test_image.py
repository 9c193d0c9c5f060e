"""Boxes from an image: their box.yaml, their key, and which images are refused."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.boxes import image
from labkit.boxes.build import build
from labkit.boxes.definition import FIRSTBOOT_FILES, content_key, find_box
from labkit.boxes.kickstart import IMAGE_SCRIPTS, render_image_scripts
from labkit.errors import HostError, LabFileError
from labkit.host import download
from tests.support.boxtree import add_box, image_of
from tests.support.examples import ROOT
from tests.support.users import public_directory, without_root

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.boxes.definition import BoxDefinition

GIB = 2**30
SUM = "a" * 64
URL = "https://images.invalid/7/CentOS 7.qcow2?x=1".replace(" ", "-")
HEAD = 'builder: image\ndescription: "Mine."\ndisk_gib: 3\n'


def qcow2(*, gib: int = 3, backing: int = 0) -> bytes:
    """Return a file that begins as an image does."""
    fields = (b"QFI\xfb", 3, backing, 0, 16, gib * GIB, 0, 1, 0, 0, 1, 0, 0, 0)
    return struct.pack(">4sIQIIQIIQQIIQQ", *fields).ljust(1024, b"\0")


def box(place: Path, text: str) -> BoxDefinition:
    add_box(place, "mine", HEAD + text)
    return find_box("mine", beside=place)


def problems_of(place: Path, text: str) -> list[str]:
    add_box(place, "mine", text)
    with pytest.raises(LabFileError) as caught:
        find_box("mine", beside=place)
    return sorted(line.split(":")[0] for line in caught.value.details)


def test_box_file_of_an_image_needs_four_keys(tmp_path: Path) -> None:
    file = image_of(box(tmp_path, "image: a.qcow2\n"))
    assert (file.contract, file.stand_in, file.sha256, file.url) == ("add", False, None, None)
    assert problems_of(tmp_path, "builder: image\n") == ["description", "disk_gib", "image"]


def test_box_file_of_an_image_tells_all_problems_at_once(tmp_path: Path) -> None:
    text = f"builder: image\nimage: {URL}\ndisk_gib: 1\ncontract: some\nsize: 0\npackages: [a]\n"
    assert problems_of(tmp_path, text) == [
        *("contract", "description", "disk_gib", "packages", "sha256", "size"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "''",
        '"a\\nb.qcow2"',
        '"a\\0.qcow2"',
        '"a\\e[2J.qcow2"',
        "file:///etc/shadow",
        "nbd://host/export",
        "https://",
        "https://host",
        "https://user:s3cret@host/a.qcow2",
        "'https://host/a b.qcow2'",
        "[a.qcow2]",
        "7",
    ],
)
def test_box_file_with_another_thing_than_path_or_url_is_refused(
    tmp_path: Path, value: str
) -> None:
    add_box(tmp_path, "mine", f"{HEAD}sha256: {SUM}\nimage: {value}\n")
    with pytest.raises(LabFileError) as caught:
        find_box("mine", beside=tmp_path)
    assert [line.partition(":")[0] for line in caught.value.details] == ["image"]
    assert "s3cret" not in str(caught.value.details)


def test_url_without_checksum_is_refused_and_a_path_is_not(tmp_path: Path) -> None:
    assert problems_of(tmp_path, f"{HEAD}image: {URL}\n") == ["sha256"]
    assert image_of(box(tmp_path, f"image: {URL}\nsha256: {SUM}\n")).url == URL


def test_path_begins_at_the_box_yaml_that_names_it(tmp_path: Path) -> None:
    add_box(tmp_path, "base", f"{HEAD}image: a.qcow2\n")
    add_box(tmp_path, "mine", "based_on: base\ndisk_gib: 9\n")
    assert find_box("mine", beside=tmp_path).image == tmp_path / "boxes/base/a.qcow2"
    add_box(tmp_path, "mine", "based_on: base\nimage: /srv/b.qcow2\n")
    found = find_box("mine", beside=tmp_path).image
    assert found is not None
    assert str(found) == "/srv/b.qcow2"


def test_key_of_a_box_from_an_image_changes_with_what_it_is_made_from(tmp_path: Path) -> None:
    text = f"image: a.qcow2\nsha256: {SUM}\n"
    first = box(tmp_path, text)
    others = [
        box(tmp_path, text.replace(SUM, "b" * 64)).key,
        box(tmp_path, f"{text}contract: complete\n").key,
        box(tmp_path, f"{text}size: 7\n").key,
        *(
            content_key(first.file, {**first.sources, path: content + b" "})
            for path, content in first.sources.items()
        ),
    ]
    assert len({first.key, *others}) == 1 + len(others)
    (tmp_path / "boxes/mine/a.qcow2").write_bytes(qcow2())
    (tmp_path / "boxes/mine/notes").write_text("of no interest")
    assert box(tmp_path, text).key == first.key


def test_key_without_a_checksum_changes_with_the_file_and_stands_without_it(
    tmp_path: Path,
) -> None:
    absent = box(tmp_path, "image: a.qcow2\n")
    file = tmp_path / "boxes/mine/a.qcow2"
    file.write_bytes(qcow2())
    there = box(tmp_path, "image: a.qcow2\n")
    os.utime(file, ns=(1, 1))
    touched = box(tmp_path, "image: a.qcow2\n")
    assert len({absent.key, there.key, touched.key}) == 3
    assert box(tmp_path, "image: a.qcow2\n").key == touched.key


def test_box_from_a_complete_image_has_nothing_of_labkits_in_it(tmp_path: Path) -> None:
    text = f"image: a.qcow2\nsha256: {SUM}\n"
    assert list(box(tmp_path, f"{text}contract: complete\n").sources) == []
    assert list(box(tmp_path, text).sources) == [f"image/{name}" for name in IMAGE_SCRIPTS]


def test_scripts_for_an_image_carry_firstboot_as_text_alone() -> None:
    hostile = b"'\"$(touch /tmp/x)`x`\n\0%end\nEOF\n"
    scripts = render_image_scripts(firstboot=dict.fromkeys(FIRSTBOOT_FILES, hostile))
    for name, text in scripts.items():
        assert "touch /tmp/x" not in text
        assert text.rstrip().endswith((ROOT / "kickstart" / name).read_text().rstrip())


@pytest.mark.parametrize(
    ("beginning", "told", "hint"),
    [
        (qcow2(gib=4), f"{4 * GIB} bytes, more than 'disk_gib: 3'", "disk_gib: 4"),
        (qcow2(backing=4096), "needs another file", "if you trust it"),
        (b"\xfd7zXZ\0" + bytes(200), "it is compressed", "xz -d"),
        (b"\x1f\x8b" + bytes(200), "it is compressed", "gunzip"),
        (b"<!DOCTYPE html>", "does not begin with a qcow2 header", "qemu-img convert"),
        (b"", "does not begin with a qcow2 header", "qemu-img convert"),
    ],
    ids=["too large", "not whole", "xz", "gzip", "a page", "empty"],
)
def test_image_that_makes_no_box_is_refused_with_what_mends_it(
    tmp_path: Path, beginning: bytes, told: str, hint: str
) -> None:
    fault = image.fault(beginning, gib=3, path=tmp_path)
    assert fault is not None
    assert told in fault.message
    assert hint in fault.hint
    assert image.fault(qcow2(), gib=3, path=tmp_path) is None


COMPLETE = "image: a.qcow2\ncontract: complete\n"


def test_build_of_a_missing_image_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(LabFileError, match=r"boxes/mine/a\.qcow2' does not exist") as caught:
        build(box(tmp_path, COMPLETE), tmp_path / "cache", print)
    assert "begins where that file lies" in caught.value.hint
    assert list((tmp_path / "cache/boxes/mine").iterdir()) == []


@pytest.mark.parametrize("kind", ["directory", "pipe", "unreadable"])
def test_build_of_an_image_that_is_no_file_to_read_says_so(kind: str) -> None:
    with public_directory() as place:
        definition = box(place, COMPLETE)
        file = place / "boxes/mine/a.qcow2"
        match kind:
            case "directory":
                file.mkdir()
            case "pipe":
                os.mkfifo(file)
            case _:
                file.write_bytes(qcow2())
                file.chmod(0)
        (place / "cache").mkdir(mode=0o777)
        (place / "cache").chmod(0o777)
        with without_root(), pytest.raises(HostError, match="cannot be read"):
            build(definition, place / "cache", print)


def test_build_of_an_image_with_another_checksum_says_both(tmp_path: Path) -> None:
    definition = box(tmp_path, f"{COMPLETE}sha256: {SUM}\n")
    (tmp_path / "boxes/mine/a.qcow2").write_bytes(qcow2())
    with pytest.raises(LabFileError, match=f"the sha256 {SUM} was expected, and it has"):
        build(definition, tmp_path / "cache", print)


def test_build_without_virt_customize_ends_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    with pytest.raises(HostError, match=r"'virt-customize'.* is not installed"):
        build(box(tmp_path, f"image: {URL}\nsha256: {SUM}\n"), tmp_path / "cache", said.append)
    assert said == []


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (URL, "CentOS-7.qcow2"),
        ("https://images.invalid/..", "image"),
        ("https://images.invalid/a/%2e%2e%2fx;y", "_2e_2e_2fx_y"),
        ("https://images.invalid/a/.hidden", "hidden"),
        (f"https://images.invalid/{'x' * 300}", "x" * 100),
    ],
)
def test_downloaded_image_is_found_by_checksum_and_a_plain_name(
    tmp_path: Path, url: str, name: str
) -> None:
    definition = box(tmp_path, f"image: {url}\nsha256: {SUM}\n")
    assert image.downloaded(definition, tmp_path) is None
    path = download.kept_at(tmp_path, sha256=SUM, name=name)
    path.parent.mkdir(parents=True)
    path.write_bytes(qcow2())
    found = image.downloaded(definition, tmp_path)
    assert found is not None
    assert found.samefile(path)
    assert image.downloaded(replace(definition, file=find_box("centos7").file), tmp_path) is None
