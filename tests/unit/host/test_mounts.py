"""Which mount points the kernel's list names, and that nothing mounted is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit.errors import HostError
from labkit.host.mounts import MOUNTINFO, mount_points, remove_tree


def mountinfo(place: Path, mount: str) -> Path:
    file = place / "mountinfo"
    text = (
        f"22 1 0:21 / / rw shared:1 - ext4 /dev/vda1 rw\n40 22 0:35 / {mount} rw - tmpfs none rw\n"
    )
    file.write_bytes(os.fsencode(text))
    return file


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/a\\040b", "/a b"),
        ("/a\\011b", "/a\tb"),
        ("/a\\012b", "/a\nb"),
        ("/a\\134b", "/a\\b"),
        ("/a\\134040b", "/a\\040b"),
        ("/a\\043b", "/a#b"),
        ("/ä", "/ä"),
        ("/\udcff", "/\udcff"),
    ],
)
def test_mount_point_is_read_as_the_kernel_writes_it(written: str, meant: str) -> None:
    line = os.fsencode(f"40 22 0:35 / {written} rw - tmpfs none rw\n")
    assert mount_points(line) == (Path(meant),)


def test_mount_points_of_this_host_hold_the_root() -> None:
    assert Path("/") in mount_points(MOUNTINFO.read_bytes())


@pytest.mark.parametrize("name", ["plain", "two words", "tab\tbed", "new\nline", "back\\slash"])
@pytest.mark.parametrize("inside", ["", "/tree/proc"])
def test_tree_with_something_mounted_stays_whole(tmp_path: Path, name: str, inside: str) -> None:
    tree = tmp_path / name
    (tree / "tree/proc").mkdir(parents=True)
    escaped = str(tree).replace("\\", "\\134").replace(" ", "\\040")
    escaped = escaped.replace("\t", "\\011").replace("\n", "\\012")
    with pytest.raises(HostError, match="still mounted") as caught:
        remove_tree(tree, mountinfo(tmp_path, escaped + inside))
    assert (tree / "tree/proc").is_dir()
    assert "umount -R" in caught.value.hint


def test_tree_behind_a_link_in_its_path_is_guarded_too(tmp_path: Path) -> None:
    (tmp_path / "real/tree").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(HostError):
        remove_tree(tmp_path / "link/tree", mountinfo(tmp_path, f"{tmp_path}/real/tree/x"))


def test_tree_beside_a_mount_of_a_longer_name_is_removed(tmp_path: Path) -> None:
    tree = tmp_path / "build"
    (tree / "some").mkdir(parents=True)
    remove_tree(tree, mountinfo(tmp_path, f"{tree}-other"))
    assert not tree.exists()


def test_tree_that_is_a_link_is_removed_without_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    remove_tree(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["real"]


def test_tree_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "none")
