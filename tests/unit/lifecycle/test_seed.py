from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from labkit.host import iso
from labkit.lifecycle.seed import SeedFile, compose, write_image
from tests.support import labs

NODE = labs.lab().nodes[0]
HOSTS = SeedFile(path=PurePosixPath("/etc/hosts"), content=b"127.0.0.1 localhost\n")
KEY = SeedFile(
    path=PurePosixPath("/etc/ssh/ssh_host_ed25519_key"), content=b"secret\n", mode=0o600
)


def test_manifest_lists_every_nic_and_file() -> None:
    lines = compose(NODE, [KEY, HOSTS]).manifest.splitlines()
    assert lines[0] == "labkit-seed 1"
    assert lines[2] == "node controller"
    assert lines[3:5] == [f"nic {nic.mac} {nic.name}" for nic in NODE.nics]
    digest = hashlib.sha256(HOSTS.content).hexdigest()
    assert lines[5] == f"file {digest} 0644 root:root /etc/hosts"
    assert lines[6].endswith(" 0600 root:root /etc/ssh/ssh_host_ed25519_key")


def test_id_does_not_depend_on_the_order_of_files() -> None:
    assert compose(NODE, [KEY, HOSTS]).seed_id == compose(NODE, [HOSTS, KEY]).seed_id


@pytest.mark.parametrize(
    "other",
    [
        replace(HOSTS, content=b"127.0.0.1 localhost \n"),
        replace(HOSTS, mode=0o600),
        replace(HOSTS, owner="vagrant:vagrant"),
        replace(HOSTS, path=PurePosixPath("/etc/hosts2")),
    ],
)
def test_id_changes_with_every_property_of_a_file(other: SeedFile) -> None:
    assert compose(NODE, [HOSTS]).seed_id != compose(NODE, [other]).seed_id


def test_id_changes_with_a_mac() -> None:
    nics = (replace(NODE.nics[0], mac="52:54:00:ff:ff:ff"), NODE.nics[1])
    other = replace(NODE, nics=nics)
    assert compose(NODE, [HOSTS]).seed_id != compose(other, [HOSTS]).seed_id


def test_image_holds_what_was_composed(tmp_path: Path) -> None:
    seed = compose(NODE, [KEY, HOSTS])
    image = tmp_path / "seed.iso"
    write_image(seed, image)
    with iso.opened(image) as written:
        assert written.label() == "LABKIT"
        assert written.read(PurePosixPath("/manifest")).decode() == seed.manifest
        assert written.read(PurePosixPath("/rootfs/etc/hosts")) == HOSTS.content
    assert image.stat().st_mode & 0o777 == 0o600


def test_image_replaces_an_older_one(tmp_path: Path) -> None:
    image = tmp_path / "seed.iso"
    image.write_bytes(b"x" * 10_000_000)
    image.chmod(0o644)
    write_image(compose(NODE, [HOSTS]), image)
    assert image.stat().st_size < 1_000_000
    assert image.stat().st_mode & 0o777 == 0o600
