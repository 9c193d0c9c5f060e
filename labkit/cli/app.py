"""The command line: arguments in, one verb run, an exit code out."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import sys
import traceback
from datetime import datetime
from pathlib import Path  # noqa: TC003 -- typer reads the annotations
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from labkit import __version__
from labkit.cli.options import (
    LAB_FILE,
    BoxOption,
    DryRunOption,
    JsonOption,
    LabOption,
    print_json,
    utc,
)
from labkit.errors import LabkitError

if TYPE_CHECKING:
    from types import FrameType

    from labkit.lifecycle.plan import Possessions
    from labkit.lifecycle.status import LabStatus
    from labkit.lifecycle.up import UpReport

app = typer.Typer(
    name="labkit",
    help="One lab file in; a running, verified OpenStack lab on libvirt out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
INTERRUPTED = 130

# Everything after the first word belongs to the command: 'labkit ssh NODE ls -l' lists, '-l' is
# not labkit's there.
COMMAND_FOLLOWS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def main() -> NoReturn:
    """Run the command line and exit.

    Exit codes: 0 done, 1 checks failed, 2 usage or lab file, 3 host not ready, 4 operation
    failed, 130 interrupted.
    """
    _spare_collections()
    add_verbs()
    # What has no log to go to is not for the terminal: errors reach it by another way.
    logging.getLogger("labkit").addHandler(logging.NullHandler())
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except LabkitError as exc:
        from labkit.cli.output import print_error

        print_error(exc, _log_path())
        logging.getLogger(__name__).debug("failed", exc_info=True)
        sys.exit(exc.exit_code)
    except SystemExit as exc:
        if exc.code == INTERRUPTED:
            sys.stderr.write("interrupted: run it again to go on, or 'labkit destroy'\n")
        raise
    except Exception as exc:
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        where = _log_path()
        if not where or os.environ.get("LABKIT_DEBUG"):
            # Not re-raised: Python would exit with 1, which means "checks failed".
            traceback.print_exception(exc)
        sys.stderr.write(f"error: unexpected {type(exc).__name__}: {exc}\n")
        sys.stderr.write(f"log: {where}\n" if where else "")
        sys.exit(LabkitError.exit_code)
    sys.exit(0)


def _spare_collections() -> None:
    """Keep Python from looking for garbage where a short verb makes none."""
    # Loading modules makes objects that stay, some 70 000 for `status`; collecting meanwhile finds
    # nothing and costs a twentieth of a short verb's time.
    gc.set_threshold(100_000, 20, 20)
    # At exit Python collects once more, everything at once, for a tenth of a short verb's time;
    # what is frozen is left out and goes back to the system with the process.
    atexit.register(gc.freeze)


def add_verbs() -> None:
    """Give the command line the verbs that live in modules of their own; once is enough."""
    from labkit.cli import files as cli_files
    from labkit.cli import run as cli_run
    from labkit.cli.box import box_app
    from labkit.cli.doctor import doctor
    from labkit.cli.snapshots import snapshots_app
    from labkit.cli.sweep import sweep
    from labkit.cli.verify import verify

    if any(group.name == "box" for group in app.registered_groups):
        return
    app.command()(sweep)
    app.command()(cli_files.validate)
    app.command()(cli_files.render)
    app.command()(cli_files.graph)
    app.command()(cli_files.schema)
    app.command()(doctor)
    app.command()(cli_run.scenarios)
    app.command(cls=cli_run.RunCommand)(cli_run.run)
    app.command()(cli_run.deploy)
    app.command()(cli_run.add_compute)
    app.command()(verify)
    app.command()(cli_run.logs)
    app.command()(cli_run.rehearsal)
    app.add_typer(box_app, name="box")
    app.add_typer(snapshots_app)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _log_path() -> str:
    for handler in logging.getLogger("labkit").handlers:
        if isinstance(handler, logging.FileHandler):
            return handler.baseFilename
    return ""


def _version(value: bool) -> None:  # noqa: FBT001 -- typer's callback signature
    if value:
        sys.stdout.write(f"labkit {__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """One lab file in; a running, verified OpenStack lab on libvirt out."""


@app.command()
def up(
    *,
    lab: LabOption = LAB_FILE,
    box: BoxOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the lab up: box, networks, seeds, machines, and proof that each is ready."""
    from labkit.cli.session import working
    from labkit.lifecycle.up import up as bring_up

    with working(lab, "up", box=box, changes=not dry_run) as session:
        report = bring_up(session, dry_run=dry_run)
    if as_json:
        print_json(_up_data(report))
    else:
        _print_up(report, dry_run=dry_run)


def _up_data(report: UpReport) -> dict[str, object]:
    ready = {item.node: item for item in report.ready}
    return {
        "changed": report.plan.changes,
        "notes": list(report.plan.notes),
        "nodes": [
            {
                "name": item.node.name,
                "action": item.action.value,
                "notice": item.notice,
                "address": ready[item.node.name].address if ready else None,
                "boot_id": ready[item.node.name].boot_id if ready else None,
                "failed_units": list(ready[item.node.name].failed_units) if ready else [],
                "seconds": dict(ready[item.node.name].seconds) if ready else {},
                "evidence": ready[item.node.name].evidence if ready else "",
            }
            for item in report.plan.nodes
        ],
    }


