from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from labkit.errors import OperationError, UsageError
from labkit.lifecycle.add_compute import require_addable
from labkit.state.directory import DeploymentState, LabDirectory, LabState
from labkit.state.session import Session
from tests.fakes.tools import tools
from tests.support import labs

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab


def session(tmp_path: Path, lab: ResolvedLab, known: DeploymentState) -> Session:
    directory = LabDirectory(tmp_path)
    directory.create()
    directory.save(LabState(lab=lab.name, lab_id=UUID(int=1), deployment=known))
    return Session(
        lab=lab,
        lab_file=tmp_path / "lab.yaml",
        directory=directory,
        progress=lambda _event: None,
        tools=tools(),
    )


DEPLOYED = DeploymentState(run_id="r", deployed=("controller",), nodes=("controller",))


def test_new_compute_node_of_a_deployed_lab_can_be_added(tmp_path: Path) -> None:
    require_addable(session(tmp_path, labs.lab(), DEPLOYED), "compute")


def test_node_whose_run_was_cut_off_can_be_gone_on_with(tmp_path: Path) -> None:
    known = DEPLOYED.model_copy(update={"deployed": ("controller", "compute"), "handled": False})
    require_addable(session(tmp_path, labs.lab(), known), "compute")


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (DeploymentState(), "is not deployed yet"),
        (DEPLOYED.model_copy(update={"deployed": ("controller", "compute")}), "deployed already"),
    ],
)
def test_lab_or_node_in_the_wrong_state_is_refused(
    tmp_path: Path, known: DeploymentState, told: str
) -> None:
    with pytest.raises(OperationError, match=told):
        require_addable(session(tmp_path, labs.lab(), known), "compute")


@pytest.mark.parametrize(
    ("deployed", "hint"),
    [
        (("controller",), "Run 'labkit add-compute compute'."),
        (
            ("controller", "compute"),
            "Add a node with 'roles: [compute]' to the lab file, and name that.",
        ),
    ],
)
def test_node_that_is_no_compute_node_is_answered_by_what_can_be_added(
    tmp_path: Path, deployed: tuple[str, ...], hint: str
) -> None:
    known = DEPLOYED.model_copy(update={"deployed": deployed})
    with pytest.raises(OperationError, match="no role 'compute'") as caught:
        require_addable(session(tmp_path, labs.lab(), known), "controller")
    assert caught.value.hint == hint


def test_controller_of_a_lab_that_is_not_deployed_is_told_that_first(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="is not deployed yet"):
        require_addable(session(tmp_path, labs.lab(), DeploymentState()), "controller")


def test_scenario_with_one_node_takes_no_further_one(tmp_path: Path) -> None:
    lab = replace(labs.lab(), deployment=labs.deployment("allinone"))
    with pytest.raises(OperationError, match="needs 'multinode'"):
        require_addable(session(tmp_path, lab, DEPLOYED), "compute")


def test_unknown_node_is_a_mistake_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no node 'third'"):
        require_addable(session(tmp_path, labs.lab(), DEPLOYED), "third")
