from __future__ import annotations

import socket
import threading
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

import pytest

from labkit.cli.remote import (
    SshWords,
    _quoted,
    dashboard,
    inventory,
    openstack_command,
    scp_argv,
    ssh_argv,
    ssh_config,
    ssh_words,
)
from labkit.errors import HostError, OperationError, UsageError
from labkit.host.process import run
from labkit.lab import deployment
from labkit.state.directory import LabDirectory
from labkit.state.session import Session, host_key
from tests.fakes.tools import tools
from tests.support import labs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.lab.topology import ResolvedNode

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{name} {name}.lab.example\n"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    directory = LabDirectory(tmp_path / "state" / "demo")
    directory.create()
    lab = labs.lab()
    for node in lab.nodes:
        public = host_key(directory, node.name)
        public.with_name(f"{public.name}.pub").write_text(KEY.format(name=node.name))
    return Session(
        lab=lab,
        lab_file=tmp_path / "lab.yaml",
        directory=directory,
        progress=lambda _event: None,
        tools=tools(),
    )


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let something greet like an SSH server on a free port of 127.0.0.1, used instead of 22."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def greet() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"SSH-2.0-test\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        real = Session.endpoint

        def endpoint(self: Session, node: ResolvedNode) -> object:
            return replace(real(self, node), port=port)

        monkeypatch.setattr(Session, "endpoint", endpoint)
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)


def at(session: Session, *addresses: str) -> tuple[Session, ResolvedNode]:
    """Return the session with the first node's cards at these addresses."""
    first, *others = session.lab.nodes
    nics = tuple(
        replace(nic, address=IPv4Interface(f"{address}/8"))
        for nic, address in zip(first.nics, addresses, strict=True)
    )
    node = replace(first, nics=nics)
    return replace(session, lab=replace(session.lab, nodes=(node, *others))), node


def options(argv: list[str]) -> dict[str, str]:
    pairs = [argv[i + 1] for i, word in enumerate(argv) if word == "-o"]
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.usefixtures("answering")
def test_ssh_command_checks_the_host_key_and_uses_nothing_of_the_users(session: Session) -> None:
    session, node = at(session, "127.0.0.1", "127.0.0.2")

    argv = ssh_argv(session, node, [])

    assert argv[:3] == ["ssh", "-F", "none"]
    assert argv[-1] == "vagrant@127.0.0.1"
    assert options(argv) == {
        "UserKnownHostsFile": str(session.directory.keys / "known_hosts"),
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "IdentityFile": str(session.directory.keys / "id_rsa"),
        "LogLevel": "ERROR",
        "ConnectTimeout": "60",
    }


@pytest.mark.usefixtures("answering")
def test_known_hosts_hold_every_address_of_every_node(session: Session) -> None:
    session, node = at(session, "127.0.0.1", "127.0.0.2")

    ssh_argv(session, node, [])

    lines = (session.directory.keys / "known_hosts").read_text().splitlines()
    keys = {
        node.name: " ".join(KEY.format(name=node.name).split()[:2]) for node in session.lab.nodes
    }
    assert lines == [
        f"127.0.0.1 {keys['controller']}",
        f"127.0.0.2 {keys['controller']}",
        f"172.16.208.23 {keys['compute']}",
        f"172.16.208.28 {keys['compute']}",
    ]


@pytest.mark.usefixtures("answering")
def test_ssh_works_beside_a_node_that_was_not_brought_up_yet(session: Session) -> None:
    session, node = at(session, "127.0.0.1", "127.0.0.2")
    new = host_key(session.directory, "compute")
    new.with_name(f"{new.name}.pub").unlink()

    ssh_argv(session, node, [])

    lines = (session.directory.keys / "known_hosts").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize(
    ("words", "remote"),
    [
        ([], []),
        (["echo $HOME | wc"], ["echo $HOME | wc"]),
        (["echo", "a  b"], ["echo 'a  b'"]),
        (["echo", "$HOME", "it's"], ["""echo '$HOME' 'it'"'"'s'"""]),
        (["printf", "%s", ""], ["printf %s ''"]),
    ],
)
def test_ssh_words_reach_the_remote_shell_as_typed(
    session: Session, words: list[str], remote: list[str]
) -> None:
    session, node = at(session, "127.0.0.1", "127.0.0.2")
    argv = ssh_argv(session, node, words)
    assert argv[argv.index("vagrant@127.0.0.1") + 1 :] == remote


