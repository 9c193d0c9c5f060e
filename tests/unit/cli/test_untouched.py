"""Nothing is touched before a command is accepted: no directory, no log, no pool, no domain."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from labkit.boxes import cache
from labkit.boxes.pool import forget
from labkit.cli.app import add_verbs, app
from labkit.errors import LabkitError, OperationError
from labkit.lifecycle import rehearsal, run, teardown
from labkit.lifecycle.restart import restart
from labkit.lifecycle.sweep import sweep
from labkit.lifecycle.up import up
from labkit.snapshots import remove, restore, take
from labkit.state.directory import DeploymentState, LabDirectory, LabState, path_lab_id
from labkit.state.registry import user_registry
from tests.fakes.libvirt import FakeHost
from tests.support import documentation, labs, sessions, snapshot_lab
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.state.session import Session

# Refused for their arguments or for what is on record, before anybody asks libvirt.
REFUSED = (
    "up --no-such-option",
    "up --lab nowhere.yaml",
    "recreate",
    "recreate no-such-node",
    "recreate compute no-such-node --dry-run",
    "destroy --name no-such-lab",
    "destroy --name no-such-lab --dry-run",
    "destroy --name ../..",
    "add-compute no-such-node",
    "add-compute no-such-node --dry-run",
    "add-compute controller",
    "add-compute compute",
    "add-compute compute --dry-run",
    "run --timeout soon",
    "run --destroy=perhaps",
    "run --junit nowhere/report.xml",
    "run --junit .",
    "run --json nowhere/report.json",
    "run --json .",
    "rehearsal --report nowhere/report.json",
    "rehearsal --report .",
    "rehearsal --box no-such-box",
    "snapshot",
    "snapshot list",
    "snapshot save x",
    "snapshot delete x --dry-run",
    "snapshot pop --replace",
    "snapshot a b",
    "snapshot --all",
    "snapshot --delete",
    "snapshot x --delete --all",
    "snapshot x --delete --note y",
    "snapshot x --delete --dry-run",
    "restore no-such-snapshot --dry-run",
    "verify --junit nowhere/report.xml",
    "verify --junit .",
    "verify --from nowhere",
    "ssh no-such-node",
    "ssh controller",
    "console controller",
    "logs no-such-log",
    "logs deploy",
    "render lab.yaml",
    "init",
    "init --scenario add-compute new",
    "init --cidr 10.0.0.1/24 new",
    "init --bridge a/b new",
)
OFFLINE_DRY_RUNS = (
    "deploy --dry-run",
    "deploy --dry-run --json",
    "deploy --kill --dry-run",
    "box build rehearsal --dry-run",
    "init new --dry-run",
    "snapshot --delete --all --dry-run",
)


def tree(path: Path) -> dict[str, tuple[int, bytes]]:
    """Return everything below a directory: mode, and content or target."""
    found = {}
    for each in sorted(path.rglob("*")):
        content = each.read_bytes() if each.is_file() else b""
        found[str(each.relative_to(path))] = (each.stat().st_mode, content)
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with a lab file, in which everything of labkit's belongs too."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "lab.yaml", "lab.yaml")
    for name in ("LABKIT_LAB", "LABKIT_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "records"))
    add_verbs()
    return tmp_path


def ended(words: str) -> int:
    done = CliRunner().invoke(app, words.split())
    # main() makes the exit code of an error of labkit's own.
    return done.exception.exit_code if isinstance(done.exception, LabkitError) else done.exit_code


@pytest.mark.parametrize("words", REFUSED)
def test_refused_command_leaves_nothing_where_no_lab_is(place: Path, words: str) -> None:
    before = tree(place)
    assert ended(words) in {2, 4}
    assert tree(place) == before


@pytest.mark.parametrize("words", REFUSED)
def test_refused_command_leaves_a_lab_as_it_is(place: Path, words: str) -> None:
    made(place)
    before = tree(place)
    assert ended(words) in {2, 4}
    assert tree(place) == before


@pytest.mark.parametrize("words", OFFLINE_DRY_RUNS)
@pytest.mark.parametrize("there", [True, False])
def test_dry_run_that_asks_nobody_leaves_all_as_it_is(
    place: Path,
    words: str,
    there: bool,  # noqa: FBT001 -- a parameter of the table above
) -> None:
    if there:
        made(place)
    before = tree(place)
    assert ended(words) == 0
    assert tree(place) == before


def made(place: Path, deployment: DeploymentState | None = None) -> None:
    """Make the directory of the lab, as an 'up' leaves it."""
    directory = LabDirectory(place / ".labkit" / "packstack")
    directory.create()
    state = LabState(lab="packstack", lab_id=path_lab_id(directory.path))
    directory.save(state.model_copy(update={"deployment": deployment or DeploymentState()}))


def destroy_by_name(session: Session) -> None:
    teardown.destroy_by_name(
        session.lab.name,
        session.directory,
        session.progress,
        registry=user_registry(),
        tools=session.tools,
        dry_run=True,
    )


def sweep_all(session: Session) -> None:
    swept = sweep(
        user_registry(), session.progress, tools=session.tools, orphans=True, dry_run=True
    )
    assert [each.lab for each in swept] == ["demo"]


def plan_rehearsal(session: Session) -> None:
    with suppress(OperationError):  # a lab that exists
        rehearsal.plan(session)


def remove_box(session: Session) -> None:
    forget("rehearsal", connect=session.tools.connect, dry_run=True)
    assert cache.remove("rehearsal", session.lab_file.parent / "cache", dry_run=True)


DRY_RUNS: dict[str, Callable[[Session], object]] = {
    "up": partial(up, dry_run=True),
    "halt": partial(teardown.halt, dry_run=True),
    "restart": partial(restart, dry_run=True),
    "destroy": partial(teardown.destroy, dry_run=True),
    "destroy --name": destroy_by_name,
    "sweep": sweep_all,
    "run": partial(run.plan, source="", remove="always"),
    "rehearsal": plan_rehearsal,
    "box remove": remove_box,
}
# What each verb changes without a dry run, and why it has none.
WITHOUT_DRY_RUN = {
    "ssh": "what a node makes of the command is not labkit's to know",
    "cp": "the same of scp",
    "openstack": "the same of the client",
    "sandbox": "what its command does is gone with it",
    "render": "is the dry run of 'up' with every file",
    "box render": "is the dry run of 'box build' with every file",
    "console": "changes nothing of the lab",
    "open": "the same",
    "ssh-config": "the same",
    "inventory": "the same",
    "status": "the same",
    "snapshots": "the same",
    "logs": "the same",
    "verify": "the same but for the file of --junit",
}


@pytest.mark.parametrize("verb", DRY_RUNS)
@pytest.mark.parametrize("running", [True, False])
def test_dry_run_changes_neither_the_host_nor_a_file(
    place: Path,
    verb: str,
    running: bool,  # noqa: FBT001 -- a parameter of the table above
) -> None:
    host = FakeHost()
    if running:
        host.add_lab(labs.lab())
    session = sessions.session(place, labs.lab(), host)
    session.directory.create()
    state = LabState(lab="demo", lab_id=labs.LAB_ID, expires=datetime(2026, 1, 1, tzinfo=UTC))
    session.directory.save(state)
    (place / "cache" / "boxes" / "rehearsal").mkdir(parents=True)
    host.add_volume(f"labkit-rehearsal-{'a' * 12}_vagrant_box_image_1.0.0_box.img")
    user_registry().enter(session.directory, state)
    before, pools = tree(place), set(host.pools)
    volumes = set(host.volumes)

    DRY_RUNS[verb](session)

    assert (tree(place), host.pools, host.calls) == (before, pools, [])
    assert set(host.volumes) == volumes


DRY_RUNS_OF_SNAPSHOTS: dict[str, Callable[[Session], object]] = {
    "snapshot": lambda session: take.plan(session, "next"),
    "snapshot --replace": lambda session: take.plan(session, "base", replace=True),
    "snapshot --delete": lambda session: remove.plan(session, "base"),
    "restore": lambda session: restore.plan(session, "base"),
    "run --from": lambda session: run.plan(session, source="base", remove="never"),
}


@pytest.mark.parametrize("verb", DRY_RUNS_OF_SNAPSHOTS)
def test_dry_run_changes_no_snapshot_and_no_node(tmp_path: Path, verb: str) -> None:
    lab = snapshot_lab.world(tmp_path / "lab")
    take.take(lab.session, "base")
    before, calls = tree(tmp_path), list(lab.host.calls)
    states, held = lab.states(), [list(keys) for keys in lab.held()]

    assert DRY_RUNS_OF_SNAPSHOTS[verb](lab.session)

    assert (tree(tmp_path), lab.host.calls) == (before, calls)
    assert (lab.states(), [list(keys) for keys in lab.held()]) == (states, held)
    assert lab.whole()


def test_dry_run_of_add_compute_changes_no_file(place: Path) -> None:
    made(place, DeploymentState(deployed=("controller",)))
    before = tree(place)
    assert ended("add-compute compute --dry-run --json") == 0
    assert tree(place) == before


def test_every_verb_that_changes_something_has_a_dry_run_that_is_tried_here() -> None:
    taking = {
        name
        for name, verb in documentation.verbs().items()
        if any("--dry-run" in part.opts for part in verb.params)
    }
    tried = {
        *(name.partition(" -")[0] for name in (*DRY_RUNS, *DRY_RUNS_OF_SNAPSHOTS)),
        *(words.partition(" --")[0] for words in OFFLINE_DRY_RUNS),
    }
    # A test of its own above, and one in tests/unit/lifecycle/test_recreate.py.
    assert {name for name in taking if not any(each.startswith(name) for each in tried)} == {
        *("add-compute", "recreate")
    }
    table = documentation.text("docs/reference/cli.md").split("## What each verb changes")[1]
    rows = re.findall(r"^\| (`[^|]+`) \| (.+) \|$", table.split("\n## ")[0], re.MULTILINE)
    changing = {
        verb
        for verbs, changes in rows
        if changes != "nothing"
        for verb in re.findall("`([^`]+)`", verbs)
    }
    assert changing - taking == set(WITHOUT_DRY_RUN)
