"""A node's serial console, entered from a terminal."""

from __future__ import annotations

import secrets
import sys
from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING

from labkit.cli.guest_text import visible
from labkit.cli.output import notice
from labkit.errors import LabkitError, OperationError
from labkit.host.getty import Login
from labkit.host.libvirt.console import Console, ConsoleInUseError, NoConsoleError
from labkit.host.libvirt.xml import DomainState
from labkit.host.ssh import USER
from labkit.host.terminal import ESCAPE_NAME, Line, talk
from labkit.lifecycle.guest_logs import console_tail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.host.libvirt.connection import Hypervisor
    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

# What neither crypt(3) nor anybody's typing yields; the boxes come with it.
LOCKED = "*"
# Ctrl-U takes back what somebody left half typed, Enter makes a getty ask anew.
ANEW = b"\x15\r"


def enter(session: Session, node: ResolvedNode, *, force: bool, login: bool) -> None:
    """Let the terminal and a node's serial console talk until the escape is typed.

    Args:
        session: The lab.
        node: The node.
        force: Take the console over from whoever has it.
        login: Have the guest's agent give the user a password, and log in by it.

    Raises:
        LabkitError: The node is off, its console is not to be had, or libvirt went away.
    """
    with session.tools.connect() as hypervisor:
        require_on(node.name, hypervisor.domain_state(node.uuid))
        with (
            closing(_opened(hypervisor, node, force=force)) as console,
            _logged_in(hypervisor, node, console) if login else nullcontext(console) as line,
        ):
            notice(f"the console of '{node.name}'; Ctrl-] ({ESCAPE_NAME}) leaves it")
            if not login:
                show_end(session.directory.console_log(node.name))
            try:
                left = talk(line, stdin=sys.stdin.fileno(), stdout=sys.stdout.fileno())
            finally:
                sys.stdout.write("\n")
        if not left:
            why_ended(node.name, hypervisor.domain_state(node.uuid))


def require_on(node: str, state: DomainState | None) -> None:
    """Refuse a node that cannot say anything.

    Raises:
        OperationError: It was never made, or is off.
    """
    if state is None:
        message = f"The node '{node}' has no console: it was never started."
        raise OperationError(message, hint="Run 'labkit up' first.")
    if state in {DomainState.SHUTOFF, DomainState.CRASHED}:
        message = f"The node '{node}' is off: its console can be entered only while it runs."
        hint = (
            f"Start it with 'labkit up'; 'labkit console --log {node}' shows what it said before."
        )
        raise OperationError(message, hint=hint)
    if state is DomainState.PAUSED:
        notice(f"the node '{node}' is paused and says nothing; 'labkit up' lets it go on")


def why_ended(node: str, state: DomainState | None) -> None:
    """Say why a console ended that nobody left.

    Raises:
        OperationError: Not because the node went off.
    """
    if state in {None, DomainState.SHUTOFF, DomainState.CRASHED}:
        notice(f"the node '{node}' went off")
        return
    message = f"The console of the node '{node}' ended, though the node runs."
    hint = "Somebody else took it over, or started the node anew: run the command again."
    raise OperationError(message, hint=hint)


def show_end(log: Path) -> None:
    """Print the end of what a node said so far, and stay behind it, as behind a prompt."""
    try:
        lines = console_tail(log)
    except PermissionError:
        return
    sys.stdout.write(visible("\n".join(lines)))
    sys.stdout.write(" " if lines else "")
    sys.stdout.flush()


def _opened(hypervisor: Hypervisor, node: ResolvedNode, *, force: bool) -> Console:
    try:
        return hypervisor.console(node.uuid, force=force)
    except ConsoleInUseError as exc:
        message = f"Somebody else is at the console of the node '{node.name}'."
        hint = f"'labkit console --force {node.name}' takes it over."
        raise OperationError(message, details=exc.details, hint=hint) from exc
    except NoConsoleError as exc:
        message = f"The console of the node '{node.name}' can only be read."
        hint = (
            f"'labkit console --log {node.name}' shows it. A node that an older labkit made can be "
            f"entered after 'labkit destroy' and 'labkit up'."
        )
        raise OperationError(message, details=exc.details, hint=hint) from exc


@contextmanager
def _logged_in(hypervisor: Hypervisor, node: ResolvedNode, console: Console) -> Iterator[Line]:
    """Log in by a password that nobody sees and that is good for the block alone."""
    password = secrets.token_urlsafe(24)
    try:
        hypervisor.set_password(node.uuid, USER, password)
    except OperationError as exc:
        message = f"The guest agent of the node '{node.name}' could not give anybody a password."
        hint = (
            f"'labkit console {node.name}' shows whether the guest still works; "
            f"'labkit restore NAME' takes the lab back to a snapshot."
        )
        raise OperationError(message, details=exc.details or (exc.message,), hint=hint) from exc
    try:
        console.write(ANEW)
        yield Login(console, user=USER, password=password)
    finally:
        try:
            hypervisor.set_password(node.uuid, USER, LOCKED, encrypted=True)
        except LabkitError as exc:
            notice(f"the password of this login, which nobody knows, stays in place: {exc}")
