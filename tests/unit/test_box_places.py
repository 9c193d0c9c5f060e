"""Where boxes are looked for: labkit's own, and `boxes` beside the lab file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from labkit.box_places import box_names, box_places
from tests.support.boxtree import CHECKOUT, add_box
from tests.support.users import public_directory, without_root

if TYPE_CHECKING:
    from pathlib import Path


def test_box_names_without_a_lab_file_are_labkits_own(tmp_path: Path) -> None:
    add_box(tmp_path, "mine")
    assert "centos7" in box_names()
    assert "mine" not in box_names()


def test_box_names_beside_a_lab_file_are_added_in_order(tmp_path: Path) -> None:
    add_box(tmp_path, "mine")
    (tmp_path / "boxes/notes").mkdir()
    (tmp_path / "boxes/README").write_text("of ours")
    assert box_names(tmp_path) == tuple(sorted((*box_names(), "mine")))


@pytest.mark.parametrize("where", [".", "linked"])
def test_labkits_own_boxes_are_not_found_a_second_time(tmp_path: Path, where: str) -> None:
    place = CHECKOUT
    if where == "linked":
        (tmp_path / "boxes").symlink_to(CHECKOUT / "boxes")
        place = tmp_path
    assert box_places(place) == box_places()


def test_boxes_of_another_clone_of_labkit_are_not_taken_for_the_users(tmp_path: Path) -> None:
    for name in ("boxes", "kickstart"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    # A template of that name alone may be the user's.
    (tmp_path / "Vagrantfile.j2").write_text("")
    assert box_places(tmp_path) == box_places()
    (tmp_path / "kickstart/labkit-firstboot").unlink()
    assert "centos7" in box_places(tmp_path).beside


def test_places_with_a_file_named_boxes_say_so(tmp_path: Path) -> None:
    (tmp_path / "boxes").write_text("")
    places = box_places(tmp_path)
    assert places.names == box_names()
    assert places.obstacles == (
        f"'{tmp_path}/boxes' is a file; a directory of that name would hold boxes.",
    )


def test_places_with_a_loop_of_links_say_so(tmp_path: Path) -> None:
    (tmp_path / "boxes").symlink_to("boxes")
    [told] = box_places(tmp_path).obstacles
    assert told.startswith(f"'{tmp_path}/boxes' cannot be read: Too many levels")


@pytest.mark.parametrize("path", ["boxes", "boxes/mine"])
def test_places_that_cannot_be_read_say_so(path: str) -> None:
    with public_directory() as directory:
        add_box(directory, "mine")
        (directory / path).chmod(0)
        with without_root():
            places = box_places(directory)
        (directory / path).chmod(0o755)
    assert places.names == box_names()
    assert places.obstacles == (f"'{directory}/{path}' cannot be read: Permission denied.",)


@pytest.mark.parametrize("name", ["Mine", "my box", "x" * 31, "-v", "a\nb", "$(id)", "ü"])
def test_box_whose_name_others_cannot_carry_is_told_and_not_offered(
    tmp_path: Path, name: str
) -> None:
    add_box(tmp_path, name)
    places = box_places(tmp_path)
    assert places.beside == {}
    [told] = places.obstacles
    assert told.isprintable()
    assert "is no box by its name; expected lower-case letters" in told


def test_obstacles_of_a_name_tell_of_its_directory_without_a_box_yaml(tmp_path: Path) -> None:
    (tmp_path / "boxes/mine").mkdir(parents=True)
    places = box_places(tmp_path)
    assert places.obstacles_of("mine") == (f"'{tmp_path}/boxes/mine' has no box.yaml.",)
    assert places.obstacles_of("yours") == places.obstacles_of("../boxes/mine") == ()
