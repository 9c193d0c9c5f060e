from __future__ import annotations

import re
import shlex

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from labkit.cli.app import add_verbs, app
from labkit.cli.help import HELP, without_flag_types
from tests.support.documentation import verbs


def test_every_verb_has_a_group_and_examples_of_its_own() -> None:
    assert sorted(HELP) == sorted(verbs())
    for name, (_group, examples) in HELP.items():
        assert all(f"{example} ".startswith(f"labkit {name} ") for example in examples)
        assert len(set(examples)) == 2


@pytest.mark.parametrize("name", HELP)
def test_examples_of_a_verb_are_understood(name: str) -> None:
    verb = verbs()[name]
    for example in HELP[name][1]:
        words = shlex.split(example.partition(" > ")[0])[1 + len(name.split()) :]
        context = verb.make_context(name, words)
        assert context.args == []


def test_help_shows_the_examples_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    add_verbs()
    with pytest.raises(SystemExit):
        get_command(app)(["halt", "--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "labkit halt compute --force" in lines
    assert "All of it: docs/reference/cli.md, or 'man labkit'." in lines


def test_help_gives_no_flag_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    add_verbs()
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    without_flag_types(group)
    for words in (["--help"], ["halt", "-h"], ["box", "build", "--help"]):
        with pytest.raises(SystemExit):
            group(words)
    shown = capsys.readouterr().out
    assert "--dry-run" in shown
    assert "<bool>" not in shown


def test_help_shows_the_groups_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    add_verbs()
    with pytest.raises(SystemExit):
        get_command(app)(["--help"])
    shown = re.findall(r"─ (.+?) ─", capsys.readouterr().out)
    assert shown == ["Options", *dict.fromkeys(group for group, _examples in HELP.values())]
