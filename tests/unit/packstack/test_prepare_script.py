from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.packstack.prepare_script import (
    EndedStep,
    PreparationView,
    advance,
    needed_mib,
    script,
)
from tests.support import labs
from tests.support.examples import example

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab
    from tests.support.golden import Golden

OUTPUT = """\
labkit-step: start space
labkit-step: done space 0.012 unchanged
labkit-step: start update
Loaded plugins: fastestmirror
 labkit-step: done update 9 changed
No packages marked for labkit-step: start kernel
labkit-step: done update 61.5 changed
labkit-step: reboot 3.10.0-862.el7.x86_64 3.10.0-1160.119.1.el7.x86_64
"""


def host_keys(lab: ResolvedLab) -> dict[str, str]:
    return {node.name: f"ssh-ed25519 AAAA{node.name}" for node in lab.nodes}


def scripts(lab: ResolvedLab) -> dict[str, str]:
    return {
        node.name: script(lab, node, packages=lab.repositories, host_keys=host_keys(lab))
        for node in lab.nodes
    }


def data(text: str) -> dict[str, str]:
    """Return the node's own lines of a script."""
    part = text.split("umask 022\n\n")[1].partition("\nreadonly root=")[0]
    found = re.findall(r"^([a-z_]+)=(\([^)]*\)|.*)$", part, re.MULTILINE)
    return {name: " ".join(value.split()) for name, value in found}


def test_script_of_the_default_lab_equals_golden_files(golden: Golden) -> None:
    golden.check("preparation", scripts(example("packstack")))


def test_script_controller_alone_gets_packstack_and_reaches_all_nodes() -> None:
    texts = scripts(labs.lab())
    controller, compute = data(texts["controller"]), data(texts["compute"])
    assert controller["packages"] == "( python-setuptools openstack-packstack )"
    assert controller["peers"] == "( 172.16.208.13 172.16.208.23 )"
    assert "'172.16.208.28 ssh-ed25519 AAAAcompute'" in controller["known_hosts"]
    assert compute["packages"] == "(python-setuptools)"
    assert (controller["open_files"], compute["open_files"]) == ("16384", "0")
    assert compute["peers"] == compute["known_hosts"] == "()"
    assert controller["hosts"] == compute["hosts"]


@pytest.mark.parametrize("scenario", ["allinone", "external-network"])
def test_script_single_node_scenario_leaves_other_nodes_alone(scenario: str) -> None:
    lab = replace(labs.lab(), deployment=labs.deployment(scenario))
    controller, compute = lab.nodes
    assert (
        data(script(lab, controller, packages=lab.repositories, host_keys=host_keys(lab)))["peers"]
        == "(172.16.208.13)"
    )
    with pytest.raises(ValueError, match="'compute' has no part"):
        script(lab, compute, packages=lab.repositories, host_keys=host_keys(lab))


def test_script_password_of_a_proxy_makes_the_repo_file_private() -> None:
    lab = labs.lab()
    secret = replace(
        lab, repositories=replace(lab.repositories, proxy="http://me:s3cret@proxy.example:3128")
    )
    assert (
        data(script(lab, lab.nodes[0], packages=lab.repositories, host_keys=host_keys(lab)))[
            "repo_mode"
        ]
        == "0644"
    )
    text = script(secret, lab.nodes[0], packages=secret.repositories, host_keys=host_keys(lab))
    assert data(text)["repo_mode"] == "0600"


@pytest.mark.parametrize(
    ("answers", "gib"),
    [
        ((), 8 + 20.6 + 2),
        ((("CONFIG_CINDER_VOLUMES_SIZE", "40G"),), 8 + 41.2 + 2),
        ((("CONFIG_CINDER_VOLUMES_SIZE", "512M"), ("CONFIG_SWIFT_INSTALL", "n")), 8.515),
        ((("CONFIG_CINDER_VOLUMES_CREATE", "n"),), 10),
        ((("CONFIG_CINDER_VOLUMES_SIZE", "many"),), 30.6),
    ],
)
def test_space_of_the_controller_follows_the_answers(
    answers: tuple[tuple[str, str], ...], gib: float
) -> None:
    lab = labs.lab()
    asked = replace(lab, deployment=replace(lab.deployment, answers=answers))
    assert needed_mib(asked, asked.nodes[0]) == pytest.approx(gib * 1024, abs=1)
    assert needed_mib(asked, asked.nodes[1]) == 5 * 1024


def test_space_of_a_stand_in_is_little() -> None:
    lab = labs.lab()
    text = script(
        lab, lab.nodes[0], packages=lab.repositories, host_keys=host_keys(lab), stand_in=True
    )
    assert data(text)["free_mib"] == "64"


def test_view_reads_whole_protocol_lines_only() -> None:
    view = advance(PreparationView(), OUTPUT)
    assert view.done == (
        EndedStep(step="space", seconds=0.012),
        EndedStep(step="update", seconds=61.5, changed=True),
    )
    assert view.reboot == ("3.10.0-862.el7.x86_64", "3.10.0-1160.119.1.el7.x86_64")
    assert (view.running, view.failed, view.rest) == ("", None, "")
    half = advance(PreparationView(), "labkit-step: start space")
    assert (half.running, half.rest) == ("", "labkit-step: start space")


def test_view_keeps_the_reason_of_a_failed_step() -> None:
    line = "labkit-step: failed probe no place has all: https://v: answered 404\n"
    assert advance(PreparationView(), line).failed == EndedStep(
        step="probe", reason="no place has all: https://v: answered 404"
    )


@pytest.mark.parametrize(
    "line",
    [
        "labkit-step: done update x changed",
        "labkit-step: done update 1 perhaps",
        "labkit-step: start Update now",
        "labkit-step: reboot one",
        "labkit-step:start space",
        "x labkit-step: start space",
    ],
)
def test_line_that_only_resembles_the_protocol_is_output(line: str) -> None:
    assert advance(PreparationView(), f"{line}\n") == PreparationView()


def test_view_is_the_same_wherever_the_output_is_cut() -> None:
    whole = advance(PreparationView(), OUTPUT)
    for cut in range(len(OUTPUT)):
        halves = advance(advance(PreparationView(), OUTPUT[:cut]), OUTPUT[cut:])
        assert halves == whole
    assert [event.step for event in whole.done] == ["space", "update"]
    assert whole.seconds == pytest.approx(61.512)
    assert any(event.changed for event in whole.done)
    assert whole.reboot is not None


def test_view_names_the_running_and_the_failed_step() -> None:
    running = advance(PreparationView(), OUTPUT[: OUTPUT.index("Loaded")])
    assert running.running == "update"
    failed = advance(running, "labkit-step: failed update yum: Error: no space\n")
    assert failed.running == ""
    assert failed.failed is not None
    assert failed.failed.reason == "yum: Error: no space"
