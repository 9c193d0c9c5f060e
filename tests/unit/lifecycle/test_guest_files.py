from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from labkit.lifecycle.guest_files import compose_seeds, have_keys, make_keys
from labkit.state.directory import LabDirectory
from labkit.state.session import Session, host_key, root_key, user_key
from tests.fakes.tools import tools
from tests.support import labs

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


def test_seed_of_a_node_carries_its_own_keys_and_nobody_elses(session: Session) -> None:
    seeds = compose_seeds(session)
    assert set(seeds) == {"controller", "compute"}
    for name, seed in seeds.items():
        files = {file.path: file for file in seed.files}
        assert files[PRIVATE].content == f"private of {name}\n".encode()
        assert files[PRIVATE].mode == 0o600
        authorized = files[PurePosixPath("/home/vagrant/.ssh/authorized_keys")]
        assert authorized.content == b"ssh-rsa AAAA user\n"
        assert (authorized.mode, authorized.owner) == (0o600, "vagrant:vagrant")


def test_seed_id_changes_with_a_key_and_with_nothing_else(session: Session) -> None:
    first = compose_seeds(session)
    assert {n: s.seed_id for n, s in compose_seeds(session).items()} == {
        n: s.seed_id for n, s in first.items()
    }
    host_key(session.directory, "compute").write_text("another\n")
    second = compose_seeds(session)
    assert second["compute"].seed_id != first["compute"].seed_id
    assert second["controller"].seed_id == first["controller"].seed_id


def test_seed_lets_root_in_everywhere_and_out_of_the_controller_alone(session: Session) -> None:
    home = PurePosixPath("/root/.ssh")
    for name, seed in compose_seeds(session).items():
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
    for seed in compose_seeds(session).values():
        assert "private of" not in seed.manifest
