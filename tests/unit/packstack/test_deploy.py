from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from labkit.packstack import deploy
from labkit.state.directory import LabDirectory
from labkit.state.session import Session
from tests.fakes.tools import tools
from tests.support import examples

if TYPE_CHECKING:
    from pathlib import Path


def test_case_21_plan_shows_no_password_of_a_mirror_or_in_an_answer(tmp_path: Path) -> None:
    lab = examples.example("packstack")
    bases = ("https://me:hunter2@mirror.example/centos", "https://vault.centos.org")
    secret = ("CONFIG_KEYSTONE_ADMIN_PW", "hunter2")
    directory = LabDirectory(tmp_path / "lab")
    directory.create()
    session = Session(
        lab=replace(
            lab,
            box="centos7",
            repositories=replace(lab.repositories, bases=bases),
            deployment=replace(lab.deployment, answers=(secret,)),
        ),
        lab_file=tmp_path / "lab.yaml",
        directory=directory,
        progress=lambda _event: None,
        tools=tools(),
    )
    lines = "\n".join(deploy.plan(session, snapshot=True))
    assert "from https://***@mirror.example/centos or https://vault.centos.org\n" in lines
    assert "hunter2" not in lines
