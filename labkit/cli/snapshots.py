"""The verbs `snapshot`, `snapshots` and `restore`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli import completion
from labkit.cli.options import LAB_FILE, DryRunOption, JsonOption, LabOption, print_json
from labkit.cli.output import answer, notice, print_table
from labkit.cli.session import looking, working
from labkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labkit.snapshots.record import SnapshotRecord
    from labkit.snapshots.restore import RestoreReport

snapshots_app = typer.Typer()

MIB = 2**20
AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


@snapshots_app.command()
def snapshot(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="What to call it.", autocompletion=completion.snapshots
        ),
    ] = None,
    *,
    lab: LabOption = LAB_FILE,
    note: Annotated[
        str, typer.Option("--note", help="A line of your own for the list.", metavar="TEXT")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of one of the same name.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it instead.")] = False,
    every: Annotated[bool, typer.Option("--all", help="With --delete: remove all.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Keep the whole lab as it is now, memory and disk of every node at one instant."""
    from labkit.snapshots.plan import require_one_name

    words = name or []
    if delete:
        if note or replace:
            message = "'--delete' goes with neither '--note' nor '--replace'."
            raise UsageError(message, hint="Run 'labkit snapshot --delete NAME'.")
        _delete(lab, _one_or_all(words, every=every), dry_run=dry_run)
        return
    if every or not words:
        message = "'--all' is for '--delete'." if every else "A snapshot needs a NAME."
        raise UsageError(message, hint="Run 'labkit snapshot NAME'.")
    require_one_name(words)
    _take(lab, words[0], note, replace=replace, dry_run=dry_run)


def _one_or_all(words: Sequence[str], *, every: bool) -> str | None:
    """Return the name of the one snapshot that is meant, None for all of them."""
    if every and not words:
        return None
    if not every and len(words) == 1:
        return words[0]
    found = f"{', '.join(words)}{' and ' if words and every else ''}{'--all' if every else ''}"
    message = f"'--delete' takes one NAME, or '--all'; found {found or 'neither'}."
    hint = "Run 'labkit snapshot --delete NAME', or 'labkit snapshot --delete --all'."
    raise UsageError(message, hint=hint)


def _take(lab: Path, name: str, note: str, *, replace: bool, dry_run: bool) -> None:
    from labkit.snapshots import take

    seen = looking(lab)
    if dry_run:
        plan = take.plan(seen, name, note=note, replace=replace)
        print_table(("node", "now"), [(node, kept.value) for node, kept in plan.nodes])
        free = "the pool is not active" if plan.free_bytes is None else _mib(plan.free_bytes)
        answer(f"would take '{name}': about {_mib(plan.needed_bytes)}; free: {free}")
        return
    # Refused before the lab's directory and a log are made.
    take.check(seen, name, note=note, replace=replace)
    with working(lab, "snapshot", changes=True) as session:
        record = take.take(session, name, note=note, replace=replace)
    rows = [
        (node, kept.state.value, _mib(kept.memory_bytes), _mib(kept.grown_bytes))
        for node, kept in record.nodes.items()
    ]
    print_table(("node", "state", "memory", "disk"), rows)
    for node, kept in record.nodes.items():
        if kept.state.value == "running" and not kept.nonce:
            notice(f"{node}: it took no SSH session: not flushed, and a restore cannot prove it")
    notice(
        f"took '{name}': the lab stood still for {record.pause_ms / 1000:.2f} s, "
        f"paused within {record.skew_ms:.0f} ms; back with 'labkit restore {name}'"
    )


def _delete(lab: Path, name: str | None, *, dry_run: bool) -> None:
    from labkit.snapshots import remove

    seen = looking(lab)
    gone = remove.plan(seen, name)
    if gone and not dry_run:
        with working(lab, "snapshot", changes=True) as session:
            gone = remove.delete(session, name)
    for each in gone:
        answer(f"{'would delete' if dry_run else 'deleted'} '{each}'")
    if not gone:
        answer(f"the lab '{seen.lab.name}' has no snapshots")


