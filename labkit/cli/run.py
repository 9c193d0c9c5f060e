"""The verbs around Packstack, scenarios, deploy, add-compute, logs, and of the whole job: run, rehearsal."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from labkit.cli import completion
from labkit.cli.documents import document, error_data, print_json
from labkit.cli.guest_text import visible
from labkit.cli.hiding import Pieces, shown
from labkit.cli.interrupts import raise_after, shield
from labkit.cli.options import (
    LAB_FILE,
    BoxOption,
    DryRunOption,
    JsonOption,
    LabOption,
    require_writable,
)
from labkit.cli.output import answer, notice, print_table
from labkit.cli.session import looking, working
from labkit.errors import LabkitError, OperationError, TimeOver, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labkit.lifecycle.run import LabRun
    from labkit.packstack.report import DeployReport

CHECKS_FAILED = 1


def scenarios(*, as_json: JsonOption = False) -> None:
    """List the ways a lab can be deployed, and what each does."""
    from labkit.lab.scenarios import all_scenarios

    found = all_scenarios()
    if as_json:
        data = [
            {
                "name": each.name,
                "summary": each.summary,
                "asks": each.asks,
                "forms": [form.value for form in each.forms],
                "verb": each.verb,
            }
            for each in found
        ]
        print_json({"scenarios": data})
        return
    rows = [(each.name, ", ".join(each.forms) or "-", each.summary) for each in found]
    print_table(("scenario", "form", "what it does"), rows)


def deploy(
    *,
    lab: LabOption = LAB_FILE,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return as soon as Packstack runs in the guest.")
    ] = False,
    no_snapshot: Annotated[
        bool, typer.Option("--no-snapshot", help="Do not take 'pre-packstack' before the run.")
    ] = False,
    kill: Annotated[
        bool, typer.Option("--kill", help="End the Packstack run that is under way.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Try it on emulated nodes, too slow as they are.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Install OpenStack by Packstack, or follow the run that is under way; then verify."""
    from labkit.packstack import deploy as deploying

    if kill:
        _kill(lab, dry_run=dry_run, as_json=as_json)
        return
    if dry_run:
        seen = looking(lab)
        plan = deploying.plan(seen, snapshot=not no_snapshot)
        _print_plan(seen.lab.name, plan, as_json=as_json)
        return
    with working(lab, "deploy", changes=True) as session:
        report = deploying.deploy(session, detach=detach, snapshot=not no_snapshot, force=force)
    _print(session.lab.name, report, as_json=as_json)


def _kill(lab: Path, *, dry_run: bool, as_json: bool) -> None:
    from labkit.packstack import deploy as deploying

    if dry_run:
        line = "would end the Packstack run that is under way, if there is one"
        _print_plan(looking(lab).lab.name, [line], as_json=as_json)
        return
    with working(lab, "deploy", changes=True) as session:
        ended = deploying.kill(session)
    if as_json:
        print_json({"lab": session.lab.name, "dry_run": False, "killed": ended})
    else:
        answer("the Packstack run was ended" if ended else "no Packstack run is under way")


def add_compute(
    node: Annotated[
        str,
        typer.Argument(
            help="A node of lab.yaml that is not deployed yet.", autocompletion=completion.nodes
        ),
    ],
    *,
    lab: LabOption = LAB_FILE,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a further compute node into a deployed lab: machine, Packstack, cell, proof."""
    from labkit.lifecycle.add_compute import add_compute as add
    from labkit.lifecycle.add_compute import require_addable
    from labkit.packstack import deploy as deploying

    if dry_run:
        session = looking(lab)
        require_addable(session, node)
        first = f"would bring up node '{node}' if it is not there"
        plan = [first, *deploying.plan(session, snapshot=False)]
        _print_plan(session.lab.name, plan, as_json=as_json)
        return
    with working(lab, "add-compute", changes=True) as session:
        report = add(session, node)
    _print(session.lab.name, report, as_json=as_json)


def _print_plan(lab: str, lines: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"lab": lab, "dry_run": True, "plan": list(lines)})
        return
    for line in lines:
        answer(line)


class RunCommand(TyperCommand):
    """Takes `--destroy` alone for `--destroy always`: typer knows no option with an optional value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 -- of a private module of typer
        """Read the arguments."""
        words: list[str] = []
        for arg, following in zip(args, [*args[1:], "--"], strict=True):
            words.append(arg)
            if arg == "--destroy" and following.startswith("-"):
                words.append("always")
        return super().parse_args(ctx, words)


def run(
    *,
    lab: LabOption = LAB_FILE,
    box: BoxOption = None,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="Restore this instead of 'up'.",
            metavar="SNAPSHOT",
            autocompletion=completion.snapshots,
        ),
    ] = "",
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write JUnit XML here.", metavar="FILE")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--json", "--report", help="Write JSON here.", metavar="FILE")
    ] = None,
    timeout: Annotated[
        str,
        typer.Option(
            "--timeout", help="Give up after this, such as '90m' or '1h30m'.", metavar="TIME"
        ),
    ] = "",
    destroy: Annotated[
        Literal["never", "on-success", "always"],
        typer.Option(
            "--destroy",
            help="Remove the lab at the end; alone it means always.",
            metavar="[=always|on-success]",
        ),
    ] = "never",
    dry_run: DryRunOption = False,
) -> None:
    """Do the whole job for CI: up, snapshot, deploy, verify, report, and teardown when told."""
    from labkit.lifecycle.run import plan
    from labkit.lifecycle.run import run as go
    from labkit.lifecycle.stages import told
    from labkit.verify.report import table

    require_writable(junit, report)
    if dry_run:
        if junit is not None:
            message = "A dry run tries nothing, so '--junit' has nothing to report."
            raise UsageError(message, hint="'--json FILE' takes its plan.")
        seen = looking(lab, box=box)
        _write_plan(seen.lab.name, plan(seen, source=source, remove=destroy), report)
        return
    if timeout:
        message = f"The run did not end within {timeout}."
        late = OperationError(message, hint="'labkit run' again goes on where it was.")
        raise_after(_seconds(timeout), lambda: TimeOver(late))
    with _report_of_none(report), working(lab, "run", box=box, changes=True) as session:
        result = go(session, source=source, remove=destroy, shield=shield)
    try:
        _write_run(result, junit, report)
    except OSError as exc:
        if result.error is None:
            raise
        # What ended the run comes first, and it is raised below.
        notice(f"there is no report: {told(exc)}")
    if result.verification is not None and not result.verification.passed:
        sys.stdout.write(table(result.verification))
    print_table(("stage", "seconds", "result"), result.stages.rows())
    if result.error is not None:
        raise result.error
    if result.stages.failed:
        raise typer.Exit(LabkitError.exit_code)
    if not result.passed:
        raise typer.Exit(CHECKS_FAILED)


