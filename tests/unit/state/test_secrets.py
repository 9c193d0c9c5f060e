from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.lab.topology import Repositories
from labkit.state.directory import LabDirectory
from labkit.state.secrets import hidden, known_secrets, password_file
from tests.support import labs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> LabDirectory:
    found = LabDirectory(tmp_path / "demo")
    found.create()
    return found


def test_secrets_are_those_of_the_lab_file_and_those_that_were_made(
    directory: LabDirectory,
) -> None:
    deployment = replace(
        labs.deployment(),
        answers=(
            ("CONFIG_KEYSTONE_ADMIN_PW", "letmein-2018"),
            ("CONFIG_REPO", "http://kim:mirror%2F2018@mirror.example/x"),
            ("CONFIG_KEYSTONE_REGION", "RegionOne-2018"),
        ),
    )
    repositories = Repositories(
        tree="7.9.2009",
        bases=("https://kim:vault-2018@vault.example",),
        proxy="http://kim:proxy-2018@proxy.example:3128",
    )
    lab = replace(labs.lab(), deployment=deployment, repositories=repositories)
    password_file(directory).write_text(json.dumps({"CONFIG_NOVA_DB_PW": "made4uMade4uMade"}))
    assert known_secrets(lab, directory) == {
        "letmein-2018",
        "mirror%2F2018",
        "mirror/2018",
        "vault-2018",
        "proxy-2018",
        "made4uMade4uMade",
    }


@pytest.mark.parametrize("word", ["openstack", "hunter2", "controller"])
def test_word_that_ordinary_text_has_too_is_not_hidden(directory: LabDirectory, word: str) -> None:
    password_file(directory).write_text(json.dumps({"CONFIG_NOVA_DB_PW": word}))
    assert known_secrets(labs.lab(), directory) == frozenset()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"CONFIG_NOVA_DB_PW": 1}', "\x00"])
def test_damaged_password_file_has_no_secrets(directory: LabDirectory, content: str) -> None:
    password_file(directory).write_text(content)
    assert known_secrets(labs.lab(), directory) == frozenset()


def test_longer_secret_is_hidden_before_the_one_inside_it() -> None:
    assert hidden("a secret-12 and a secret-12345", {"secret-12", "secret-12345"}) == (
        "a ******** and a ********"
    )
