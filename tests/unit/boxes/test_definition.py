"""Box definitions, their content keys, and the cache of built boxes, without building one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from labkit.boxes import build as box_build
from labkit.boxes import centos as kickstart_build
from labkit.boxes import definition as boxes
from labkit.boxes.definition import (
    BOX_VERSION,
    BoxDefinition,
    CachedBox,
    Provenance,
    box_lock,
    cache_directory,
    cached,
    catalog_text,
    changed_inputs,
    content_key,
    find_box,
    key_inputs,
    known_boxes,
    reason_to_build,
    remove,
    verify,
)
from labkit.boxes.disk import BootEntry, master_boot_record, write_boot_loader, write_box
from labkit.boxes.file import DebianBoxFile, KickstartBoxFile
from labkit.errors import CommandError, HostError, LabFileError, OperationError, UsageError
from labkit.host.files import cache_root, file_sha256

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what boxes are made from, to be changed at will."""
    for name in ("boxes", "kickstart"):
        shutil.copytree(CHECKOUT / name, tmp_path / "tree" / name)
    return tmp_path / "tree"


def put_in_cache(
    definition: BoxDefinition,
    cache: Path,
    image: bytes = b"QFI\xfb" * 500,
    built_at: str = "2026-01-01T00:00:00+00:00",
) -> None:
    """Put a box into the cache as a build would, with another image."""
    directory = cache_directory(definition, cache)
    directory.mkdir(parents=True)
    source = cache / "image"
    source.write_bytes(image)
    box = directory / "labkit.box"
    offset, length = write_box(box, image=source, documents={"metadata.json": "{}"})
    known = Provenance(
        box=definition.name,
        key=definition.key,
        builder_version=1,
        sha256=file_sha256(box),
        size=box.stat().st_size,
        image_offset=offset,
        image_length=length,
        virtual_size_gib=4,
        built_at=built_at,
        inputs=dict(key_inputs(definition)),
    )
    (directory / "provenance.json").write_text(known.model_dump_json())
    (directory / "metadata.json").write_text(
        catalog_text(definition, box_file=box, sha256=known.sha256)
    )


def debian(definition: BoxDefinition) -> DebianBoxFile:
    assert isinstance(definition.file, DebianBoxFile)
    return definition.file


def kickstart(definition: BoxDefinition) -> KickstartBoxFile:
    assert isinstance(definition.file, KickstartBoxFile)
    return definition.file


def the_cached(definition: BoxDefinition, cache: Path) -> CachedBox:
    found = cached(definition, cache)
    assert found is not None
    return found


def test_known_boxes_are_valid_and_every_trim_does_something() -> None:
    known = known_boxes(CHECKOUT)
    assert {"rehearsal", "rehearsal-untrimmed"} <= {definition.name for definition in known}
    for definition in known:
        scripts = {path for path in definition.sources if path.startswith("trims/")}
        trims = definition.file.trims if isinstance(definition.file, DebianBoxFile) else {}
        for name, trim in trims.items():
            keys = (trim.kernel_args, trim.exclude_paths, trim.unpack_kernel)
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


def test_content_key_does_not_depend_on_place_or_mirror(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = find_box("rehearsal", CHECKOUT).key
    monkeypatch.setenv(box_build.MIRROR_VARIABLE, "http://mirror.invalid/debian")
    assert find_box("rehearsal", tree).key == before


def test_definition_without_a_trim_is_another_box() -> None:
    definition = find_box("rehearsal", CHECKOUT)
    less = definition.without("few-units")
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


def test_box_based_on_nothing_known_is_refused(tree: Path) -> None:
    (tree / "boxes/rehearsal-untrimmed/box.yaml").write_text("based_on: nowhere\n")
    with pytest.raises(LabFileError, match="nowhere"):
        find_box("rehearsal-untrimmed", tree)


def test_cached_empty_cache_is_none(tmp_path: Path) -> None:
    assert cached(find_box("rehearsal", CHECKOUT), tmp_path) is None


def test_cached_box_is_found_with_its_image_inside_the_tar(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path, image=b"QFI\xfb-image")
    box = the_cached(definition, tmp_path)
    assert box.vagrant_name == f"labkit-rehearsal-{definition.key[:12]}"
    with box.box_file.open("rb") as stream:
        stream.seek(box.image_offset)
        assert stream.read(box.image_length) == b"QFI\xfb-image"
    catalog = json.loads(box.catalog.read_text())
    assert catalog["name"] == box.vagrant_name
    assert catalog["versions"][0]["version"] == BOX_VERSION
    assert catalog["versions"][0]["providers"][0]["url"] == box.box_file.as_uri()
    assert verify(box) == ()


def test_cached_box_cut_short_is_not_used(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path)
    box = the_cached(definition, tmp_path).box_file
    os.truncate(box, box.stat().st_size - 1)
    assert cached(definition, tmp_path) is None


@pytest.mark.parametrize("name", ["provenance.json", "metadata.json", "labkit.box"])
def test_cached_box_with_a_file_missing_is_not_used(tmp_path: Path, name: str) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path)
    (cache_directory(definition, tmp_path) / name).unlink()
    assert cached(definition, tmp_path) is None


