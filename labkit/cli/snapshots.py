"""The verbs `snapshot`, `snapshots` and `restore`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli import completion
from labkit.cli.documents import print_json
from labkit.cli.options import LAB_FILE, DryRunOption, JsonOption, LabOption
from labkit.cli.output import answer, notice, print_table
from labkit.cli.session import looking, working
from labkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labkit.snapshots.plan import TakePlan
    from labkit.snapshots.record import SnapshotRecord
    from labkit.snapshots.restore import RestorePlan, RestoreReport

MIB = 2**20
AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


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
    as_json: JsonOption = False,
) -> None:
    """Keep the whole lab as it is now, memory and disk of every node at one instant."""
    from labkit.snapshots.plan import require_one_name

    words = name or []
    if delete:
        if note or replace:
            message = "'--delete' goes with neither '--note' nor '--replace'."
            raise UsageError(message, hint="Run 'labkit snapshot --delete NAME'.")
        _delete(lab, _one_or_all(words, every=every), dry_run=dry_run, as_json=as_json)
        return
    if every or not words:
        message = "'--all' is for '--delete'." if every else "A snapshot needs a NAME."
        raise UsageError(message, hint="Run 'labkit snapshot NAME'.")
    require_one_name(words)
    _take(lab, words[0], note, replace=replace, dry_run=dry_run, as_json=as_json)


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


def _take(lab: Path, name: str, note: str, *, replace: bool, dry_run: bool, as_json: bool) -> None:
    from labkit.snapshots import take
    from labkit.snapshots.record import Shelf

    seen = looking(lab)
    if dry_run:
        plan = take.plan(seen, name, note=note, replace=replace)
        if as_json:
            print_json({"lab": seen.lab.name, "dry_run": True, **take_plan_data(plan)})
            return
        print_table(("node", "now"), [(node, kept.value) for node, kept in plan.nodes])
        free = "the pool is not active" if plan.free_bytes is None else _mib(plan.free_bytes)
        answer(f"would take '{name}': about {_mib(plan.needed_bytes)}; free: {free}")
        return
    # Refused before the lab's directory and a log are made.
    take.check(seen, name, note=note, replace=replace)
    with working(lab, "snapshot", changes=True) as session:
        record = take.take(session, name, note=note, replace=replace)
    if as_json:
        # With the others, whose names its parent's is one of.
        listed = _data([record, *Shelf(session.directory.snapshots).records()], record.key)
        print_json({"lab": seen.lab.name, "dry_run": False, "snapshot": listed[0]})
    else:
        _print_taken(record)


def take_plan_data(plan: TakePlan) -> dict[str, object]:
    """Return what `snapshot` would do, for programs."""
    return {
        "name": plan.name,
        "nodes": [{"name": node, "state": kept.value} for node, kept in plan.nodes],
        "replaces": plan.replaced is not None,
        "needed_bytes": plan.needed_bytes,
        "free_bytes": plan.free_bytes,
    }


def _print_taken(record: SnapshotRecord) -> None:
    rows = [
        (node, kept.state.value, _mib(kept.memory_bytes), _mib(kept.grown_bytes))
        for node, kept in record.nodes.items()
    ]
    print_table(("node", "state", "memory", "disk"), rows)
    for node, kept in record.nodes.items():
        if kept.state.value == "running" and not kept.nonce:
            notice(f"{node}: it took no SSH session: not flushed, and a restore cannot prove it")
    notice(
        f"took '{record.name}': the lab stood still for {record.pause_ms / 1000:.2f} s, "
        f"paused within {record.skew_ms:.0f} ms; back with 'labkit restore {record.name}'"
    )


def _delete(lab: Path, name: str | None, *, dry_run: bool, as_json: bool) -> None:
    from labkit.snapshots import remove

    seen = looking(lab)
    gone = remove.plan(seen, name)
    if gone and not dry_run:
        with working(lab, "snapshot", changes=True) as session:
            gone = remove.delete(session, name)
    if as_json:
        print_json({"lab": seen.lab.name, "dry_run": dry_run, "deleted": list(gone)})
        return
    for each in gone:
        answer(f"{'would delete' if dry_run else 'deleted'} '{each}'")
    if not gone:
        answer(f"the lab '{seen.lab.name}' has no snapshots")


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
        listed = _data([record for record, _ in branches], current)
        print_json({"lab": session.lab.name, "snapshots": listed})
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
                name: {
                    **node.model_dump(
                        mode="json", exclude={"domain_xml", "snapshot_xml", "nonce"}
                    ),
                    "provable": bool(node.nonce),
                }
                for name, node in record.nodes.items()
            },
        }
        for record in records
    ]


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
    as_json: JsonOption = False,
) -> None:
    """Put the whole lab back to a snapshot, let it run on, and prove that it does."""
    from labkit.snapshots import restore as restoring
    from labkit.snapshots.record import Shelf
    from labkit.verify.run import prove_deployed

    seen = looking(lab)
    if dry_run:
        plan = restoring.plan(seen, name)
        if as_json:
            print_json({"lab": seen.lab.name, "dry_run": True, **restore_plan_data(plan)})
            return
        print_table(("node", "now", "then"), plan.nodes)
        answer(f"would restore '{name}', taken {plan.record.created:%Y-%m-%d %H:%M} UTC")
        return
    # Refused before the lab's directory and a log are made.
    Shelf(seen.directory.snapshots).named(name)
    with working(lab, "restore", changes=True) as session:
        report = restoring.restore(session, name, prove=lambda: prove_deployed(session))
    if as_json:
        print_json({"lab": seen.lab.name, "dry_run": False, **restore_data(report)})
    else:
        _print_restore(report)


def restore_plan_data(plan: RestorePlan) -> dict[str, object]:
    """Return what `restore` would do, for programs."""
    return {
        "snapshot": plan.record.name,
        "created": plan.record.created.isoformat(timespec="seconds"),
        "nodes": [{"name": name, "now": now, "then": then} for name, now, then in plan.nodes],
    }


def restore_data(report: RestoreReport) -> dict[str, object]:
    """Return what `restore` did, for programs; without a proof a node's own values are None."""
    proofs = {proof.node: proof for proof in report.proofs}
    return {
        "snapshot": report.record.name,
        "nodes": [
            {
                "name": name,
                "state": kept.state.value,
                "proven": name in proofs,
                "address": proofs[name].address if name in proofs else None,
                "clock_seconds": proofs[name].clock_seconds if name in proofs else None,
                "clock_by": proofs[name].clock_by if name in proofs else None,
            }
            for name, kept in report.record.nodes.items()
        ],
        "header_only": list(report.shallow),
        "seconds": {
            "restored": round(report.restored_seconds, 3),
            "ssh": round(report.ssh_seconds, 3),
            "healthy": round(report.healthy_seconds, 3),
        },
    }


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