@pytest.mark.parametrize(
    ("words", "options", "command"),
    [
        ("controller", "", ""),
        ("controller -- ls -l", "", "ls -l"),
        ("controller ls -l", "", "ls -l"),
        ("-- controller ls", "", "ls"),
        ("-L 8080:localhost:80 controller", "-L 8080:localhost:80", ""),
        ("-L8080:localhost:80 controller", "-L8080:localhost:80", ""),
        ("-tA controller sudo -s", "-tA", "sudo -s"),
        ("-tL 80:h:80 -N controller", "-tL 80:h:80 -N", ""),
        ("-o LogLevel=DEBUG -t controller true", "-o LogLevel=DEBUG -t", "true"),
    ],
)
def test_ssh_words_are_told_apart_as_ssh_does(words: str, options: str, command: str) -> None:
    assert ssh_words(words.split()) == SshWords(
        options=tuple(options.split()), node="controller", command=tuple(command.split())
    )


@pytest.mark.parametrize("words", [[], ["-t"], ["-L", "80:h:80"], ["--"]])
def test_ssh_words_without_a_node_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match="needs a node"):
        ssh_words(words)


@pytest.mark.usefixtures("answering")
def test_ssh_options_stand_after_those_that_check_the_host(session: Session) -> None:
    session, node = at(session, "127.0.0.1", "127.0.0.2")
    argv = ssh_argv(session, node, ["true"], ["-o", "StrictHostKeyChecking=no", "-t"])
    # ssh takes the first value that it is given for an option.
    assert argv.index("StrictHostKeyChecking=yes") < argv.index("StrictHostKeyChecking=no")
    assert argv[-3:] == ["-t", "vagrant@127.0.0.1", "true"]


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize(
    ("sources", "target", "words"),
    [
        (["a", "/b"], "controller:", ["./a", "/b", "vagrant@127.0.0.1:"]),
        (["controller:/etc/x y"], ".", ["vagrant@127.0.0.1:/etc/x y", "./."]),
        (["-r"], "controller:/tmp", ["./-r", "vagrant@127.0.0.1:/tmp"]),
        (["./a:b"], "controller:c:d", ["./a:b", "vagrant@127.0.0.1:c:d"]),
    ],
)
def test_cp_words_are_files_here_and_there(
    session: Session, sources: list[str], target: str, words: list[str]
) -> None:
    session, _ = at(session, "127.0.0.1", "127.0.0.2")
    argv = scp_argv(session, sources, target, recursive=True)
    assert argv[: argv.index("--")][-1] == "-r"
    assert argv[argv.index("--") + 1 :] == words
    assert options(argv)["StrictHostKeyChecking"] == "yes"


def test_cp_without_a_node_and_to_an_unknown_one_is_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="Nothing is to be copied"):
        scp_argv(session, ["a"], "b", recursive=False)
    with pytest.raises(UsageError, match="no node 'other'"):
        scp_argv(session, ["a"], "other:b", recursive=False)


@pytest.mark.parametrize("name", ["controller", "controller.lab.example", "compute"])
def test_ssh_config_is_understood_by_ssh(session: Session, tmp_path: Path, name: str) -> None:
    file = tmp_path / "config"
    file.write_text(ssh_config(session), encoding="utf-8")
    told = run(["ssh", "-G", "-F", file, name], timeout=20).stdout.splitlines()
    node = session.node(name.partition(".")[0])
    assert f"hostname {node.nics[0].address.ip}" in told
    assert "user vagrant" in told
    assert "stricthostkeychecking true" in told
    assert f"identityfile {session.directory.keys / 'id_rsa'}" in told
    assert f"userknownhostsfile {session.directory.keys / 'known_hosts'}" in told


def test_inventory_has_every_node_and_a_group_for_each_role(session: Session) -> None:
    listed = inventory(session)["all"]
    assert isinstance(listed, dict)
    assert list(listed["hosts"]) == ["controller", "compute"]
    assert {name: list(group["hosts"]) for name, group in listed["children"].items()} == {
        f"role_{role}": [node.name for node in session.lab.nodes if role in node.roles]
        for role in sorted({role for node in session.lab.nodes for role in node.roles})
    }
    assert "StrictHostKeyChecking=yes" in listed["vars"]["ansible_ssh_common_args"]


