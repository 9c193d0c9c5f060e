from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit import errors
from labkit.cli import app as cli
from labkit.cli import documents
from labkit.lab import scenarios
from labkit.lab.file import json_schema, load
from tests.support import documentation
from tests.support.documentation import NOT_RUN, PAGES, ROOT, WALKED, Command
from tests.support.examples import example

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = [command for page in PAGES for command in documentation.commands(page)]
CHEAP = [command for command in ALL if documentation.CHEAP.fullmatch(command.text)]
MADE: dict[str, Callable[[], str]] = {
    "docs/reference/cli.md": documentation.verb_sections,
    "docs/reference/lab-file.md": documentation.key_tables,
    "docs/how-to/install.md": documentation.install_lines,
    "docs/reference/checks.md": documentation.checks_page,
    "docs/reference/vagrant-environment.md": documentation.vagrant_rules,
    "docs/reference/answer-keys.md": documentation.answer_keys,
    "docs/reference/known-failures.md": documentation.known_failures,
}
MAX_COLUMNS = 120
SCHEMA = ROOT / "docs" / "reference" / "lab.schema.json"
TROUBLESHOOTING = "docs/how-to/troubleshooting.md"


def run_labkit(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["labkit", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def words(command: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", command))


@pytest.mark.parametrize("command", CHEAP, ids=lambda command: command.place)
def test_command_of_a_page_succeeds_and_prints_what_the_page_shows(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = documentation.labs(command.page)
    lab = tmp_path / "lab.yaml"
    # lab-file.md shows a small lab, but its commands are about the project's own.
    if whole and command.page in WALKED:
        lab.write_text(whole[0], encoding="utf-8")
    else:
        shutil.copy(ROOT / "lab.yaml", lab)
    # The outputs that pages judge with `verify --from`.
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "cache"))

    called, _, target = command.text.partition(" > ")
    code = run_labkit(shlex.split(called)[1:], monkeypatch)

    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert printed.out or not target, "nothing for the file it is sent to"
    if command.output:
        assert documentation.shown(printed.out, printed.err) == command.output


def test_every_command_of_the_pages_is_run_by_a_test_or_has_its_reason() -> None:
    walked = {command.text for page in WALKED for command in documentation.commands(page)}
    run = walked | {command.text for command in CHEAP}

    assert [each.place for each in ALL if each.text not in run | set(NOT_RUN)] == []
    assert set(NOT_RUN) - {command.text for command in ALL} == set(), "stale reasons"


@pytest.mark.parametrize("page", MADE)
def test_reference_page_says_what_the_program_says(
    page: str, request: pytest.FixtureRequest
) -> None:
    expected = documentation.with_generated(page, MADE[page]())
    if request.config.getoption("--regenerate"):
        PAGES[page].write_text(expected, encoding="utf-8")

    assert documentation.text(page) == expected, "see 'pytest --regenerate'"


def test_verb_sections_name_every_verb_and_option() -> None:
    made = documentation.verb_sections()

    for name, verb in documentation.verbs().items():
        section = made.split(f"### labkit {name}\n")[1].split("### ")[0]
        for parameter in verb.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert re.search(rf"`{option}[ `]", section), f"labkit {name} {option}"


def test_messages_of_the_troubleshooting_page_are_the_programs() -> None:
    told = {
        node.value
        for file in (ROOT / "labkit").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    headings = re.findall(r"^### (.+)$", documentation.text(TROUBLESHOOTING), re.MULTILINE)
    assert len(headings) >= 20
    parts = {part.strip(" '.") for heading in headings for part in heading.split("…")}
    assert [part for part in sorted(parts) if not any(part in text for text in told)] == []


def test_every_verb_stands_once_in_the_table_of_what_verbs_change() -> None:
    verbs = re.findall(r"^### labkit (.+)$", documentation.verb_sections(), re.MULTILINE)
    table = documentation.text("docs/reference/cli.md").split("## What each verb changes")[1]
    rows = re.findall(r"^\| (`[^|]+`) \|", table.split("\n## ")[0], re.MULTILINE)
    assert sorted(verb for row in rows for verb in words(row)) == sorted(verbs)


def test_verbs_that_take_json_are_those_the_page_names() -> None:
    sections = re.split(r"^### labkit ", documentation.verb_sections(), flags=re.MULTILINE)[1:]
    taking = {each.split("\n")[0] for each in sections if "\n| `--json` |" in each}
    page = documentation.text("docs/reference/cli.md").split("## Output for programs")[1]
    assert words(page.split(" take `--json`")[0]) == taking


def test_key_tables_name_every_key_of_the_schema() -> None:
    schema = json_schema()
    keys = {
        key for part in (schema, *schema["$defs"].values()) for key in part.get("properties", {})
    }

    named = set(re.findall(r"^\| `(\w+)` \|", documentation.key_tables(), re.MULTILINE))

    assert keys == named


def test_published_schema_is_the_programs(request: pytest.FixtureRequest) -> None:
    expected = json.dumps(json_schema(), indent=2) + "\n"
    if request.config.getoption("--regenerate"):
        SCHEMA.write_text(expected, encoding="utf-8")

    assert SCHEMA.read_text(encoding="utf-8") == expected, "see 'pytest --regenerate'"


def test_exit_code_table_agrees_with_the_errors() -> None:
    classes = {
        name: kind.exit_code
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.LabkitError)
    }
    page = documentation.text("docs/reference/exit-codes-and-files.md")
    rows = re.findall(r"^\| (\d+) \| (.+?) \| ?(.*?) ?\|$", page, re.MULTILINE)

    assert {name: int(code) for code, _, names in rows for name in words(names)} == classes
    assert {code: meaning for code, meaning, _ in rows}[str(documents.INTERRUPTED)].startswith(
        "interrupted"
    )
    assert [int(code) for code, _, _ in rows] == sorted(
        {0, 1, documents.INTERRUPTED, *classes.values()}
    )


def test_environment_table_names_every_variable_of_the_code() -> None:
    sources = [*(ROOT / "labkit").rglob("*.py"), ROOT / "Vagrantfile.j2"]
    used = {
        name
        for source in sources
        for name in re.findall(r"""["'](LABKIT_[A-Z_]+)["']""", source.read_text(encoding="utf-8"))
    }
    page = documentation.text("docs/reference/exit-codes-and-files.md")

    assert set(re.findall(r"^\| `(LABKIT_[A-Z_]+)` \|", page, re.MULTILINE)) == used


@pytest.mark.parametrize(
    ("page", "lab"), [(page, lab) for page in PAGES for lab in documentation.labs(page)]
)
def test_lab_file_of_a_page_is_valid(page: str, lab: str, tmp_path: Path) -> None:
    path = tmp_path / Path(page).with_suffix(".yaml").name
    path.write_text(lab, encoding="utf-8")

    load(path)


@pytest.mark.parametrize(
    ("page", "part"),
    [
        (page, block)
        for page in PAGES
        for _, block in documentation.blocks(page, "yaml")
        if block.startswith(("deployment:", "nodes:"))
    ],
)
def test_part_of_a_lab_file_in_a_page_fits_into_the_default_lab(
    page: str, part: str, tmp_path: Path
) -> None:
    whole = (ROOT / "lab.yaml").read_text(encoding="utf-8")
    before, own = whole.split("deployment:\n")
    if part.startswith("nodes:"):
        text = f"{before}{part.removeprefix('nodes:')}deployment:\n{own}"
    else:
        text = f"{before}{part}"
    path = tmp_path / Path(page).with_suffix(".yaml").name
    path.write_text(text, encoding="utf-8")

    load(path)


def test_packstack_commands_of_the_pages_are_those_labkit_runs() -> None:
    lab = example("packstack")
    asked = [
        replace(
            lab, deployment=replace(lab.deployment, scenario=each.name, form=form, lbaas=lbaas)
        )
        for each in scenarios.all_scenarios()
        for form in each.forms
        for lbaas in (True, False)
    ]
    known = {scenarios.call(each, {}).command_line() for each in asked}

    shown = [
        " ".join(block.replace("\\\n", " ").split())
        for page in PAGES
        for _, block in documentation.blocks(page, "text")
        if block.startswith("packstack ")
    ]

    assert shown
    assert [command for command in shown if command not in known] == []


@pytest.mark.parametrize("name", scenarios.names())
def test_scenario_has_a_page_that_the_index_leads_to(name: str) -> None:
    page = "add-a-compute-node" if name == "add-compute" else f"scenario-{name}"

    assert f"docs/how-to/{page}.md" in PAGES
    assert f"(how-to/{page}.md)" in documentation.text("docs/index.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", documentation.prose(page)):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        found = (PAGES[page].parent / path).resolve() if path else PAGES[page]
        if not found.exists() or (anchor and anchor not in anchors(found)):
            wrong.append(target)

    assert wrong == []


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_verbs_and_targets_a_page_mentions_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    verbs = set(documentation.verbs()) | {"box", "VERB"}
    mentioned = [
        *words(documentation.prose(page)),
        *(each.text for each in ALL if each.page == page),
    ]
    unknown = []
    for text in mentioned:
        named = re.match(r"labkit (-\S+|\w+)(?=\s|$)(?: (\w+))?", text)
        if named and not named[1].startswith("-"):
            pair = f"{named[1]} {named[2]}" if named[1] == "box" and named[2] else named[1]
            unknown += [text] if pair not in verbs else []
        made = re.match(r"(?:sudo )?make ([\w-]+)", text)
        unknown += [text] if made and made[1] not in targets else []

    assert unknown == []


@pytest.mark.parametrize("page", PAGES)
def test_lines_of_a_page_fit_the_limit(page: str) -> None:
    # A table's row cannot be wrapped.
    long = [
        number
        for number, line in enumerate(documentation.text(page).splitlines(), start=1)
        if len(line) > MAX_COLUMNS and not line.startswith("|")
    ]

    assert long == []
