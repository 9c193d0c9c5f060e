"""The command lines behind `labkit ssh` and `labkit console`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.host import ssh
from labkit.host.files import write_atomically
from labkit.host.greetings import Greetings
from labkit.state.session import has_host_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

# An emulated guest beside eight others needs ten; one that is down says so within three.
GREETING_SECONDS = 30.0


def ssh_argv(session: Session, node: ResolvedNode, command: Sequence[str]) -> list[str]:
    """Return the OpenSSH command for a node: the lab's key, the node's host key, nothing else.

    The first address that answers is used. The remote shell gets the words quoted, so that
    `labkit ssh NODE echo 'a  b'` does what it says; one single word is a shell line.

    Raises:
        OperationError: The node was never brought up, or no address of it answers.
    """
    endpoint = session.endpoint(node)
    known_hosts = session.directory.keys / "known_hosts"
    # A node that was just put into the lab file has no key yet; the others are none the worse.
    known = [other for other in session.lab.nodes if has_host_key(session.directory, other.name)]
    lines = [
        f"{nic.address.ip} {session.endpoint(other).host_key}\n"
        for other in known
        for nic in other.nics
    ]
    write_atomically(known_hosts, "".join(lines))
    options = {
        "UserKnownHostsFile": str(known_hosts),
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "IdentityFile": str(endpoint.key_file),
        "LogLevel": "ERROR",
        "ConnectTimeout": f"{ssh.HANDSHAKE_SECONDS:.0f}",
    }
    flags = [part for key, value in options.items() for part in ("-o", f"{key}={_quoted(value)}")]
    remote = [command[0] if len(command) == 1 else shlex.join(command)] if command else []
    # -F none: the user's own ~/.ssh/config must not bend the way to the lab.
    return ["ssh", "-F", "none", *flags, f"{ssh.USER}@{_answering(endpoint)}", *remote]


def _quoted(value: str) -> str:
    # ssh_config splits at spaces and expands %; see ssh_config(5).
    return f'"{value.replace("%", "%%")}"' if " " in value or "%" in value else value


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


def console_argv(session: Session, node: ResolvedNode, *, follow: bool) -> list[str]:
    """Return the command that prints a node's serial console log.

    Raises:
        OperationError: The node was never started, or this user may not read its console.
    """
    log = session.directory.console_log(node.name)
    argv = ["tail", "-n", "+1", *(["-F"] if follow else []), "--", str(log)]
    try:
        log.open("rb").close()
    except FileNotFoundError as exc:
        message = f"The node '{node.name}' has no console log: it was never started."
        raise OperationError(message, hint="Run 'labkit up' first.") from exc
    except PermissionError as exc:
        # QEMU's output goes through virtlogd, which makes the file anew, for root alone.
        message = f"The console of the node '{node.name}', '{log}', is a file of root's."
        raise OperationError(message, hint=f"Run '{shlex.join(['sudo', *argv])}'.") from exc
    return argv