@pytest.mark.parametrize("words", [["server", "list"], ["it's", "$(x)", 'a "b"'], []])
def test_openstack_words_reach_the_client_as_typed(words: list[str], tmp_path: Path) -> None:
    client = tmp_path / "openstack"
    client.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n', encoding="utf-8")
    client.chmod(0o755)
    rc = tmp_path / "rc"
    rc.write_text(f"PATH={tmp_path}:$PATH\n", encoding="utf-8")
    line = openstack_command(words).removeprefix("sudo -n ")
    line = line.replace("/root/keystonerc_admin", str(rc))
    expected = "".join(f"<{word}>" for word in words) or "<>"
    assert run(["sh", "-c", line], timeout=20).stdout == expected


def test_dashboard_of_a_deployed_lab_is_told_with_its_credentials(session: Session) -> None:
    with pytest.raises(OperationError, match="is not deployed"):
        dashboard(session)
    state = session.state()
    deployed = state.deployment.model_copy(update={"deployed": ("controller", "compute")})
    session.directory.save(state.model_copy(update={"deployment": deployed}))
    address = deployment.management_address(deployment.controller(session.lab))
    assert dashboard(session) == (
        f"http://{address}/dashboard/",
        session.directory.path / "packstack" / "keystonerc_admin",
    )
    without = replace(session.lab.deployment, answers=(("CONFIG_HORIZON_INSTALL", "n"),))
    with pytest.raises(OperationError, match="has no dashboard"):
        dashboard(replace(session, lab=replace(session.lab, deployment=without)))


@pytest.mark.usefixtures("answering")
def test_ssh_takes_the_second_address_when_the_first_is_silent(session: Session) -> None:
    # 127.1.2.3 is loopback too, but the greeting listens on 127.0.0.1 alone.
    session, node = at(session, "127.1.2.3", "127.0.0.1")
    assert ssh_argv(session, node, [])[-1] == "vagrant@127.0.0.1"


def test_ssh_to_a_node_that_does_not_answer_names_every_address(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    real = Session.endpoint
    monkeypatch.setattr(
        Session, "endpoint", lambda self, node: replace(real(self, node), port=port)
    )
    session, node = at(session, "127.0.0.1", "127.0.0.2")
    with pytest.raises(OperationError) as caught:
        ssh_argv(session, node, [])
    assert caught.value.message == "No address of the node 'controller' answers."
    assert [line.split(":")[0] for line in caught.value.details] == ["127.0.0.1", "127.0.0.2"]
    assert "labkit console controller" in caught.value.hint


def test_ssh_to_a_node_that_was_never_made_says_so(session: Session) -> None:
    (session.directory.keys / "controller_host_ed25519.pub").unlink()
    with pytest.raises(OperationError) as caught:
        ssh_argv(session, session.node("controller"), [])
    assert caught.value.hint == "Run 'labkit up' first."


def test_quoted_path_without_special_signs_stays_as_it_is() -> None:
    assert _quoted("/plain/path") == "/plain/path"
    assert _quoted("/with a space/%h") == '"/with a space/%%h"'


HOSTILE = (
    "/a b/k", "/a\tb/k", '/a"b/k', "/a'b/k", "/a\\b/k", '/a\\"b/k', "/a#b", "/a #b", "/%h x/%%",
    "/$HOME/x", "/a=b", "/ü x", "/a\\ b", "/a\\\\b", "/a;b|c*?[d]", "/ends\\",
)  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_quoted_path_is_what_ssh_reads_back_from_a_file_and_from_its_options(
    path: str, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_text(f"Host n\n  UserKnownHostsFile {_quoted(path)}\n", encoding="utf-8")
    by_option = ["-F", "none", "-o", f"UserKnownHostsFile={_quoted(path)}"]
    for words in (["-F", file], by_option):
        told = run(["ssh", "-G", *words, "n"], timeout=20).stdout.splitlines()
        # Only when the file is opened does ssh put tokens in their place.
        assert f"userknownhostsfile {path.replace('%', '%%')}" in told or (
            f"userknownhostsfile {path}" in told
        )


@pytest.mark.parametrize("path", ["/${HOME}/x", "/a\nProxyCommand x", "/a\rb"])
def test_path_that_ssh_cannot_be_told_is_refused(path: str) -> None:
    with pytest.raises(HostError, match="ssh cannot be told") as caught:
        _quoted(path)
    assert "LABKIT_STATE_DIR" in caught.value.hint
