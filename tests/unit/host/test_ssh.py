from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import paramiko  # noqa: TID251 -- makes the keys of the fake server
import pytest

from labkit.host import ssh
from labkit.host.greetings import Greetings
from tests.fakes.ssh_server import FakeSshServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCAL = IPv4Address("127.0.0.1")


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "id_rsa"
    paramiko.RSAKey.generate(2048).write_private_key_file(str(path))
    return path


@pytest.fixture
def server() -> Iterator[FakeSshServer]:
    answers = {"hostname": (0, "controller\n", ""), "false": (1, "", "no\n")}
    hung = {name: name for name in ("unconfirmed", "endless", "silent")}
    with FakeSshServer(paramiko.ECDSAKey.generate(), answers, hung=hung) as running:
        yield running


def endpoint(server: FakeSshServer, key_file: Path) -> ssh.Endpoint:
    key = server.host_key
    return ssh.Endpoint(
        node="controller",
        addresses=(LOCAL,),
        key_file=key_file,
        host_key=f"{key.get_name()} {key.get_base64()}",
        port=server.port,
    )


def test_run_returns_status_and_both_streams(server: FakeSshServer, key_file: Path) -> None:
    with ssh.connect(endpoint(server, key_file)) as session:
        assert session.run("hostname", timeout=5).stdout == "controller\n"
        failed = session.run("false", timeout=5)
    assert (failed.returncode, failed.stderr) == (1, "no\n")


@pytest.mark.parametrize(
    ("command", "limit"), [("unconfirmed", 0.3), ("silent", 0.3), ("endless", 3)]
)
@pytest.mark.timeout(20)
def test_command_that_never_ends_is_lost_and_the_limit_is_told(
    server: FakeSshServer, key_file: Path, command: str, limit: float
) -> None:
    with (
        ssh.connect(endpoint(server, key_file)) as session,
        pytest.raises(ssh.NotReachableError, match=f"broke during '{command}'") as caught,
    ):
        session.run(command, timeout=0.3)
    assert caught.value.details == (f"it was not done within {limit:g} s",)


def test_connect_to_a_server_that_stays_silent_tells_the_limits(key_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = ssh.Endpoint(
            node="compute",
            addresses=(LOCAL,),
            key_file=key_file,
            host_key=f"ssh-rsa {paramiko.RSAKey.generate(1024).get_base64()}",
            port=listener.getsockname()[1],
        )
        with pytest.raises(ssh.NotReachableError) as caught:
            ssh.connect(nobody, handshake_seconds=0.2)
    assert caught.value.details[0].endswith("(it has 0.2 s for the keys, as many to log in)")


def test_connect_to_a_foreign_host_key_is_refused(server: FakeSshServer, key_file: Path) -> None:
    other = paramiko.ECDSAKey.generate()
    wrong = replace(
        endpoint(server, key_file), host_key=f"{other.get_name()} {other.get_base64()}"
    )
    with pytest.raises(ssh.WrongHostKeyError) as caught:
        ssh.connect(wrong)
    assert "another SSH host key than 'controller'" in caught.value.message
    assert server.commands == []


def test_connect_falls_back_to_the_second_address(server: FakeSshServer, key_file: Path) -> None:
    # 127.0.0.2 is loopback too, and the server does not listen there.
    both = replace(endpoint(server, key_file), addresses=(IPv4Address("127.0.0.2"), LOCAL))
    with ssh.connect(both) as session:
        assert session.address == LOCAL


def test_connect_with_nobody_listening_lists_every_address(key_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = ssh.Endpoint(
        node="compute",
        addresses=(LOCAL, IPv4Address("127.0.0.2")),
        key_file=key_file,
        host_key=f"ssh-rsa {paramiko.RSAKey.generate(1024).get_base64()}",
        port=port,
    )
    with pytest.raises(ssh.NotReachableError) as caught:
        ssh.connect(nobody)
    assert len(caught.value.details) == 2
    assert "'compute'" in caught.value.message


def test_greeting_of_an_ssh_server_can_be_gone_on_with(
    server: FakeSshServer, key_file: Path
) -> None:
    with Greetings((LOCAL,), server.port) as greetings:
        greeted = greetings.wait(5)
    nowhere = replace(endpoint(server, key_file), addresses=(IPv4Address("127.0.0.2"),))
    with ssh.connect(nowhere, greeted=greeted) as session:
        assert session.address == LOCAL
        assert session.run("hostname", timeout=5).stdout == "controller\n"
    assert greeted.connection.fileno() == -1  # closed with the session


def test_greeting_gone_on_with_is_held_to_the_host_key(
    server: FakeSshServer, key_file: Path
) -> None:
    other = paramiko.ECDSAKey.generate()
    wrong = replace(
        endpoint(server, key_file), host_key=f"{other.get_name()} {other.get_base64()}"
    )
    with Greetings((LOCAL,), server.port) as greetings, pytest.raises(ssh.WrongHostKeyError):
        ssh.connect(wrong, greeted=greetings.wait(5))
    assert server.commands == []


def test_generated_keys_are_private_and_kept(tmp_path: Path) -> None:
    target = tmp_path / "host"
    ssh.generate_key(target, "ed25519", "controller")
    first = target.read_bytes()
    ssh.generate_key(target, "ed25519", "controller")
    assert target.read_bytes() == first
    assert target.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "host.pub").read_text(encoding="utf-8").endswith("controller\n")


def test_half_made_key_is_made_again(tmp_path: Path) -> None:
    target = tmp_path / "host"
    target.write_text("torn", encoding="utf-8")
    ssh.generate_key(target, "ed25519", "x")
    assert "PRIVATE KEY" in target.read_text(encoding="utf-8")


def test_generated_user_key_is_in_the_form_vagrant_reads(tmp_path: Path) -> None:
    ssh.generate_key(tmp_path / "id", "rsa", "x")
    assert (tmp_path / "id").read_text(encoding="utf-8").startswith("-----BEGIN RSA PRIVATE KEY")
