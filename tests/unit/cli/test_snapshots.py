from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from labkit.cli.snapshots import restore, snapshot, snapshots
from labkit.errors import LabkitError, OperationError, UsageError
from labkit.snapshots.record import Journal, Shelf
from labkit.state.directory import lab_directory
from tests.support import labs
from tests.support.examples import EXAMPLES
from tests.support.snapshot_records import record

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
    assert [item["name"] for item in json.loads(capsys.readouterr().out)] == ["base"]

    snapshot(["gone"], lab=lab, delete=True, dry_run=True)
    assert capsys.readouterr().out == "would delete 'gone'\n"