def test_cached_box_of_other_content_is_not_used(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path)
    assert cached(definition.without("few-units"), tmp_path) is None


def test_verify_changed_byte_is_reported(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path)
    box = the_cached(definition, tmp_path)
    with box.box_file.open("r+b") as stream:
        stream.seek(box.image_offset)
        stream.write(b"X")
    problems = verify(box)
    assert len(problems) == 1
    assert box.sha256 in problems[0]


def test_verify_missing_file_is_reported(tmp_path: Path) -> None:
    definition = find_box("rehearsal", CHECKOUT)
    put_in_cache(definition, tmp_path)
    box = the_cached(definition, tmp_path)
    box.catalog.unlink()
    assert "cannot be read" in verify(box)[0]


def test_remove_takes_every_build_of_that_box_and_no_other(tmp_path: Path) -> None:
    first, second = (find_box(n, CHECKOUT) for n in ("rehearsal", "rehearsal-untrimmed"))
    for definition in (first, first.without("few-units"), second):
        put_in_cache(definition, tmp_path)
    assert remove("rehearsal", tmp_path) is True
    assert cached(first, tmp_path) is None
    assert cached(second, tmp_path) is not None
    assert remove("rehearsal", tmp_path) is False


@pytest.mark.parametrize("name", ["", "..", ".", "../boxes", "/", "rehearsal/../x"])
def test_remove_of_what_is_no_name_removes_nothing(tmp_path: Path, name: str) -> None:
    put_in_cache(find_box("rehearsal", CHECKOUT), tmp_path)
    assert remove(name, tmp_path) is False
    assert cached(find_box("rehearsal", CHECKOUT), tmp_path) is not None


def test_remove_while_building_is_refused(tmp_path: Path) -> None:
    put_in_cache(find_box("rehearsal", CHECKOUT), tmp_path)
    with box_lock("rehearsal", tmp_path), pytest.raises(OperationError, match="being built"):
        remove("rehearsal", tmp_path)


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

    with box_lock("rehearsal", tmp_path):
        second = threading.Thread(
            target=lambda: found.append(box_build.build(definition, tmp_path, told))
        )
        second.start()
        assert waiting.wait(10)
        put_in_cache(definition, tmp_path)
    second.join(10)
    assert found == [the_cached(definition, tmp_path)]


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
    box_build.overlay_tar(find_box("rehearsal", CHECKOUT), target)
    with tarfile.open(target) as archive:
        members = {member.name: member for member in archive}
    assert members["usr/sbin/labkit-firstboot"].mode == 0o755
    assert members["etc/systemd/system/network.service"].mode == 0o644
    # Debian has links there; a directory from our tar would take their place.
    assert not {"lib", "bin", "sbin"} & {name.split("/")[0] for name in members}
    assert {member.uid for member in members.values()} == {0}


def test_boot_record_has_one_active_linux_partition_and_the_signature() -> None:
    record = master_boot_record(b"\xeb" * 512, sectors=8 * 2**21)
    status, kind, start, count = struct.unpack("<B3xB3xII", record[446:462])
    assert (status, kind, start, count) == (0x80, 0x83, 2048, 8 * 2**21 - 2048)
    assert (len(record), record[-2:]) == (512, b"\x55\xaa")
    assert record[:440] == b"\xeb" * 440