def _write_plan(lab: str, lines: Sequence[str], report: Path | None) -> None:
    _print_plan(lab, lines, as_json=False)
    if report is not None:
        text = document({"lab": lab, "dry_run": True, "plan": list(lines)})
        report.write_text(shown(text), encoding="utf-8")


@contextmanager
def _report_of_none(report: Path | None) -> Iterator[None]:
    """Write of an error before the first stage; an earlier run's report is not this one's."""
    try:
        yield
    except LabkitError as exc:
        if report is not None:
            text = document({"dry_run": False, "passed": False, **error_data(exc)})
            report.write_text(shown(text), encoding="utf-8")
        raise


def _write_run(result: LabRun, junit: Path | None, report: Path | None) -> None:
    if junit is not None:
        junit.write_text(shown(result.junit()), encoding="utf-8")
    if report is not None:
        error = {"error": None} if result.error is None else error_data(result.error)
        report.write_text(
            shown(document({"dry_run": False, **result.as_json(), **error})), encoding="utf-8"
        )


def _seconds(text: str) -> int:
    from labkit.lab.types import duration

    if re.fullmatch("[1-9][0-9]{0,5}", text):
        return int(text)
    try:
        return duration(text)
    except ValueError:
        message = f"'{text}' is no time; expected one such as '90m', '2h' or '1h30m', or seconds."
        raise UsageError(message) from None


def logs(
    what: Annotated[
        str,
        typer.Argument(
            help="'deploy': Packstack's output; 'prepare': a node's preparation.",
            autocompletion=completion.logs,
        ),
    ] = "deploy",
    *,
    lab: LabOption = LAB_FILE,
    node: Annotated[
        str | None,
        typer.Option(
            "--node",
            help="Of which node; the controller when left out.",
            metavar="NODE",
            autocompletion=completion.nodes,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing.")] = False,
) -> None:
    """Print the output of the run in a guest, as it is there but for the lab's secrets."""
    from labkit.packstack.logs import JOBS, print_log

    if what not in JOBS:
        known = ", ".join(f"'{name}'" for name in JOBS)
        message = f"There is no log '{what}'; labkit knows {known}."
        raise UsageError(message)

    session, pieces = looking(lab), Pieces()

    def write(output: bytes) -> None:
        sys.stdout.write(visible(pieces.whole(output)))
        sys.stdout.flush()

    try:
        print_log(session, JOBS[what], node=node, follow=follow, write=write)
    finally:
        sys.stdout.write(visible(pieces.rest))


def _print(lab: str, report: DeployReport, *, as_json: bool) -> None:
    from labkit.verify.report import table

    if as_json:
        print_json({"lab": lab, "dry_run": False, **report.as_json()})
    elif report.verification is not None:
        sys.stdout.write(table(report.verification))
    for text in report.notices:
        notice(text)
    if not report.ended:
        notice("Packstack runs; 'labkit deploy' follows it, 'labkit logs deploy -f' shows it")
        return
    for path in report.files:
        notice(f"brought home {_short(path)}")
    if report.dashboard:
        notice(f"dashboard: {report.dashboard}; 'labkit open' says how to log in")
    if report.verification is not None and not report.verification.passed:
        raise typer.Exit(CHECKS_FAILED)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def rehearsal(
    *,
    lab: LabOption = LAB_FILE,
    box: BoxOption = "rehearsal",
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write the figures here, as JSON.")
    ] = None,
    dry_run: DryRunOption = False,
) -> None:
    """Show the whole job on stand-in guests, from up over snapshot, deploy and restore to destroy."""
    from labkit.lifecycle.rehearsal import plan, rehearse

    require_writable(report)
    if dry_run:
        for line in plan(looking(lab, box=box)):
            answer(line)
        return
    with working(lab, "rehearsal", box=box, changes=True) as session:
        result = rehearse(session)
    if report is not None:
        report.write_text(shown(document(result.as_json())), encoding="utf-8")
    print_table(("stage", "seconds", "result"), result.stages.rows())
    notice("stand-in guests, not CentOS and not OpenStack: boxes/rehearsal says what they are")
