"""`repos.keys`: which files a lab file has to name, and what may be in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from labkit.lab import yaml
from labkit.lab.file import check
from labkit.lab.signing_keys import MAX_BYTES, fault, names
from labkit.lab.topology import Release
from tests.support.examples import DEPLOYED

if TYPE_CHECKING:
    from collections.abc import Sequence

CLOUD, STORAGE, VIRTUALIZATION = NAMES = names(Release.QUEENS)
ARMORED = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"
PRIVATE = "a private key, which belongs to its owner alone and is not put on any node"


def problems(keys: Sequence[str]) -> list[str]:
    items = "".join(f"    - {json.dumps(key)}\n" for key in keys)
    text = DEPLOYED.replace("deployment:\n", f"repos:\n  keys:\n{items}", 1)
    _lab, found = check(yaml.parse(text, "lab.yaml"))
    return [f"{'.'.join(map(str, each.place))}: {each.expected}; {each.found}" for each in found]


def test_every_release_has_the_keys_of_its_three_groups() -> None:
    assert {names(release) for release in Release} == {NAMES}


@pytest.mark.parametrize("directory", ["", "keys/", "/abs/my keys/", 'it\'s "$(x)" `id` \\ #/'])
def test_keys_may_lie_anywhere_and_in_any_order(directory: str) -> None:
    assert problems([f"{directory}{name}" for name in reversed(NAMES)]) == []


def test_keys_that_are_missing_or_twice_or_of_no_use_are_all_told() -> None:
    other = "RPM-GPG-KEY-CentOS-SIG-Messaging"
    missing = f"'{STORAGE}' and '{VIRTUALIZATION}' too"
    assert problems([CLOUD, f"again/{CLOUD}", other]) == [
        f"repos.keys.1: each key once; '{CLOUD}' again, as in 'repos.keys.0'",
        f"repos.keys.2: a file named '{CLOUD}' or '{STORAGE}' or '{VIRTUALIZATION}'; '{other}'",
        f"repos.keys: the keys of all groups, {missing}; none of that name",
    ]


@pytest.mark.parametrize(
    "name", ["keys/key.asc", f"{CLOUD}\n", f"a\nb/{CLOUD}", f"{CLOUD}/", "", f"{CLOUD}/../x"]
)
def test_name_that_is_no_keys_is_refused(name: str) -> None:
    (told,) = problems([*NAMES, name])
    assert told.startswith("repos.keys.3: a key file's path, the file named as CentOS names it")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (ARMORED.encode(), ""),
        (f"Key of a group\r\n{ARMORED}".replace("\n", "\r\n").encode(), ""),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", PRIVATE),
        (f"{ARMORED}-----BEGIN OPENSSH PRIVATE KEY-----\n".encode(), PRIVATE),
        (ARMORED[:-5].encode(), "no PGP public key in ASCII armor"),
        (b"<html>please log in</html>", "no PGP public key in ASCII armor"),
        (b"", "no PGP public key in ASCII armor"),
        (b"\x99\x01\xff", "a file that is no plain text"),
        (f"\0{ARMORED}".encode(), "a file that is no plain text"),
        (ARMORED.encode() + b" " * MAX_BYTES, "a file of more than 64 KiB"),
    ],
)
def test_content_is_one_public_key_or_says_what_it_is(content: bytes, why: str) -> None:
    assert fault(content) == why
