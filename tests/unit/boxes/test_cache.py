"""The cache of built boxes: what is used, what is not, and that it may be moved."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from labkit.boxes.cache import (
    Reason,
    build_lock,
    cache_directory,
    cached,
    changed_inputs,
    reason_to_build,
    remove,
    verify,
)
from labkit.boxes.definition import (
    find_box,
)
from labkit.errors import HostError, OperationError
from tests.support.boxtree import CHECKOUT, put_in_cache, without
from tests.support.users import public_directory, without_root

if TYPE_CHECKING:
    from pathlib import Path


def test_cached_empty_cache_is_none(tmp_path: Path) -> None:
    assert cached(find_box("rehearsal", CHECKOUT), tmp_path) is None


def test_cached_box_is_found_with_its_image_inside_the_tar(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    box = put_in_cache(definition, tmp_path, image=b"QFI\xfb-image")
    assert box.vagrant_name == f"labkit-rehearsal-{definition.key[:12]}"
    with box.box_file.open("rb") as stream:
        stream.seek(box.image_offset)
        assert stream.read(box.image_length) == b"QFI\xfb-image"
    assert verify(box) == ()


def test_cached_box_cut_short_is_not_used(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    box = put_in_cache(definition, tmp_path).box_file
    os.truncate(box, box.stat().st_size - 1)
    assert cached(definition, tmp_path) is None


@pytest.mark.parametrize("name", ["provenance.json", "labkit.box"])
def test_cached_box_with_a_file_missing_is_not_used(tmp_path: Path, name: str) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path)
    (cache_directory(definition, tmp_path) / name).unlink()
    assert cached(definition, tmp_path) is None


def test_cached_box_of_other_content_is_not_used(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path)
    assert cached(without(definition, "few-units"), tmp_path) is None


def test_verify_changed_byte_is_reported(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    box = put_in_cache(definition, tmp_path)
    with box.box_file.open("r+b") as stream:
        stream.seek(box.image_offset)
        stream.write(b"X")
    problems = verify(box)
    assert len(problems) == 1
    assert box.sha256 in problems[0]


def test_verify_missing_file_is_reported(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    box = put_in_cache(definition, tmp_path)
    box.box_file.unlink()
    assert "cannot be read" in verify(box)[0]


def test_remove_takes_every_build_of_that_box_and_no_other(tmp_path: Path) -> None:
    first, second = (find_box(n, CHECKOUT) for n in ("rehearsal", "rehearsal-untrimmed"))
    for definition in (first, without(first, "few-units"), second):
        put_in_cache(definition, tmp_path)
    assert remove("rehearsal", tmp_path) is True
    assert cached(first, tmp_path) is None
    assert cached(second, tmp_path) is not None
    assert remove("rehearsal", tmp_path) is False


def test_remove_that_is_dry_removes_nothing_and_says_whether_it_would(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    assert remove("rehearsal", tmp_path, dry_run=True) is False
    put_in_cache(definition, tmp_path)
    assert remove("rehearsal", tmp_path, dry_run=True) is True
    assert cached(definition, tmp_path) is not None


@pytest.mark.parametrize("name", ["", "..", ".", "../boxes", "/", "rehearsal/../x"])
def test_remove_of_what_is_no_name_removes_nothing(tmp_path: Path, name: str) -> None:
    put_in_cache(find_box("rehearsal", CHECKOUT), tmp_path)
    assert remove(name, tmp_path) is False
    assert cached(find_box("rehearsal", CHECKOUT), tmp_path) is not None


def test_remove_while_building_is_refused(tmp_path: Path) -> None:
    put_in_cache(find_box("rehearsal", CHECKOUT), tmp_path)
    with (
        build_lock("rehearsal", tmp_path, progress=print),
        pytest.raises(OperationError, match=r"process \d+, .* builds the box 'rehearsal'\."),
    ):
        remove("rehearsal", tmp_path)
    assert cached(find_box("rehearsal", CHECKOUT), tmp_path) is not None


def test_changed_inputs_tell_new_gone_and_different_ones() -> None:
    before = {"a": "1", "b": "2", "c": "3"}
    assert changed_inputs(before, {"b": "2", "c": "4", "d": "5"}) == (
        "a is gone; it was 1",
        "c was 3 and is 4",
        "d is new: 5",
    )


def test_reason_to_build_names_what_changed_since_the_newest_build(
    tree: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    before = find_box("rehearsal", tree)
    assert reason_to_build(before, cache) == Reason()
    put_in_cache(without(before, "few-units"), cache, built_at="2025-01-01T00:00:00+00:00")
    put_in_cache(before, cache)
    assert reason_to_build(before, cache) is None
    file = tree / "boxes/rehearsal/box.yaml"
    file.write_text(file.read_text().replace("disk_gib: 4", "disk_gib: 5"))
    (tree / "kickstart/labkit-firstboot").write_text("#!/bin/bash\n")
    reason = reason_to_build(find_box("rehearsal", tree), cache)
    assert reason is not None
    assert reason.last_build == "2026-01-01T00:00:00+00:00"
    assert reason.changed[0] == "box.yaml: disk_gib was 4 and is 5"
    assert reason.changed[1].startswith("file: firstboot/labkit-firstboot was ")
    assert len(reason.changed) == 2


def test_reason_to_build_of_a_damaged_build_says_so(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    os.truncate(put_in_cache(definition, tmp_path).box_file, 10)
    reason = reason_to_build(definition, tmp_path)
    assert reason is not None
    assert "damaged" in reason.changed[0]


def test_cached_box_that_was_moved_is_the_same(
    tmp_path: Path,
) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    box = cached(definition, tmp_path / "after")
    assert box is not None
    assert verify(box) == ()


def test_cached_box_of_an_older_labkit_is_used_whatever_place_its_catalog_names(
    tmp_path: Path,
) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    box = put_in_cache(definition, tmp_path)
    old = {"url": "file:///elsewhere/labkit.box"}
    (box.box_file.parent / "metadata.json").write_text(json.dumps(old))
    found = cached(definition, tmp_path)
    assert found == box
    assert verify(box) == ()


def test_remove_with_something_mounted_inside_removes_nothing(tmp_path: Path) -> None:
    box = put_in_cache(find_box("rehearsal", CHECKOUT), tmp_path)
    mounted = tmp_path / "boxes/rehearsal/.building-1/tree/proc"
    mounted.mkdir(parents=True)
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"22 1 0:21 / {mounted} rw - proc proc rw\n")
    with pytest.raises(HostError, match="still mounted"):
        remove("rehearsal", tmp_path, mountinfo=mountinfo)
    assert box.box_file.exists()


def test_cache_of_another_user_is_used_and_its_removal_is_refused_with_a_sentence() -> None:
    definition = find_box("rehearsal", CHECKOUT)
    with public_directory() as cache:
        put_in_cache(definition, cache)
        (cache / "boxes/rehearsal").chmod(0o555)
        with build_lock("rehearsal", cache, progress=print):
            pass  # the lock's file is there, and not this user's
        with without_root():
            found = cached(definition, cache)
            assert found is not None
            assert verify(found) == ()
            with pytest.raises(HostError, match="cannot be removed: Permission denied"):
                remove("rehearsal", cache)
