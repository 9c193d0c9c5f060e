from __future__ import annotations

import re

import pytest

from tests.support import documentation, manual
from tests.support.manual import MANUAL, quoted

# What a line of text may begin with: the requests of man(7), and of troff, that the page uses.
REQUESTS = ("TH", "SH", "SS", "TP", "PP", "B", "I", "BR", "nf", "fi", '\\"')


def test_manual_page_says_what_the_program_says(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--regenerate"):
        MANUAL.write_text(manual.page(), encoding="ascii")
    assert MANUAL.read_text(encoding="ascii") == manual.page(), "see 'pytest --regenerate'"


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        ("plain words", "plain words"),
        (".SH", r"\&.SH"),
        ("...", r"\&..."),
        ("'br", r"\(aqbr"),
        ("--dry-run", r"\-\-dry\-run"),
        (r"C:\nroff \fB", r"C:\enroff \efB"),
        ("\\", r"\e"),
        ('say "no"', r"say \(dqno\(dq"),
        ("a\n.TH x\n'so /etc/passwd", r"a .TH x \(aqso /etc/passwd"),
        ("~user ^ `id`", r"\(tiuser \(ha \(gaid\(ga"),
        ("naïve…", r"na\[u00EF]ve\[u2026]"),
        ("", ""),
    ],
)
def test_text_is_quoted_so_that_troff_prints_just_that(text: str, roff: str) -> None:
    assert quoted(text) == roff


def test_no_line_of_the_page_is_a_request_by_accident() -> None:
    for line in manual.page().splitlines():
        assert not line.startswith("'"), line
        if line.startswith("."):
            assert line[1:].split(" ")[0] in REQUESTS, line


def test_every_verb_and_option_is_on_the_page() -> None:
    text = manual.page().replace(r"\-", "-")
    for name, verb in documentation.verbs().items():
        section = re.split(rf"^\.SS \\fBlabkit {name}\\fR", text, flags=re.MULTILINE)[1]
        section = re.split(r"^\.S[SH] ", section, flags=re.MULTILINE)[0]
        for part in verb.params:
            for option in part.opts if part.param_type_name == "option" else ():
                assert rf"\fB{option}\fR" in section, f"labkit {name} {option}"


def test_exit_codes_files_and_variables_are_on_the_page() -> None:
    text = manual.page()
    assert re.findall(r"^\.SH ([A-Z ]+)$", text, re.MULTILINE)[-4:] == [
        "EXIT STATUS",
        "FILES",
        "ENVIRONMENT",
        "SEE ALSO",
    ]
    for words in ("130", "state.json", "LABKIT_CACHE_DIR"):
        assert rf"\fB{words}\fR" in text
