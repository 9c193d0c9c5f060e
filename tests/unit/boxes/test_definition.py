"""Box definitions and their content keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.boxes.build import MIRROR_VARIABLE
from labkit.boxes.definition import (
    BUILDER_VERSION,
    content_key,
    find_box,
    key_inputs,
    known_boxes,
)
from labkit.boxes.file import DebianBoxFile
from labkit.errors import LabFileError, UsageError
from tests.support.boxtree import CHECKOUT, add_box, debian, kickstart, without
from tests.support.users import public_directory, without_root

if TYPE_CHECKING:
    from pathlib import Path


def test_known_boxes_are_valid_and_every_trim_does_something() -> None:
    known = known_boxes(CHECKOUT)
    assert {"rehearsal", "rehearsal-untrimmed"} <= {definition.name for definition in known}
    for definition in known:
        scripts = {path for path in definition.sources if path.startswith("trims/")}
        trims = definition.file.trims if isinstance(definition.file, DebianBoxFile) else {}
        for name, trim in trims.items():
            keys = (trim.kernel_args, trim.exclude_paths)
            assert f"trims/{name}" in scripts or any(keys), name


def test_untrimmed_box_has_the_same_packages_and_no_trims() -> None:
    trimmed, untrimmed = (find_box(n, CHECKOUT) for n in ("rehearsal", "rehearsal-untrimmed"))
    assert debian(untrimmed).packages == debian(trimmed).packages
    assert debian(untrimmed).trims == {}
    assert untrimmed.key != trimmed.key


def test_find_box_misspelt_names_the_known_and_the_meant() -> None:
    with pytest.raises(UsageError) as caught:
        find_box("rehearsa", CHECKOUT)
    assert "'rehearsal-untrimmed'" in caught.value.message
    assert caught.value.hint == "Did you mean 'rehearsal'?"


@pytest.mark.parametrize(
    "path",
    [
        "boxes/rehearsal/rootfs/etc/labkit-stand-in",
        "boxes/rehearsal/customize",
        "kickstart/labkit-firstboot",
        "kickstart/labkit-firstboot.service",
    ],
)
def test_content_key_changes_with_every_file(tree: Path, path: str) -> None:
    before = {name: find_box(name, tree).key for name in ("rehearsal", "rehearsal-untrimmed")}
    (tree / path).write_bytes((tree / path).read_bytes() + b"\n# more\n")
    for name, key in before.items():
        assert find_box(name, tree).key != key


def test_content_key_changes_with_a_trim_for_the_box_that_applies_it_alone(tree: Path) -> None:
    names = ("rehearsal", "rehearsal-untrimmed")
    trimmed, untrimmed = (find_box(name, tree).key for name in names)
    with (tree / "boxes/rehearsal/trims/few-units").open("a") as stream:
        stream.write("# more\n")
    assert find_box("rehearsal", tree).key != trimmed
    assert find_box("rehearsal-untrimmed", tree).key == untrimmed


def test_content_key_changes_with_a_key_of_box_yaml_and_not_with_a_comment(tree: Path) -> None:
    file = tree / "boxes/rehearsal/box.yaml"
    before = find_box("rehearsal", tree).key
    file.write_text(file.read_text() + "# a comment\n")
    assert find_box("rehearsal", tree).key == before
    file.write_text(file.read_text().replace("disk_gib: 4", "disk_gib: 5"))
    assert find_box("rehearsal", tree).key != before


def test_content_key_is_the_same_after_python_compiled_what_is_there(tree: Path) -> None:
    before = find_box("rehearsal", tree).key
    compiled = tree / "boxes" / "rehearsal" / "__pycache__" / "convert.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"of today")
    assert find_box("rehearsal", tree).key == before


def test_content_key_does_not_depend_on_place_or_mirror(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = find_box("rehearsal", CHECKOUT).key
    monkeypatch.setenv(MIRROR_VARIABLE, "http://mirror.invalid/debian")
    assert find_box("rehearsal", tree).key == before


def test_definition_without_a_trim_is_another_box() -> None:
    definition = find_box("rehearsal", CHECKOUT)
    less = without(definition, "few-units")
    assert "few-units" not in debian(less).trims
    assert less.key != definition.key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("surprise: 1\n", "surprise"),
        ("disk_gib: lots\n", "disk_gib"),
        ("builder: kickstart\n", "iso"),
        ("builder: magic\n", "builder"),
    ],
)
def test_box_file_with_a_problem_names_the_key(tree: Path, text: str, told: str) -> None:
    (tree / "boxes/rehearsal-untrimmed/box.yaml").write_text(f"based_on: rehearsal\n{text}")
    with pytest.raises(LabFileError) as caught:
        find_box("rehearsal-untrimmed", tree)
    assert any(line.startswith(f"{told}:") for line in caught.value.details)


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n", "\xff"])
def test_box_file_unreadable_is_refused(tree: Path, text: str) -> None:
    (tree / "boxes/rehearsal/box.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(LabFileError):
        find_box("rehearsal", tree)


def test_box_whose_file_of_wheels_is_missing_is_refused(tree: Path) -> None:
    (tree / "boxes/rehearsal/packstack/requirements.txt").unlink()
    with pytest.raises(LabFileError, match=r"no file 'packstack/requirements\.txt'"):
        find_box("rehearsal", tree)


def test_box_based_on_nothing_known_is_refused(tree: Path) -> None:
    (tree / "boxes/rehearsal-untrimmed/box.yaml").write_text("based_on: nowhere\n")
    with pytest.raises(LabFileError, match="nowhere"):
        find_box("rehearsal-untrimmed", tree)


def test_box_based_on_one_that_is_based_on_another_has_the_keys_and_files_of_all(
    tree: Path,
) -> None:
    add_box(tree, "third", "based_on: rehearsal-untrimmed\ndisk_gib: 9\n")
    box = find_box("third", tree)
    first, second = find_box("rehearsal", tree), find_box("rehearsal-untrimmed", tree)
    assert debian(box).disk_gib == 9
    assert debian(box).trims == {}
    assert debian(box).packages == debian(first).packages
    assert box.sources == second.sources


@pytest.mark.parametrize("origin", ["third", "second", "[rehearsal]", "{a: b}", "'a\\nb'"])
def test_box_that_comes_back_to_itself_or_names_no_box_is_refused(tree: Path, origin: str) -> None:
    add_box(tree, "second", "based_on: third\n")
    add_box(tree, "third", f"based_on: {origin}\n")
    with pytest.raises(LabFileError, match="which is no other box") as caught:
        find_box("third", tree)
    assert caught.value.message.isprintable()


def test_box_beside_the_lab_file_starts_from_labkits_own(tmp_path: Path) -> None:
    directory = add_box(tmp_path, "mine", "based_on: centos7\ndisk_gib: 100\n")
    box = find_box("mine", beside=tmp_path)
    own = find_box("centos7", beside=tmp_path)
    assert (box.directory, own.directory) == (directory, CHECKOUT / "boxes/centos7")
    assert kickstart(box).disk_gib == 100
    assert kickstart(box).iso == kickstart(own).iso
    assert box.key != own.key


def test_box_beside_the_lab_file_brings_files_of_its_own(tmp_path: Path) -> None:
    directory = add_box(tmp_path, "mine")
    (directory / "rootfs/etc").mkdir(parents=True)
    (directory / "rootfs/etc/motd").write_text("mine")
    sources = find_box("mine", beside=tmp_path).sources
    assert sources.keys() - find_box("rehearsal").sources.keys() == {"rootfs/etc/motd"}


def test_box_of_the_same_name_as_labkits_is_refused_and_stops_no_other(tmp_path: Path) -> None:
    add_box(tmp_path, "centos7", "based_on: centos7\n")
    with pytest.raises(LabFileError, match="the name of one of labkit's own") as caught:
        find_box("centos7", beside=tmp_path)
    assert "based_on: centos7" in caught.value.hint
    assert find_box("rehearsal", beside=tmp_path).key == find_box("rehearsal").key
    add_box(tmp_path, "other", "based_on: centos7\n")
    with pytest.raises(LabFileError, match="the name of one of labkit's own"):
        find_box("other", beside=tmp_path)


def test_broken_box_beside_the_lab_file_stops_no_lab_with_another(tmp_path: Path) -> None:
    add_box(tmp_path, "broken", "a: [\n")
    add_box(tmp_path, "mine")
    assert find_box("mine", beside=tmp_path).name == "mine"
    assert find_box("centos7", beside=tmp_path).name == "centos7"
    with pytest.raises(LabFileError, match="cannot be read"):
        find_box("broken", beside=tmp_path)


def test_find_box_that_is_not_there_tells_what_was_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "boxes/mine").mkdir(parents=True)
    with pytest.raises(UsageError, match="There is no box 'mine'") as caught:
        find_box("mine", beside=tmp_path)
    assert caught.value.details == (f"'{tmp_path}/boxes/mine' has no box.yaml.",)


def test_file_of_a_box_that_cannot_be_read_is_named() -> None:
    with public_directory() as directory:
        secret = add_box(directory, "mine") / "customize"
        secret.write_text("x")
        secret.chmod(0)
        with without_root(), pytest.raises(LabFileError, match="customize' of the box 'mine'"):
            find_box("mine", beside=directory)


def test_kickstart_box_has_its_rendered_kickstart_among_its_sources() -> None:
    definition = find_box("centos7", CHECKOUT)
    text = definition.sources["ks.cfg"].decode()
    assert "%packages" in text
    assert kickstart(definition).stand_in is False


def test_kickstart_box_key_changes_with_every_input() -> None:
    definition = find_box("centos7", CHECKOUT)
    file = kickstart(definition)
    other_iso = file.model_copy(update={"iso": file.iso.model_copy(update={"sha256": "0" * 64})})
    keys = {definition.key, content_key(other_iso, definition.sources)}
    for path, content in definition.sources.items():
        keys.add(content_key(file, {**definition.sources, path: content + b" "}))
    assert {"ks.cfg", "firstboot/labkit-firstboot"} <= definition.sources.keys()
    assert len(keys) == 2 + len(definition.sources)


def test_key_inputs_name_every_part_of_the_key() -> None:
    definition = find_box("centos7", CHECKOUT)
    inputs = key_inputs(definition)
    file = kickstart(definition)
    assert inputs["box.yaml: iso.sha256"] == f'"{file.iso.sha256}"'
    assert inputs["box.yaml: disk_gib"] == str(file.disk_gib)
    assert len(inputs["file: ks.cfg"]) == 64
    assert inputs["builder version"] == str(BUILDER_VERSION)
    assert {name.removeprefix("file: ") for name in inputs if name.startswith("file: ")} == set(
        definition.sources
    )
