"""The verbs on a lab's machines: up, status, halt, restart, recreate, destroy."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path  # noqa: TC003 -- typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli import completion
from labkit.cli.documents import print_json
from labkit.cli.options import (
    LAB_FILE,
    BoxOption,
    DryRunOption,
    JsonOption,
    LabOption,
    ParallelOption,
    utc,
)
from labkit.cli.output import answer, notice, print_table, shown_progress
from labkit.cli.session import looking, working

if TYPE_CHECKING:
    from labkit.lifecycle.plan import Possessions
    from labkit.lifecycle.status import NodeStatus
    from labkit.lifecycle.teardown import HaltReport
    from labkit.lifecycle.up import UpReport


def up(
    *,
    lab: LabOption = LAB_FILE,
    box: BoxOption = None,
    dry_run: DryRunOption = False,
    parallel: ParallelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the lab up: box, networks, seeds, machines, and proof that each is ready."""
    from labkit.lifecycle.up import up as bring_up

    with working(lab, "up", box=box, changes=not dry_run) as session:
        report = bring_up(session, dry_run=dry_run, parallel=parallel)
    if as_json:
        print_json(up_data(session.lab.name, report, dry_run=dry_run))
    else:
        _print_up(report, dry_run=dry_run)


def up_data(lab: str, report: UpReport, *, dry_run: bool) -> dict[str, object]:
    """Return what `up` did, or would do, for programs."""
    ready = {item.node: item for item in report.ready}
    return {
        "lab": lab,
        "dry_run": dry_run,
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


def status(*, lab: LabOption = LAB_FILE, as_json: JsonOption = False) -> None:
    """Show every node: state, hardware, addresses, how to reach it."""
    from labkit.lifecycle.status import status as ask

    found = ask(looking(lab))
    if as_json:
        print_json(found.as_json())
        return
    columns = ("node", "state", "cpus", "memory", "nic", "pci", "address")
    print_table(columns, [status_row(node) for node in found.nodes], spare=("pci", "cpus"))
    if found.expires:
        when = utc(datetime.fromisoformat(found.expires))
        notice(f"expires {when}; 'labkit up' renews it, 'labkit sweep' removes it then")


def status_row(node: NodeStatus) -> tuple[str, ...]:
    """Return a node's cells of the table; what a node that does not exist lacks is a dash."""
    return (
        node.name,
        node.state,
        str(node.vcpus or "-"),
        f"{node.memory_mib} MiB" if node.memory_mib else "-",
        "\n".join(nic.name for nic in node.nics),
        "\n".join(nic.pci or "-" for nic in node.nics),
        "\n".join(", ".join(nic.addresses) for nic in node.nics),
    )


NodesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NODE...]",
        help="The nodes; all of the lab when left out.",
        autocompletion=completion.nodes,
    ),
]


def halt(
    nodes: NodesArgument = None,
    *,
    lab: LabOption = LAB_FILE,
    force: Annotated[bool, typer.Option("--force", help="Cut the power at once.")] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Shut nodes down; 'labkit up' starts them again."""
    from labkit.lifecycle.teardown import halt as stop

    with working(lab, "halt", changes=not dry_run) as session:
        report = stop(session, only=nodes or (), force=force, dry_run=dry_run)
    if as_json:
        done = halted_nodes(report)
        print_json({"lab": session.lab.name, "dry_run": dry_run, "nodes": done})
    else:
        print_table(("node", "result"), report.nodes)


def halted_nodes(report: HaltReport) -> list[dict[str, str]]:
    """Return what became of each node, or would, for programs."""
    return [{"name": name, "result": result} for name, result in report.nodes]


def restart(
    nodes: NodesArgument = None,
    *,
    lab: LabOption = LAB_FILE,
    force: Annotated[
        bool, typer.Option("--force", help="Cut the power instead of shutting down.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Shut nodes down and bring them up, with what the lab file says by now; others stay as they are."""
    from labkit.lifecycle.restart import restart as again

    with working(lab, "restart", changes=not dry_run) as session:
        stopped, report = again(session, only=nodes or (), force=force, dry_run=dry_run)
    if as_json:
        print_json(restart_data(session.lab.name, stopped, None if dry_run else report))
    elif dry_run:
        # What `up` would do with nodes that are off is not known before they are.
        print_table(("node", "to do"), stopped.nodes)
    else:
        _print_up(report, dry_run=False)


def restart_data(lab: str, stopped: HaltReport, report: UpReport | None) -> dict[str, object]:
    """Return what `restart` did, for programs; without a report of `up` what it would do."""
    halted = {"halted": halted_nodes(stopped)}
    if report is None:
        return {"lab": lab, "dry_run": True, **halted}
    return {**up_data(lab, report, dry_run=False), **halted}


def recreate(
    nodes: Annotated[
        list[str],
        typer.Argument(
            metavar="NODE",
            help="The nodes.",
            autocompletion=completion.nodes,
            show_default=False,
        ),
    ],
    *,
    lab: LabOption = LAB_FILE,
    force: Annotated[
        bool, typer.Option("--force", help="Also nodes that Packstack has worked on.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Destroy nodes and make them anew from the lab file; the others stay as they are."""
    from labkit.lifecycle.recreate import recreate as make_anew

    with working(lab, "recreate", changes=not dry_run) as session:
        report = make_anew(session, nodes, force=force, dry_run=dry_run)
    if as_json:
        data = up_data(session.lab.name, report.up, dry_run=dry_run)
        print_json({**data, "undeployed": list(report.undeployed)})
        return
    _print_up(report.up, dry_run=dry_run)
    if report.undeployed and not dry_run:
        names = ", ".join(report.undeployed)
        notice(f"OpenStack is not on {names} any more; 'labkit deploy' installs it there again")


def destroy(
    *,
    lab: LabOption = LAB_FILE,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="LAB",
            help="A lab whose file is gone, by its name; its directory is beside --lab.",
            autocompletion=completion.kept_labs,
        ),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove everything of the lab and prove that nothing is left. Asks nothing."""
    if name is None:
        name, owned = _destroy(lab, dry_run=dry_run)
    else:
        owned = _destroy_by(name, lab, dry_run)
    if as_json:
        print_json({"lab": name, "dry_run": dry_run, **owned_data(owned)})
        return
    verb = "would remove" if dry_run else "removed"
    for line in owned.describe():
        answer(f"{verb} {line}")
    if not owned.describe():
        answer(f"nothing of the lab '{name}' exists on this host")


def owned_data(owned: Possessions) -> dict[str, object]:
    """Return the names of what a lab has on the host, for programs."""
    return {
        "domains": [domain.name for domain in owned.domains],
        "networks": [network.name for network in owned.networks],
        "volumes": list(owned.volumes),
    }


def _destroy(lab: Path, *, dry_run: bool) -> tuple[str, Possessions]:
    from labkit.lifecycle.teardown import destroy as remove

    with working(lab, "destroy", changes=not dry_run) as session:
        return session.lab.name, remove(session, dry_run=dry_run)


def _destroy_by(name: str, lab: Path, dry_run: bool) -> Possessions:  # noqa: FBT001 -- its one caller names it
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
