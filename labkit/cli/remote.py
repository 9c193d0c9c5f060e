"""How other programs reach the nodes: command lines for ssh and scp, files for others."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import HostError, OperationError, UsageError
from labkit.host import ssh
from labkit.host.files import write_atomically
from labkit.host.greetings import Greetings
from labkit.state.session import has_host_key
from labkit.verify.outputs import KEYSTONERC, dashboard_url

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

# An emulated guest beside eight others needs ten; one that is down says so within three.
GREETING_SECONDS = 30.0
# Of ssh(1), those that have a value.
VALUE_OPTIONS = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
NEEDS_QUOTES = re.compile(r"""[\s"'\\#%]""")
ELSEWHERE = "Move the lab to another directory, or set LABKIT_STATE_DIR to one."


@dataclass(frozen=True, slots=True, kw_only=True)
class SshWords:
    """What `labkit ssh` was told.

    Attributes:
        options: For ssh itself, as they were typed.
        node: The node.
        command: What to run there; empty for a shell.
    """

    options: tuple[str, ...]
    node: str
    command: tuple[str, ...]


def ssh_words(words: Sequence[str]) -> SshWords:
    """Tell the options of ssh, the node and the command apart, as ssh(1) does.

    Raises:
        UsageError: There is no node among the words.
    """
    rest, options = list(words), list[str]()
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--":
            break
        options.append(option)
        # The value is what follows the letter, or else the next word: -L8080:h:80, -tL 8080:h:80.
        takes = next((i for i, each in enumerate(option[1:], 2) if each in VALUE_OPTIONS), 0)
        if takes == len(option) and rest:
            options.append(rest.pop(0))
    if not rest:
        message = "'labkit ssh' needs a node to log in to."
        raise UsageError(message, hint="'labkit status' lists the lab's nodes.")
    node, *command = rest
    # A '--' between node and command is not part of the command.
    command = command[command[:1] == ["--"] :]
    return SshWords(options=tuple(options), node=node, command=tuple(command))


def ssh_argv(
    session: Session, node: ResolvedNode, command: Sequence[str], options: Sequence[str] = ()
) -> list[str]:
    """Return the OpenSSH command for a node: the lab's key, the node's host key, nothing else.

    The first address that answers is used. The remote shell gets the words quoted, so that
    `labkit ssh NODE echo 'a  b'` does what it says; one single word is a shell line.

    Args:
        session: The lab.
        node: The node.
        command: What to run there.
        options: Further options of ssh's own.

    Raises:
        OperationError: The node was never brought up, or no address of it answers.
    """
    endpoint = session.endpoint(node)
    remote = [command[0] if len(command) == 1 else shlex.join(command)] if command else []
    address = f"{ssh.USER}@{_answering(endpoint)}"
    return ["ssh", *_flags(session, endpoint), *options, address, *remote]


def scp_argv(
    session: Session, sources: Sequence[str], target: str, *, recursive: bool
) -> list[str]:
    """Return the OpenSSH command that copies files between this host and nodes, NODE:PATH.

    As with scp(1), a name with a slash before its first colon is a file of this host.

    Raises:
        UsageError: Nothing is on a node, or there is no such node.
        OperationError: A node was never brought up, or no address of it answers.
    """
    known: dict[str, str] = {}
    words: list[str] = []
    flags: list[str] = []
    for place in (*sources, target):
        name, colon, path = place.partition(":")
        if not colon or "/" in name:
            words.append(place if place.startswith(("/", "./")) else f"./{place}")
            continue
        endpoint = session.endpoint(session.node(name))
        flags = _flags(session, endpoint)
        known[name] = known.get(name) or _answering(endpoint)
        words.append(f"{ssh.USER}@{known[name]}:{path}")
    if not known:
        message = "Nothing is to be copied to a node or from one."
        raise UsageError(message, hint="Write NODE:PATH for a file of a node.")
    return ["scp", *flags, *(["-r"] if recursive else []), "--", *words]


def _flags(session: Session, endpoint: ssh.Endpoint) -> list[str]:
    options = {**ssh_options(session, endpoint), "ConnectTimeout": f"{ssh.HANDSHAKE_SECONDS:.0f}"}
    flags = [part for key, value in options.items() for part in ("-o", f"{key}={_quoted(value)}")]
    # -F none: the user's own ~/.ssh/config must not bend the way to the lab.
    return ["-F", "none", *flags]