def _print_up(report: UpReport, *, dry_run: bool) -> None:
    from labkit.cli.output import notice, print_table

    ready = {item.node: item for item in report.ready}
    rows = [
        (
            item.node.name,
            item.action.value,
            str(item.node.cpus),
            f"{item.node.memory_mib} MiB",
            "\n".join(f"{nic.name} {nic.address}" for nic in item.node.nics),
        )
        for item in report.plan.nodes
    ]
    print_table(("node", "to do" if dry_run else "done", "cpus", "memory", "nics"), rows)
    for note in report.plan.notes:
        notice(note)
    for item in report.plan.nodes:
        if item.notice:
            notice(f"{item.node.name}: {item.notice}")
    for name, node in ready.items():
        if node.failed_units:
            notice(f"{name}: failed units: {', '.join(node.failed_units)}")
        if node.evidence == "asked":
            notice(f"{name}: asked over SSH for its seed: only root may read its own report")
    if ready:
        notice("ready; next: 'labkit status', 'labkit ssh NODE'")


@app.command()
def status(*, lab: LabOption = LAB_FILE, as_json: JsonOption = False) -> None:
    """Show every node: state, hardware, addresses, how to reach it."""
    from labkit.cli.session import looking
    from labkit.lifecycle.status import status as ask

    session = looking(lab)
    if as_json:
        print_json(ask(session).as_json())
        return
    _print_status(ask(session))


def _print_status(found: LabStatus) -> None:
    from labkit.cli.output import notice, print_table

    rows = [
        (
            node.name,
            node.state,
            str(node.vcpus),
            f"{node.memory_mib} MiB",
            "\n".join(nic.name for nic in node.nics),
            "\n".join(nic.pci or "-" for nic in node.nics),
            "\n".join(", ".join(nic.addresses) for nic in node.nics),
        )
        for node in found.nodes
    ]
    print_table(("node", "state", "cpus", "memory", "nic", "pci", "address"), rows)
    if found.expires:
        when = utc(datetime.fromisoformat(found.expires))
        notice(f"expires {when}; 'labkit up' renews it, 'labkit sweep' removes it then")


@app.command(context_settings=COMMAND_FOLLOWS)
def ssh(
    node: Annotated[str, typer.Argument(help="The node.")],
    command: Annotated[list[str] | None, typer.Argument(help="A command to run there.")] = None,
    *,
    lab: LabOption = LAB_FILE,
) -> None:
    """Log in to a node, or run a command there; the host key is checked."""
    from labkit.cli.remote import ssh_argv
    from labkit.cli.session import looking

    session = looking(lab)
    words = command or []
    # A '--' between node and command is not part of the command.
    argv = ssh_argv(session, session.node(node), words[words[:1] == ["--"] :])
    os.execvp(argv[0], argv)  # noqa: S606 -- the terminal and the exit code become ssh's


@app.command()
def console(
    node: Annotated[str, typer.Argument(help="The node.")],
    *,
    lab: LabOption = LAB_FILE,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing.")] = False,
) -> None:
    """Print what a node wrote to its serial console."""
    from labkit.cli.remote import console_argv
    from labkit.cli.session import looking

    session = looking(lab)
    argv = console_argv(session, session.node(node), follow=follow)
    os.execvp(argv[0], argv)  # noqa: S606 -- the terminal and the exit code become tail's


@app.command()
def halt(
    *,
    lab: LabOption = LAB_FILE,
    force: Annotated[bool, typer.Option("--force", help="Cut the power at once.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Shut every node down; 'labkit up' starts them again."""
    from labkit.cli.output import print_table
    from labkit.cli.session import working
    from labkit.lifecycle.teardown import halt as stop

    with working(lab, "halt", changes=not dry_run) as session:
        report = stop(session, force=force, dry_run=dry_run)
    print_table(("node", "result"), report.nodes)


@app.command()
def destroy(
    *,
    lab: LabOption = LAB_FILE,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="LAB",
            help="A lab whose file is gone, by its name; its directory is beside --lab.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
) -> None:
    """Remove everything of the lab and prove that nothing is left. Asks nothing."""
    from labkit.cli.output import notice

    if name is None:
        name, owned = _destroy(lab, dry_run=dry_run)
    else:
        owned = _destroy_by(name, lab, dry_run)
    verb = "would remove" if dry_run else "removed"
    for line in owned.describe():
        notice(f"{verb} {line}")
    if not owned.describe():
        notice(f"nothing of the lab '{name}' exists on this host")


def _destroy(lab: Path, *, dry_run: bool) -> tuple[str, Possessions]:
    from labkit.cli.session import working
    from labkit.lifecycle.teardown import destroy as remove

    with working(lab, "destroy", changes=not dry_run) as session:
        return session.lab.name, remove(session, dry_run=dry_run)


def _destroy_by(name: str, lab: Path, dry_run: bool) -> Possessions:  # noqa: FBT001 -- its one caller names it
    from labkit.cli.output import shown_progress
    from labkit.lifecycle.teardown import destroy_by_name
    from labkit.state.directory import lab_directory
    from labkit.state.registry import user_registry
    from labkit.state.tools import real_tools

    directory = lab_directory(lab, name, os.environ)
    with shown_progress() as progress:
        return destroy_by_name(
            name,
            directory,
            progress,
            registry=user_registry(),
            tools=real_tools(),
            dry_run=dry_run,
        )


@app.command(context_settings=COMMAND_FOLLOWS)
def sandbox(
    command: Annotated[
        list[str] | None, typer.Argument(help="What to run; a shell when missing.")
    ] = None,
) -> None:
    """Run a command in a private libvirt host that dies with it and touches nothing else."""
    from labkit.host.files import cache_root
    from labkit.host.sandbox import SandboxOptions, enter

    enter(command or [], options=SandboxOptions(cache=cache_root()))
