from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from labkit.host.files import cache_root, file_error, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.errors import HostError

OTHER = 65534


def refused(number: int, path: Path | None) -> HostError:
    told = file_error(OSError(number, os.strerror(number), None if path is None else str(path)))
    assert told is not None
    return told


def test_atomic_write_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(target, "\udc80")
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_atomic_write_sets_the_mode(tmp_path: Path) -> None:
    write_atomically(tmp_path / "secret", "x", mode=0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_atomic_write_that_is_refused_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "none" / "state.json", "x")
    assert caught.value.filename == str(tmp_path / "none" / "state.json")


def test_full_disk_is_said_with_what_frees_it(tmp_path: Path) -> None:
    told = refused(errno.ENOSPC, tmp_path / "state.json")
    assert told.message == f"No space is left for '{tmp_path}/state.json'."
    assert "'labkit destroy'" in told.hint
    assert told.exit_code == 3


def test_full_disk_without_a_name_is_said_too() -> None:
    assert refused(errno.ENOSPC, None).message == "No space is left for what labkit writes."


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_file_of_another_user_is_said_with_whose_it_is_and_how_to_get_it(tmp_path: Path) -> None:
    # Both ways round: this user's directory, and in it everything of another one's.
    keys = tmp_path / ".labkit" / "demo" / "keys"
    keys.mkdir(parents=True, mode=0o700)
    for each in (keys, keys.parent, keys.parents[1]):
        os.chown(each, OTHER, OTHER)
    told = refused(errno.EACCES, keys / "id_rsa.pub")
    assert told.message == f"User 'root' may not use '{keys}/id_rsa.pub'."
    assert told.details == (f"'{keys}' belongs to user 'nobody', its mode is 0700.",)
    assert told.hint == (
        "Run it as 'nobody', as whoever made it did, or hand it over: "
        f"sudo chown -R root: {tmp_path}/.labkit"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_file_in_another_user_s_directory_is_not_to_be_handed_over(tmp_path: Path) -> None:
    os.chown(tmp_path, OTHER, OTHER)
    file = tmp_path / "state.json"
    file.touch()
    os.chown(file, OTHER, OTHER)
    for each in tmp_path.parents:
        if each.stat().st_uid == os.geteuid():
            break
    told = refused(errno.EACCES, file)
    assert "sudo chown -R root: " in told.hint
    assert str(file) not in told.hint


def test_file_of_this_user_is_said_with_how_to_open_it(tmp_path: Path) -> None:
    told = refused(errno.EACCES, tmp_path)
    assert told.hint == f"Run 'chmod -R u+rwX {tmp_path}'."


def test_file_where_a_directory_has_to_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "occupied").touch()
    with pytest.raises(OSError) as caught:  # noqa: PT011 -- which one is what is shown below
        (tmp_path / "occupied" / "demo" / "state.json").write_text("x")
    told = file_error(caught.value)
    assert told is not None
    assert told.message.startswith(f"'{tmp_path}/occupied' has to be a directory")
    assert "LABKIT_STATE_DIR" in told.hint


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENAMETOOLONG, errno.EISDIR, errno.ELOOP])
def test_anything_else_a_file_system_refuses_is_named_with_its_path(
    number: int, tmp_path: Path
) -> None:
    told = refused(number, tmp_path / "x")
    assert told.message == f"labkit cannot use '{tmp_path}/x': {os.strerror(number)}."
    assert told.hint


def test_error_of_no_file_is_left_alone() -> None:
    assert file_error(ConnectionRefusedError(errno.ECONNREFUSED, "refused")) is None


def test_cache_root_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("LABKIT_CACHE_DIR")
    assert cache_root().name == "labkit"