def ssh_options(session: Session, endpoint: ssh.Endpoint) -> dict[str, str]:
    """Return the options of ssh_config(5) for a lab's nodes; writes the file of their host keys."""
    known_hosts = session.directory.keys / "known_hosts"
    # A node that was just put into the lab file has no key yet; the others are none the worse.
    known = [other for other in session.lab.nodes if has_host_key(session.directory, other.name)]
    lines = [
        f"{nic.address.ip} {session.endpoint(other).host_key}\n"
        for other in known
        for nic in other.nics
    ]
    write_atomically(known_hosts, "".join(lines))
    return {
        "UserKnownHostsFile": str(known_hosts),
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "IdentityFile": str(endpoint.key_file),
        "LogLevel": "ERROR",
    }


def openstack_command(words: Sequence[str]) -> str:
    """Return the shell line that runs the OpenStack client in the controller."""
    line = f". {KEYSTONERC} && exec openstack {shlex.join(words)}"
    return f"sudo -n bash -c {shlex.quote(line.rstrip())}"


def dashboard(session: Session) -> tuple[str, Path]:
    """Return where the lab's dashboard is, and the file with its administrator's password.

    Raises:
        OperationError: The lab is not deployed, or without a dashboard.
    """
    if not session.state().deployment.deployed:
        message = f"The lab '{session.lab.name}' is not deployed."
        raise OperationError(message, hint="Run 'labkit deploy' first.")
    url = dashboard_url(session.lab)
    if not url:
        message = "This lab has no dashboard: CONFIG_HORIZON_INSTALL is n."
        raise OperationError(message, hint="'labkit openstack' runs the client on the controller.")
    return url, session.directory.credentials


def ssh_config(session: Session) -> str:
    """Return the nodes as a file for `ssh -F`, `scp -F` and `rsync -e`.

    Raises:
        OperationError: A node was never brought up.
    """
    parts = []
    for node in session.lab.nodes:
        endpoint = session.endpoint(node)
        options = {
            "HostName": str(endpoint.addresses[0]),
            "User": ssh.USER,
            **ssh_options(session, endpoint),
        }
        lines = "".join(f"  {key} {_quoted(value)}\n" for key, value in options.items())
        parts.append(f"Host {node.name} {node.fqdn}\n{lines}")
    return "\n".join(parts)


def inventory(session: Session) -> dict[str, object]:
    """Return the nodes as an inventory of Ansible: all hosts, and a group for each role.

    Raises:
        OperationError: A node was never brought up.
    """
    nodes = session.lab.nodes
    endpoints = {node.name: session.endpoint(node) for node in nodes}
    options = ssh_options(session, endpoints[nodes[0].name])
    arguments = [f"-o {key}={shlex.quote(_quoted(value))}" for key, value in options.items()]
    groups: dict[str, object] = {
        # A group that is called as a host is makes Ansible complain; no host has '_' in its name.
        f"role_{role}": {"hosts": {node.name: {} for node in nodes if role in node.roles}}
        for role in sorted({role for node in nodes for role in node.roles})
    }
    return {
        "all": {
            "vars": {
                "ansible_user": ssh.USER,
                "ansible_ssh_private_key_file": str(endpoints[nodes[0].name].key_file),
                "ansible_ssh_common_args": " ".join(["-F none", *arguments]),
            },
            "hosts": {
                name: {"ansible_host": str(endpoint.addresses[0])}
                for name, endpoint in endpoints.items()
            },
            "children": groups,
        }
    }


def _quoted(value: str) -> str:
    """Return a value as ssh_config(5) takes it: in double quotes, each special sign escaped.

    Raises:
        HostError: It has a sign that cannot be escaped there.
    """
    # ssh puts the environment's variables in place of ${NAME}, and knows no other way to write it.
    if "${" in value or "\n" in value or "\r" in value:
        message = f"A path without '${{' and line ends was expected: ssh cannot be told {value!r}."
        raise HostError(message, hint=ELSEWHERE)
    if not NEEDS_QUOTES.search(value):
        return value
    # Within quotes a backslash stands before a quote and itself (argv_split in OpenSSH's misc.c);
    # '%' begins a token.
    escaped = re.sub(r"""(["\\])""", r"\\\1", value).replace("%", "%%")
    return f'"{escaped}"'


def _answering(endpoint: ssh.Endpoint) -> str:
    try:
        with Greetings(endpoint.addresses, endpoint.port) as greetings:
            greeted = greetings.wait(GREETING_SECONDS)
    except ssh.NotReachableError as exc:
        message = f"No address of the node '{endpoint.node}' answers."
        raise OperationError(
            message,
            details=exc.details,
            hint=f"Look with 'labkit status' and 'labkit console {endpoint.node}'; start it with "
            "'labkit up'.",
        ) from exc
    greeted.connection.close()
    return str(greeted.address)
