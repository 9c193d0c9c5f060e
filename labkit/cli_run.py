"""The verbs around Packstack: scenarios, deploy, add-compute, logs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli_options import LAB_FILE, DryRunOption, JsonOption, LabOption, print_json
from labkit.errors import UsageError

if TYPE_CHECKING:
    from labkit.deploy import DeployReport

CHECKS_FAILED = 1


def scenarios(*, as_json: JsonOption = False) -> None:
    """List the ways a lab can be deployed, and what each does."""
    from labkit.output import print_table
    from labkit.scenarios import all_scenarios

    found = all_scenarios()
    if as_json:
        print_json(
            [
                {
                    "name": each.name,
                    "summary": each.summary,
                    "asks": each.asks,
                    "forms": [form.value for form in each.forms],
                    "verb": each.verb,
                }
                for each in found
            ]
        )
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
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Install OpenStack by Packstack, or follow the run that is under way; then verify."""
    from labkit import deploy as deploying
    from labkit.cli_session import looking, working
    from labkit.output import notice

    if dry_run:
        for line in deploying.plan(looking(lab), snapshot=not no_snapshot):
            notice(line)
        return
    with working(lab, "deploy", changes=True) as session:
        if kill:
            ended = deploying.kill(session)
            notice("the Packstack run was ended" if ended else "no Packstack run is under way")
            return
        report = deploying.deploy(session, detach=detach, snapshot=not no_snapshot)
    _print(report, as_json=as_json)


def add_compute(
    node: Annotated[str, typer.Argument(help="A node of lab.yaml that is not deployed yet.")],
    *,
    lab: LabOption = LAB_FILE,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a further compute node into a deployed lab: machine, Packstack, cell, proof."""
    from labkit import deploy as deploying
    from labkit.add_compute import add_compute as add
    from labkit.add_compute import require_addable
    from labkit.cli_session import looking, working
    from labkit.output import notice

    if dry_run:
        session = looking(lab)
        require_addable(session, node)
        notice(f"would bring up node '{node}' if it is not there")
        for line in deploying.plan(session, snapshot=False):
            notice(line)
        return
    with working(lab, "add-compute", changes=True) as session:
        report = add(session, node)
    _print(report, as_json=as_json)


def logs(
    what: Annotated[
        str, typer.Argument(help="'deploy': Packstack's output; 'prepare': a node's preparation.")
    ] = "deploy",
    *,
    lab: LabOption = LAB_FILE,
    node: Annotated[
        str | None,
        typer.Option(
            "--node", help="Of which node; the controller when left out.", metavar="NODE"
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing.")] = False,
) -> None:
    """Print the output of the run in a guest, as it is there."""
    from labkit.cli_session import looking
    from labkit.runlog import JOBS, print_log

    if what not in JOBS:
        known = ", ".join(f"'{name}'" for name in JOBS)
        message = f"There is no log '{what}'; labkit knows {known}."
        raise UsageError(message)

    def write(text: bytes) -> None:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()

    print_log(looking(lab), JOBS[what], node=node, follow=follow, write=write)


def _print(report: DeployReport, *, as_json: bool) -> None:
    from labkit.output import notice
    from labkit.report import table

    if as_json:
        print_json(report.as_json())
    elif report.verification is not None:
        sys.stdout.write(table(report.verification))
    for text in report.notices:
        notice(text)
    if not report.ended:
        notice("Packstack runs; 'labkit deploy' follows it, 'labkit logs deploy -f' shows it")
        return
    for path in report.files:
        notice(f"brought home {_short(path)}")
    if report.verification is not None and not report.verification.passed:
        raise typer.Exit(CHECKS_FAILED)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
