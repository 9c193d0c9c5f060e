from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError, OperationError
from labkit.lab.options import Random, options, problem
from labkit.packstack import passwords
from labkit.state.directory import LabDirectory
from labkit.state.secrets import password_file

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = {
    Random.PASSWORD: r"[A-Za-z0-9]{16}",
    Random.HEX16: r"[a-f][0-9a-f]{15}",
    Random.HEX32: r"[0-9a-f]{32}",
}


@pytest.fixture
def directory(tmp_path: Path) -> LabDirectory:
    made = LabDirectory(tmp_path / ".labkit" / "demo")
    made.create()
    return made


def test_complete_makes_every_secret_in_its_shape_and_no_two_alike() -> None:
    made = passwords.complete({}, {})
    assert len(made) == len(set(made.values())) == 43
    for option in options():
        if option.random is not None:
            assert re.fullmatch(SHAPES[option.random], made[option.key]), option.key
            assert problem(option.key, made[option.key]) is None


def test_complete_keeps_what_is_known_over_what_is_asked() -> None:
    made = passwords.complete({"CONFIG_NOVA_DB_PW": "old"}, {"CONFIG_NOVA_DB_PW": "new"})
    assert made["CONFIG_NOVA_DB_PW"] == "old"


def test_complete_takes_a_default_password_for_passwords_alone() -> None:
    asked = {"CONFIG_DEFAULT_PASSWORD": "openstack", "CONFIG_NOVA_DB_PW": "own"}
    made = passwords.complete({}, asked)
    assert made["CONFIG_NOVA_DB_PW"] == "own"
    assert made["CONFIG_KEYSTONE_ADMIN_PW"] == "openstack"
    assert re.fullmatch(SHAPES[Random.HEX32], made["CONFIG_KEYSTONE_ADMIN_TOKEN"])
    assert "CONFIG_DEFAULT_PASSWORD" not in made


def test_ensure_keeps_the_secrets_for_the_owner_alone_and_gives_them_again(
    directory: LabDirectory,
) -> None:
    first = passwords.ensure(directory, {})
    path = password_file(directory)
    written = path.stat()
    assert written.st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert passwords.ensure(directory, {"CONFIG_DEFAULT_PASSWORD": "other"}) == first
    assert path.stat().st_mtime_ns == written.st_mtime_ns


def test_ensure_adds_what_the_file_does_not_have(directory: LabDirectory) -> None:
    passwords.keep(directory, {"CONFIG_NOVA_DB_PW": "0123456789abcdef", "CONFIG_RH_PW": "no"})
    assert passwords.load(directory) == {"CONFIG_NOVA_DB_PW": "0123456789abcdef"}
    whole = passwords.ensure(directory, {})
    assert whole["CONFIG_NOVA_DB_PW"] == "0123456789abcdef"
    assert passwords.load(directory) == whole
    assert len(whole) == 43


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "\udcff",
        json.dumps({"CONFIG_NOVA_DB_PW": 7}),
        json.dumps({"CONFIG_NOVA_DB_PW": ""}),
        json.dumps({"CONFIG_NOVA_DB_PW": "x' y"}),
        json.dumps({"CONFIG_NO_SUCH": "secretvalue"}),
    ],
)
def test_load_of_a_damaged_file_says_which_and_what_to_do(
    directory: LabDirectory, text: str
) -> None:
    path = password_file(directory)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(OperationError, match="damaged") as caught:
        passwords.ensure(directory, {})
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert "secretvalue" not in "".join((caught.value.message, *caught.value.details))
    assert path.read_bytes() == text.encode(errors="surrogateescape")


def test_keep_where_no_file_can_be_written_says_so(directory: LabDirectory) -> None:
    directory.keys.rmdir()
    with pytest.raises(HostError, match="cannot be written"):
        passwords.ensure(directory, {})
