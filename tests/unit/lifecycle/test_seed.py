from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError
from labkit.host import iso
from labkit.lab.render import lab_texts
from labkit.lifecycle.seed import (
    Seed,
    SeedFile,
    compose,
    compose_seeds,
    have_keys,
    make_keys,
    write_image,
)
from labkit.state.directory import LabDirectory
from labkit.state.session import Session, host_key, root_key, user_key
from tests.fakes.tools import tools
from tests.support import labs

if TYPE_CHECKING:
    from collections.abc import Mapping

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


PRIVATE = PurePosixPath("/etc/ssh/ssh_host_ed25519_key")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    directory = LabDirectory(tmp_path / "demo")
    directory.create()
    lab = labs.lab()
    user_key(directory).with_name("id_rsa.pub").write_text("ssh-rsa AAAA user\n")
    root_key(directory).write_text("private of root\n")
    root_key(directory).with_name("root_id_rsa.pub").write_text("ssh-rsa AAAA root\n")
    for node in lab.nodes:
        host = host_key(directory, node.name)
        host.write_text(f"private of {node.name}\n")
        host.with_name(f"{host.name}.pub").write_text(f"public of {node.name}\n")
    return Session(
        lab=lab,
        lab_file=tmp_path / "lab.yaml",
        directory=directory,
        progress=lambda _event: None,
        tools=tools(),
    )


def composed(session: Session) -> Mapping[str, Seed]:
    return compose_seeds(session, lab_texts(session.lab).guest)


def test_seed_of_a_node_carries_its_own_keys_and_nobody_elses(session: Session) -> None:
    seeds = composed(session)
    assert set(seeds) == {"controller", "compute"}
    for name, seed in seeds.items():
        files = {file.path: file for file in seed.files}
        assert files[PRIVATE].content == f"private of {name}\n".encode()
        assert files[PRIVATE].mode == 0o600
        authorized = files[PurePosixPath("/home/vagrant/.ssh/authorized_keys")]
        assert authorized.content == b"ssh-rsa AAAA user\n"
        assert (authorized.mode, authorized.owner) == (0o600, "vagrant:vagrant")


def test_seed_id_changes_with_a_key_and_with_nothing_else(session: Session) -> None:
    first = composed(session)
    assert {n: s.seed_id for n, s in composed(session).items()} == {
        n: s.seed_id for n, s in first.items()
    }
    host_key(session.directory, "compute").write_text("another\n")
    second = composed(session)
    assert second["compute"].seed_id != first["compute"].seed_id
    assert second["controller"].seed_id == first["controller"].seed_id


def test_seed_lets_root_in_everywhere_and_out_of_the_controller_alone(session: Session) -> None:
    home = PurePosixPath("/root/.ssh")
    for name, seed in composed(session).items():
        found = {
            file.path.name: (file.mode, file.owner, file.content)
            for file in seed.files
            if file.path.parent == home
        }
        wanted = {"authorized_keys": (0o600, "root:root", b"ssh-rsa AAAA root\n")}
        if name == "controller":
            wanted["id_rsa"] = (0o600, "root:root", b"private of root\n")
            wanted["id_rsa.pub"] = (0o644, "root:root", b"ssh-rsa AAAA root\n")
        assert found == wanted


def test_keys_of_a_lab_are_made_once_each_and_for_the_owner_alone(tmp_path: Path) -> None:
    directory = LabDirectory(tmp_path / "demo")
    directory.create()
    session = Session(
        lab=labs.lab(), lab_file=tmp_path / "lab.yaml", directory=directory,
        progress=lambda _event: None,
        tools=tools(),
    )  # fmt: skip
    assert not have_keys(session)
    make_keys(session)
    assert have_keys(session)
    key = root_key(directory)
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    make_keys(session)
    assert key.read_bytes() == before


def test_manifest_holds_no_key_material(session: Session) -> None:
    for seed in composed(session).values():
        assert "private of" not in seed.manifest


def test_keys_that_cannot_be_made_are_all_named(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keygen = tmp_path / "ssh-keygen"
    keygen.write_text('#!/bin/sh\nfor word; do :; done\necho "not ${word##*/}" >&2; exit 1\n')
    keygen.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("controller", "compute"):
        host_key(session.directory, name).unlink()
    user_key(session.directory).touch()
    with pytest.raises(OperationError) as caught:
        make_keys(session)
    said = [line.strip() for line in caught.value.details]
    for name in ("controller", "compute"):
        assert f"not {name}_host_ed25519" in said
