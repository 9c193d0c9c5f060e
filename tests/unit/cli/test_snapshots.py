from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from labkit.cli.snapshots import (
    restore,
    restore_data,
    restore_plan_data,
    snapshot,
    snapshots,
    take_plan_data,
)
from labkit.errors import LabkitError, OperationError, UsageError
from labkit.snapshots import restore as restoring
from labkit.snapshots import take
from labkit.snapshots.record import Journal, Kept, Shelf
from labkit.state.directory import lab_directory
from tests.support import labs, snapshot_lab
from tests.support.examples import EXAMPLES
from tests.support.snapshot_records import node_record, record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LABKIT_STATE_DIR", raising=False)
    file = tmp_path / "lab.yaml"
    shutil.copy(EXAMPLES["packstack"], file)
    return file


def shelf(lab: Path) -> Shelf:
    return Shelf(lab_directory(lab, "packstack", {}).snapshots)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("verb", "name", "options", "kind"),
    [
        pytest.param(snapshot, ["a b"], {}, UsageError, id="no name"),
        pytest.param(snapshot, ["x"], {"note": "a\nb"}, UsageError, id="no note"),
        pytest.param(snapshot, None, {}, UsageError, id="nothing"),
        pytest.param(snapshot, ["x"], {}, OperationError, id="never up"),
        pytest.param(snapshot, ["x"], {"delete": True}, UsageError, id="delete unknown"),
        pytest.param(snapshot, None, {"delete": True}, UsageError, id="delete nothing"),
        pytest.param(snapshot, ["x"], {"delete": True, "every": True}, UsageError, id="both"),
        pytest.param(snapshot, ["x", "y"], {"delete": True}, UsageError, id="two"),
        pytest.param(snapshot, ["x"], {"every": True}, UsageError, id="take all"),
        pytest.param(snapshot, ["x"], {"delete": True, "note": "n"}, UsageError, id="with a note"),
        pytest.param(restore, "x", {}, UsageError, id="restore unknown"),
    ],
)
def test_refused_command_leaves_no_trace(
    lab: Path,
    verb: Callable[..., None],
    name: str | list[str] | None,
    options: Mapping[str, object],
    kind: type[LabkitError],
    *,
    dry_run: bool,
) -> None:
    with pytest.raises(kind):
        verb(name, lab=lab, dry_run=dry_run, **options)
    assert list(lab.parent.iterdir()) == [lab]


def test_delete_all_of_none_leaves_no_trace(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot(None, lab=lab, delete=True, every=True)
    assert capsys.readouterr().out == "the lab 'packstack' has no snapshots\n"
    assert list(lab.parent.iterdir()) == [lab]


def test_list_leaves_out_what_is_being_removed(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = labs.lab()
    for name in ("base", "gone"):
        shelf(lab).publish(record(small, name))
    shelf(lab).note(Journal(verb="delete", doomed=("labkit-gone-0",)))

    snapshots(lab=lab, as_json=True)
    (item,) = json.loads(capsys.readouterr().out)["snapshots"]
    assert item["name"] == "base"
    assert [node["provable"] for node in item["nodes"].values()] == [True, True]

    snapshot(["gone"], lab=lab, delete=True, dry_run=True)
    assert capsys.readouterr().out == "would delete 'gone'\n"


def test_snapshot_tells_programs_what_it_would_do(tmp_path: Path) -> None:
    lab = snapshot_lab.world(tmp_path / "lab")
    take.take(lab.session, "base")
    data = take_plan_data(take.plan(lab.session, "base", replace=True))
    assert data["nodes"] == [
        {"name": "controller", "state": "running"},
        {"name": "compute", "state": "running"},
    ]
    assert (data["name"], data["replaces"]) == ("base", True)
    assert data["needed_bytes"]
    assert data["free_bytes"]


def test_restore_tells_programs_what_it_would_do_and_what_it_proved(tmp_path: Path) -> None:
    lab = snapshot_lab.world(tmp_path / "lab")
    take.take(lab.session, "base")
    planned = restore_plan_data(restoring.plan(lab.session, "base"))
    assert planned["snapshot"] == "base"
    assert planned["nodes"] == [
        {"name": name, "now": "running", "then": "running"} for name in ("controller", "compute")
    ]

    done: Any = json.loads(json.dumps(restore_data(restoring.restore(lab.session, "base"))))
    assert [node["proven"] for node in done["nodes"]] == [True, True]
    assert all(node["address"] and node["clock_by"] is not None for node in done["nodes"])
    assert list(done["seconds"]) == ["restored", "ssh", "healthy"]


def test_restore_of_nodes_that_were_off_has_nothing_to_prove() -> None:
    small = labs.lab("one")
    off = record(small).model_copy(
        update={"nodes": {"one": node_record(small.nodes[0], state=Kept.OFF)}}
    )
    report = restoring.RestoreReport(
        record=off,
        proofs=(),
        unproven=(),
        shallow=("x.img",),
        restored_seconds=1.0,
        ssh_seconds=1.0,
        healthy_seconds=1.0,
    )
    done: Any = restore_data(report)
    assert done["nodes"] == [
        {
            "name": "one",
            "state": "off",
            "proven": False,
            "address": None,
            "clock_seconds": None,
            "clock_by": None,
        }
    ]
    assert done["header_only"] == ["x.img"]