def test_boot_loader_too_big_for_the_gap_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    with pytest.raises(OperationError, match="core image"):
        write_boot_loader(disk, boot_image=b"", core_image=bytes(2**20), sectors=2**21)
    assert disk.read_bytes() == bytes(4096)


def test_boot_entry_passes_the_whole_command_line() -> None:
    arguments = box_build.kernel_arguments(debian(find_box("rehearsal", CHECKOUT)))
    for wanted in ("net.ifnames=1", "biosdevname=0", "console=ttyS0,115200n8", "root=/dev/vda1"):
        assert wanted in arguments
    script = BootEntry(kernel="/k", initrd="/i", arguments=arguments).grub_script()
    assert f"linux /k {' '.join(arguments)}\n" in script


def test_cache_root_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("LABKIT_CACHE_DIR")
    assert cache_root().name == "labkit"


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
    assert inputs["builder version"] == str(boxes.BUILDER_VERSION)
    assert {name.removeprefix("file: ") for name in inputs if name.startswith("file: ")} == set(
        definition.sources
    )


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
    assert reason_to_build(before, cache) == boxes.Reason()
    put_in_cache(before.without("few-units"), cache, built_at="2025-01-01T00:00:00+00:00")
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
    put_in_cache(definition, tmp_path)
    os.truncate(the_cached(definition, tmp_path).box_file, 10)
    reason = reason_to_build(definition, tmp_path)
    assert reason is not None
    assert "damaged" in reason.changed[0]


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


def test_iso_of_the_environment_is_used_and_the_option_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = kickstart(find_box("centos7", CHECKOUT))
    monkeypatch.setenv(kickstart_build.ISO_VARIABLE, str(tmp_path / "env.iso"))
    for own, told in ((None, "env.iso"), (tmp_path / "option.iso", "option.iso")):
        with pytest.raises(UsageError, match=told):
            kickstart_build.find_iso(
                file, cache=tmp_path, own_iso=own, progress=lambda _line: None
            )


def test_render_writes_kickstart_domain_and_kernel_line_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "cache"))
    definition = find_box("centos7", CHECKOUT)
    assert kickstart_build.render(definition, tmp_path / "out") == (
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
        kickstart_build.render(definition, tmp_path / "out")


def test_render_of_a_box_without_a_kickstart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mmdebstrap"):
        kickstart_build.render(find_box("rehearsal", CHECKOUT), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_packages_told_are_the_package_lines_sorted() -> None:
    log = "PACKAGE zlib-1.2.7-17.el7.x86_64\r\nsomething\nPACKAGE bash-4.2.46-30.el7.x86_64\nOK\n"
    assert kickstart_build.packages_told(log) == (
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
    assert kickstart_build.unexpected_versions(file, packages) == (
        "the guest was expected to have systemd-219-57.el7 and has systemd-219-62.el7.x86_64",
        "the guest was expected to have vim-7.4-1 and has none",
    )


def test_provenance_inside_the_box_says_what_it_was_made_from() -> None:
    definition = find_box("centos7", CHECKOUT)
    file = kickstart(definition)
    known = json.loads(kickstart_build.provenance_text(definition, file, ("a-1-1.x",)))
    assert known["iso_sha256"] == file.iso.sha256
    assert known["kickstart_sha256"] == hashlib.sha256(definition.sources["ks.cfg"]).hexdigest()
    assert known["packages"] == ["a-1-1.x"]
    assert known.keys() >= {"labkit_version", "built_at", "key"}


def test_downloaded_iso_is_the_one_in_the_cache(tmp_path: Path) -> None:
    definition = find_box("centos7", CHECKOUT)
    assert kickstart_build.downloaded_iso(definition, tmp_path) is None
    path = (
        tmp_path / "downloads" / kickstart(definition).iso.sha256 / kickstart(definition).iso.name
    )
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert kickstart_build.downloaded_iso(definition, tmp_path) == path
    assert kickstart_build.downloaded_iso(find_box("rehearsal", CHECKOUT), tmp_path) is None
