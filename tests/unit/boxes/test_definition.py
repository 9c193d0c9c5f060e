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
from tests.support.boxtree import CHECKOUT, debian, kickstart, without

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
