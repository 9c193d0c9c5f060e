"""The tables about Packstack of Train, judged by Packstack 15.1.0 itself; no guest, no host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from labkit.lab.options import Option, Random, options
from labkit.lab.topology import Release
from labkit.packstack.output.steps import expected_steps
from tests.support.real_packstack import packstack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.integration

TRAIN = Release.TRAIN
HOST = "127.0.0.1"
DONE = re.compile(r"^(.+?)\s*\[ DONE \]$", re.MULTILINE)
ESCAPES = re.compile(r"\x1b\[[0-9;]*m|\r")
# What is said of an option begins further to the right.
HELP = re.compile(r"^ {2,4}(?:-\w[^-]*, )?(--[a-z0-9_-]+)", re.MULTILINE)
# Of Packstack's command line itself, not of a key.
GENERAL = {
    "--allinone",
    "--answer-file",
    "--debug",
    "--dry-run",
    "--gen-answer-file",
    "--help",
    "--install-hosts",
    "--options",
    "--timeout",
    "--validate-answer-file",
    "--version",
}
LENGTHS = {Random.PASSWORD: 16, Random.HEX16: 16, Random.HEX32: 32}


def default(option: Option) -> str:
    """Return what an answer file made on HOST has for a key, but for what Packstack finds out."""
    value = option.default.replace("<host ip>", HOST)
    return "True" if "bool" in option.processors and value == "y" else value


@pytest.fixture(name="made", scope="module")
def made_answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what an answer file that Packstack made has, in its order."""
    home = tmp_path_factory.mktemp("made")
    outcome = packstack(home, f"--gen-answer-file={home / 'answers.cfg'}", release=TRAIN)
    assert outcome.returncode == 0, outcome.output
    text = (home / "answers.cfg").read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


def test_keys_are_those_of_a_made_answer_file_in_its_order(made: dict[str, str]) -> None:
    assert [option.key for option in options(TRAIN)] == list(made)


def test_defaults_are_those_of_a_made_answer_file(made: dict[str, str]) -> None:
    fixed = {
        option.key: default(option)
        for option in options(TRAIN)
        if not option.random and "<" not in default(option)
    }
    assert len(fixed) > 200, "hardly a default is compared"
    assert {key: made[key] for key in fixed} == fixed


def test_random_values_are_made_up(made: dict[str, str]) -> None:
    for option in options(TRAIN):
        assert (option.random is not None) == (option.default == "<random>"), option.key
        if option.random and made[option.key] != "PW_PLACEHOLDER":
            expected = f"[0-9a-f]{{{LENGTHS[option.random]}}}"
            assert re.fullmatch(expected, made[option.key]), option.key
    waiting = {key for key, value in made.items() if value == "PW_PLACEHOLDER"}
    assert waiting < {each.key for each in options(TRAIN) if each.random is Random.PASSWORD}


def test_command_line_options_are_those_of_help(tmp_path: Path) -> None:
    outcome = packstack(tmp_path, "--help", release=TRAIN)
    offered = set(HELP.findall(outcome.output))
    assert offered >= GENERAL
    assert {option.cli for option in options(TRAIN)} - {""} == offered - GENERAL


@pytest.mark.parametrize(
    ("key", "known"), [("CONFIG_SKIP_TEMPEST_TESTS", True), ("CONFIG_LBAAS_INSTALL", False)]
)
def test_key_is_unknown_if_the_table_lacks_it(key: str, *, known: bool, tmp_path: Path) -> None:
    file = tmp_path / "answers.cfg"
    file.write_text(f"[general]\n{key}=y\n", encoding="utf-8")
    outcome = packstack(tmp_path, f"--validate-answer-file={file}", release=TRAIN)
    keys = {option.key for option in options(TRAIN)}
    assert (outcome.returncode == 0) == known == (key in keys), outcome.output


def installing(answer: str, *services: str) -> dict[str, str]:
    return {f"CONFIG_{service}_INSTALL": answer for service in services}


ANSWERS = [
    pytest.param({}, id="default"),
    pytest.param(
        {
            "CONFIG_NTP_SERVERS": "192.0.2.9",
            "CONFIG_CINDER_BACKEND": "nfs",
            "CONFIG_CINDER_NFS_MOUNTS": "192.0.2.9:/export",
            **installing("y", "HEAT", "HEAT_CFN", "IRONIC", "MAGNUM", "PANKO", "SAHARA", "TROVE"),
        },
        id="much",
    ),
    pytest.param(
        installing("n", "CEILOMETER", "CINDER", "CLIENT", "HORIZON", "NOVA", "SWIFT"), id="little"
    ),
]


@pytest.mark.parametrize("answers", ANSWERS)
def test_dry_run_prints_the_titles_of_the_table(
    answers: Mapping[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "answers.cfg"
    lines = [f"{key}={value}" for key, value in answers.items()]
    file.write_text("\n".join(["[general]", *lines, ""]), encoding="utf-8")
    outcome = packstack(tmp_path, f"--answer-file={file}", "--dry-run", release=TRAIN)
    assert outcome.returncode == 0, outcome.output
    effective = {option.key: option.default for option in options(TRAIN)} | dict(answers)
    found = DONE.findall(ESCAPES.sub("", outcome.output))
    assert tuple(found) == expected_steps(effective, TRAIN)
