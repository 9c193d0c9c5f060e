"""The command line: arguments in, one verb run, an exit code out."""

from __future__ import annotations

import atexit
import gc
import io
import logging
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import typer
from typer.main import get_command

from labkit import __version__
from labkit.cli.documents import (
    AGAIN,
    INTERRUPTED,
    ReportedError,
    error_data,
    expected,
    is_asked_for,
    print_json,
)
from labkit.cli.hiding import hide_in_streams
from labkit.cli.interrupts import listen, shield
from labkit.cli.session import LogFile
from labkit.errors import LabkitError, UsageError

if TYPE_CHECKING:
    from typer.core import TyperGroup

app = typer.Typer(
    name="labkit",
    help="One lab file in; a running, verified OpenStack lab on libvirt out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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
    # What has no log to go to, of labkit's or of a library's, is not for the terminal: errors reach
    # it by another way.
    logging.getLogger().addHandler(logging.NullHandler())
    listen()
    _open_what_is_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name or a mark that the locale cannot write is no reason to end, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    hide_in_streams()
    try:
        _command_line()()
    except BaseException as exc:  # noqa: BLE001 -- the outermost place: whatever it is ends here
        code = _ended(exc)
    else:
        code = 0
    sys.exit(_flushed(code))


def _command_line() -> TyperGroup:
    from labkit.cli.help import without_flag_types

    command = cast("TyperGroup", get_command(app))
    without_flag_types(command)
    return command


def _open_what_is_closed() -> None:
    """Read nothing from a closed standard stream, and write into nowhere, as every verb expects."""
    # In this order each takes its own descriptor, and no other file of labkit's does.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 -- for good


def _flushed(code: int | str | None) -> int | str | None:
    """Return the exit code when all that was written has been taken; else Python would tell of it.

    A pipe whose reader has left is nobody's fault. On a full disk the command has failed, if it
    had not before.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as exc:
            # What it does not take is not tried once more at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if not code and not isinstance(exc, BrokenPipeError):
                code = _ended(exc)
    return code


def _ended(exc: BaseException) -> int | str | None:
    """Say how the command ended, to programs too where they asked, and return its exit code."""
    shield()
    if isinstance(exc, SystemExit):
        return _exited(exc)
    logging.getLogger(__name__).debug("failed", exc_info=exc)
    error = expected(exc)
    # Standard error may be what is full.
    with suppress(OSError):
        _tell(exc, error, _log_path())
    return LabkitError.exit_code if error is None else error.exit_code


def _tell(exc: BaseException, error: LabkitError | None, log: str) -> None:
    if not isinstance(exc, ReportedError):
        _tell_programs(exc, log)
    if error is not None:
        from labkit.cli.output import print_error

        print_error(error, log)
        return
    if not log or os.environ.get("LABKIT_DEBUG"):
        # Not re-raised: Python would exit with 1, which means "checks failed".
        traceback.print_exception(exc)
    sys.stderr.write(f"error: unexpected {type(exc).__name__}: {exc}\n")
    sys.stderr.write(f"log: {log}\n" if log else "")


def _exited(exc: SystemExit) -> int | str | None:
    """Deal with an end of which typer has told a person already, or that is none's fault."""
    if exc.code == INTERRUPTED:
        sys.stderr.write(f"interrupted: {AGAIN}\n")
        _tell_programs(KeyboardInterrupt())
    # What typer ends for, a word it does not understand; its class is private.
    words = getattr(exc.__context__, "format_message", None)
    if words is not None:
        context = getattr(exc.__context__, "ctx", None)
        verb = getattr(context, "command_path", "labkit")
        _tell_programs(UsageError(words(), hint=f"Run '{verb} --help'."))
    return exc.code


def _tell_programs(error: BaseException, log: str = "") -> None:
    if is_asked_for(sys.argv[1:]):
        print_json(error_data(error, log))


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
    from labkit.cli.box import box_app
    from labkit.cli.doctor import doctor
    from labkit.cli.explain import explain
    from labkit.cli.files import graph, init, render, schema, validate
    from labkit.cli.help import HOST, describe
    from labkit.cli.lab import destroy, halt, recreate, restart, status, up
    from labkit.cli.nodes import (
        PassingCommand,
        console,
        cp,
        inventory,
        open_dashboard,
        openstack,
        ssh,
        ssh_config,
    )
    from labkit.cli.run import RunCommand, add_compute, deploy, logs, rehearsal, run, scenarios
    from labkit.cli.snapshots import restore, snapshot, snapshots
    from labkit.cli.sweep import sweep
    from labkit.cli.verify import verify

    if any(group.name == "box" for group in app.registered_groups):
        return
    app.command()(init)
    app.command()(up)
    app.command()(status)
    app.command(cls=PassingCommand)(ssh)
    app.command()(cp)
    app.command()(console)
    app.command(cls=PassingCommand)(openstack)
    app.command("open")(open_dashboard)
    app.command()(ssh_config)
    app.command()(inventory)
    app.command()(halt)
    app.command()(restart)
    app.command()(recreate)
    app.command()(destroy)
    app.command(context_settings=COMMAND_FOLLOWS)(sandbox)
    app.command()(sweep)
    app.command()(validate)
    app.command()(render)
    app.command()(graph)
    app.command()(schema)
    app.command()(doctor)
    app.command()(scenarios)
    app.command(cls=RunCommand)(run)
    app.command()(deploy)
    app.command()(add_compute)
    app.command()(verify)
    app.command()(logs)
    app.command()(explain)
    app.command()(rehearsal)
    app.command()(snapshot)
    app.command()(snapshots)
    app.command()(restore)
    app.add_typer(box_app, name="box", rich_help_panel=HOST)
    describe(app.registered_commands)
    describe(box_app.registered_commands, prefix="box ")


def _log_path() -> str:
    found = (each for each in logging.getLogger("labkit").handlers if isinstance(each, LogFile))
    return next((each.path for each in found), "")


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


def sandbox(
    command: Annotated[
        list[str] | None, typer.Argument(help="What to run; a shell when missing.")
    ] = None,
) -> None:
    """Run a command in a private libvirt host that dies with it and touches nothing else."""
    from labkit.host.files import cache_root
    from labkit.host.sandbox import enter

    enter(command or [], cache=cache_root())