@snapshots_app.command()
def snapshots(
    *,
    lab: LabOption = LAB_FILE,
    as_json: JsonOption = False,
) -> None:
    """List the lab's snapshots as a tree: age, stage, and what each costs."""
    from labkit.snapshots.plan import tree
    from labkit.snapshots.record import Shelf

    session = looking(lab)
    shelf = Shelf(session.directory.snapshots)
    branches, current = tree(shelf.records()), shelf.current()
    if as_json:
        print_json(_data([record for record, _ in branches], current))
        return
    now = datetime.now(UTC)
    rows = [_row(record, depth, current, now) for record, depth in branches]
    if rows:
        print_table(("snapshot", "age", "stage", "nodes", "memory", "disk", "note"), rows)
    else:
        answer(f"the lab '{session.lab.name}' has no snapshots")


def _row(record: SnapshotRecord, depth: int, current: str, now: datetime) -> tuple[str, ...]:
    here = " *" if record.key == current else ""
    return (
        f"{'  ' * depth}{record.name}{here}",
        age((now - record.created).total_seconds()),
        record.stage or "-",
        str(len(record.nodes)),
        _mib(record.memory_bytes),
        _mib(record.grown_bytes),
        record.note,
    )


def _data(records: Sequence[SnapshotRecord], current: str) -> list[dict[str, object]]:
    names = {record.key: record.name for record in records}
    now = datetime.now(UTC)
    return [
        {
            **record.model_dump(mode="json", exclude={"nodes", "version", "parent"}),
            "parent": names.get(record.parent),
            "current": record.key == current,
            "age_seconds": round((now - record.created).total_seconds(), 1),
            "memory_bytes": record.memory_bytes,
            "disk_bytes": record.grown_bytes,
            "nodes": {
                name: node.model_dump(mode="json", exclude={"domain_xml", "snapshot_xml", "nonce"})
                for name, node in record.nodes.items()
            },
        }
        for record in records
    ]


@snapshots_app.command()
def restore(
    name: Annotated[
        str,
        typer.Argument(
            help="The snapshot; 'labkit snapshots' lists them.",
            autocompletion=completion.snapshots,
        ),
    ],
    *,
    lab: LabOption = LAB_FILE,
    dry_run: DryRunOption = False,
) -> None:
    """Put the whole lab back to a snapshot, let it run on, and prove that it does."""
    from labkit.snapshots import restore as restoring
    from labkit.snapshots.record import Shelf
    from labkit.verify.run import prove_deployed

    seen = looking(lab)
    if dry_run:
        plan = restoring.plan(seen, name)
        print_table(("node", "now", "then"), plan.nodes)
        answer(f"would restore '{name}', taken {plan.record.created:%Y-%m-%d %H:%M} UTC")
        return
    # Refused before the lab's directory and a log are made.
    Shelf(seen.directory.snapshots).named(name)
    with working(lab, "restore", changes=True) as session:
        report = restoring.restore(session, name, prove=lambda: prove_deployed(session))
    _print_restore(report)


def _print_restore(report: RestoreReport) -> None:
    proofs = {proof.node: proof for proof in report.proofs}
    rows = [
        (
            name,
            kept.state.value,
            proofs[name].address if name in proofs else "-",
            "as kept" if name in proofs else "-",
            f"{proofs[name].clock_seconds:.2f} s" if name in proofs else "-",
            (proofs[name].clock_by if name in proofs else "") or "-",
        )
        for name, kept in report.record.nodes.items()
    ]
    print_table(("node", "state", "ssh", "memory", "clock off by", "set by"), rows)
    for name in report.unproven:
        notice(f"{name}: it took no SSH session before its snapshot, so nothing was proven")
    for image in report.shallow:
        notice(f"the image '{image}' was checked by its header alone: it is not readable for you")
    notice(
        f"restored in {report.restored_seconds:.1f} s, SSH in {report.ssh_seconds:.1f} s, "
        f"healthy in {report.healthy_seconds:.1f} s"
    )


def age(seconds: float) -> str:
    """Return a time span in the unit that suits it."""
    for length, unit in AGES:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB"
