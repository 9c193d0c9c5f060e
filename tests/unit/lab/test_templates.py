from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from labkit.errors import HostError
from labkit.lab.templates import one_line, render, ruby, shell_value
from tests.support.examples import ROOT

# What templates put into a text as it is: patterns of lab.yaml and box.yaml, or labkit's own code,
# leave nothing in these that any of the languages could take for something else.
SAFE_AS_IT_IS = {
    "box.iso.name", "box.kickstart_version", "key", "kernel_args | join(' ')", "lab.dns_domain", "nic.mac",
    "nic.name", "node.cpus", "node.disk_gib", "node.fqdn", "node.memory_mib", "other.fqdn", "other.name",
    "other.nics[0].address.ip", "package", "part", "port", "post", "scope", "server", "verify",
}  # fmt: skip
QUOTED = re.compile(r"\| (ruby|shell_value|one_line|base64|sha256)$")


def test_every_template_quotes_what_may_hold_any_text() -> None:
    templates = [ROOT / "Vagrantfile.j2", *(ROOT / "kickstart").glob("*.j2")]
    text = "".join(path.read_text(encoding="utf-8") for path in templates)
    expressions = {found.strip() for found in re.findall(r"\{\{(.*?)\}\}", text, re.DOTALL)}
    assert {each for each in expressions if not QUOTED.search(each)} == SAFE_AS_IT_IS


def test_render_without_a_value_is_an_error_and_not_empty() -> None:
    with pytest.raises(UndefinedError, match="node"):
        render("kickstart/hostname.j2")


def test_render_of_a_template_that_is_missing_says_so() -> None:
    with pytest.raises(HostError, match=r"'kickstart/none\.j2' is missing"):
        render("kickstart/none.j2")


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("plain", "'plain'"),
        ("it's", r"'it\'s'"),
        ("a\\", r"'a\\'"),
        ("\\'", r"'\\\''"),
        ("#{exit}", "'#{exit}'"),
        ("a\nb", "'a\nb'"),
        ("", "''"),
    ],
)
def test_ruby_hostile_text_gives_single_quoted_literal(value: str, literal: str) -> None:
    assert ruby(value) == literal


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("172.16.208.39", "172.16.208.39"),
        ("3052d15f-9489", "3052d15f-9489"),
        ("", ""),
        ("two words", "'two words'"),
        ("it's", r"'it'\''s'"),
        ("$(id)", "'$(id)'"),
        ("`id`", "'`id`'"),
        ("a\n", "'a\n'"),
        ("ü", "'ü'"),
        ("~", "'~'"),
    ],
)
def test_shell_value_hostile_text_is_quoted(value: str, word: str) -> None:
    assert shell_value(value) == word


@given(st.text())
def test_ruby_any_text_is_read_back_unchanged(text: str) -> None:
    literal = ruby(text)
    assert re.fullmatch(r"'(?:[^'\\]|\\['\\])*'", literal, re.DOTALL)
    assert re.sub(r"\\(.)", r"\1", literal[1:-1], flags=re.DOTALL) == text


@given(st.text())
def test_shell_value_any_text_is_read_back_unchanged(text: str) -> None:
    assert shlex.split(f"KEY={shell_value(text)}") == [f"KEY={text}"]


@given(st.text())
def test_one_line_any_text_has_no_further_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert len(one_line(text)) == len(text)
