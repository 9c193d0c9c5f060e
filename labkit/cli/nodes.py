"""The verbs that lead into the nodes: ssh, cp, console, openstack, ssh-config, inventory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from labkit.cli import completion
from labkit.cli.documents import print_json
from labkit.cli.guest_text import console_pieces, visible
from labkit.cli.hiding import Pieces
from labkit.cli.options import LAB_FILE, JsonOption, LabOption
from labkit.cli.output import notice
from labkit.cli.session import looking
from labkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

OWN_OPTIONS = ("--lab", "-l")
NodeArgument = Annotated[str, typer.Argument(help="The node.", autocompletion=completion.nodes)]


class PassingCommand(TyperCommand):
    """Leaves every word after labkit's own options alone: '-L' and '-t' are ssh's, 'ls -l' the node's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 -- of a private module of typer
        """Read the arguments."""
        cut = own_words(args)
        return super().parse_args(ctx, [*args[:cut], "--", *args[cut:]])


def own_words(words: Sequence[str]) -> int:
    """Return how many of the first words are labkit's own options and their values."""
    cut = 0
    while cut < len(words):
        word = words[cut]
        if word in OWN_OPTIONS:
            cut += 2
        elif word in {"-h", "--help"} or word.startswith("--lab="):
            cut += 1
        else:
            break
    return min(cut, len(words))


def ssh(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SSH OPTIONS] NODE [COMMAND...]",
            help="Options of ssh's own, such as -L, -A or -t; the node; a command to run there.",
            autocompletion=completion.nodes,
        ),
    ] = None,
    *,
    lab: LabOption = LAB_FILE,
) -> None:
    """Log in to a node, or run a command there; the host key is checked."""
    from labkit.cli.remote import ssh_argv, ssh_words
    from labkit.host.process import become

    session = looking(lab)
    asked = ssh_words(words or [])
    become(ssh_argv(session, session.node(asked.node), asked.command, asked.options))


def cp(
    sources: Annotated[
        list[str], typer.Argument(metavar="SRC...", help="Files of this host, or NODE:PATH.")
    ],
    target: Annotated[str, typer.Argument(metavar="DST", help="Where to: PATH or NODE:PATH.")],
    *,
    lab: LabOption = LAB_FILE,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Copy directories with all in them.")
    ] = False,
) -> None:
    """Copy files to nodes, from nodes, or between nodes, as scp does."""
    from labkit.cli.remote import scp_argv
    from labkit.host.process import become

    become(scp_argv(looking(lab), sources, target, recursive=recursive))


def console(
    node: NodeArgument,
    *,
    lab: LabOption = LAB_FILE,
    log: Annotated[
        bool,
        typer.Option("--log", help="Print what the node said; the default without a terminal."),
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print that and what comes.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take the console over from whoever has it.")
    ] = False,
    login: Annotated[
        bool, typer.Option("--login", help="Log in by the guest agent, where no network leads in.")
    ] = False,
) -> None:
    """Enter a node's serial console, which Ctrl-] leaves; in a pipe print what it said."""
    session = looking(lab)
    found = session.node(node)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if enters_console(node, only_log=log or follow, asked=force or login, terminal=terminal):
        from labkit.cli.console import enter

        enter(session, found, force=force, login=login)
        return
    written = session.directory.console_log(found.name)
    pieces = Pieces()
    try:
        for piece in console_pieces(
            written, node=node, follow=follow, pause=session.cancelled.wait
        ):
            sys.stdout.write(visible(pieces.whole(piece)))
            sys.stdout.flush()
    finally:
        sys.stdout.write(visible(pieces.rest))


def enters_console(node: str, *, only_log: bool, asked: bool, terminal: bool) -> bool:
    """Return whether the console is entered; otherwise its log is printed.

    Args:
        node: The node's name, for the error.
        only_log: Whether an option asks for the log.
        asked: Whether an option makes sense only for who enters.
        terminal: Whether there is a terminal at both ends.

    Raises:
        UsageError: It is asked for and cannot be.
    """
    if asked and (only_log or not terminal):
        message = (
            "'--force' and '--login' go with neither '--log' nor '--follow', and need a terminal "
            "as standard input and output."
        )
        raise UsageError(message, hint=f"'labkit console --log {node}' prints what it said.")
    return terminal and not only_log


def openstack(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD...]", help="What the client is told.")
    ] = None,
    *,
    lab: LabOption = LAB_FILE,
) -> None:
    """Run the OpenStack client on the controller, as the cloud's administrator."""
    from labkit.cli.remote import openstack_command, ssh_argv
    from labkit.host.process import become
    from labkit.lab import deployment

    session = looking(lab)
    command = openstack_command(words or [])
    # A terminal there for a terminal here: the client without words is a shell of its own.
    options = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    become(ssh_argv(session, deployment.controller(session.lab), [command], options))


def open_dashboard(*, lab: LabOption = LAB_FILE, as_json: JsonOption = False) -> None:
    """Print where the dashboard is and how to log in, and open it on a desktop."""
    import os
    import webbrowser

    from labkit.cli.remote import dashboard

    url, credentials = dashboard(looking(lab))
    if as_json:
        print_json({"url": url, "user": "admin", "credentials": str(credentials)})
        return
    sys.stdout.write(f"{url}\n")
    notice(f"user 'admin'; its password is OS_PASSWORD in '{credentials}'")
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)


def ssh_config(*, lab: LabOption = LAB_FILE) -> None:
    """Print the nodes as an ssh_config file, for ssh, scp, rsync and whatever else reads one."""
    from labkit.cli.remote import ssh_config as config

    sys.stdout.write(config(looking(lab)))


def inventory(*, lab: LabOption = LAB_FILE) -> None:
    """Print the nodes as an Ansible inventory in YAML, with a group for each role."""
    from labkit.cli.remote import inventory as listed
    from labkit.lab.yaml import text

    sys.stdout.write(text(listed(looking(lab))))
