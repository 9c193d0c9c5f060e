from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labkit.cli.documents import (
    FORMAT,
    WITHOUT_FLAG,
    ReportedError,
    document,
    error_data,
    expected,
    is_asked_for,
    print_judged,
)
from labkit.cli.run import _write_run
from labkit.errors import HostError, LabkitError, TimeOver, UsageError
from labkit.lifecycle.run import LabRun
from tests.support.documentation import verbs
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from tests.support.commandline import Ended, Run

ERROR = HostError("No space is left.", details=("/var: full",), hint="'labkit destroy' frees it.")
TOLD = {
    "message": "No space is left.",
    "details": ["/var: full"],
    "hint": "'labkit destroy' frees it.",
    "exit_code": 3,
    "log": None,
}


@pytest.fixture
def lab(run: Run) -> Path:  # noqa: ARG001 -- it has to change the directory first
    shutil.copy(ROOT / "lab.yaml", "lab.yaml")
    return Path("lab.yaml")


def told(ended: Ended) -> dict[str, Any]:
    """Return the one document on standard output."""
    found: dict[str, Any] = json.loads(ended.out)
    assert next(iter(found.items())) == ("format", FORMAT)
    return found


def test_document_says_its_format_first() -> None:
    assert (
        document({"b": 1, "a": [2]}) == '{\n  "format": 1,\n  "b": 1,\n  "a": [\n    2\n  ]\n}\n'
    )


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (ERROR, "No space is left.", 3),
        (UsageError("No."), "No.", 2),
        (TimeOver(ERROR), "No space is left.", 3),
        (ReportedError(ERROR), "No space is left.", 3),
        (OSError(28, "No space left on device"), "No space is left for what labkit writes.", 3),
        (KeyboardInterrupt(), "interrupted", 130),
        (TypeError("a\nb"), "unexpected TypeError: a\nb", 4),
        (BrokenPipeError(32, "Broken pipe"), "unexpected BrokenPipeError", 4),
    ],
)
def test_error_is_told_with_its_exit_code_whatever_it_is(
    error: BaseException, message: str, code: int
) -> None:
    data: Any = error_data(error)["error"]
    assert data["message"].startswith(message)
    assert data["exit_code"] == code
    assert list(data) == list(TOLD)


def test_error_is_told_with_evidence_hint_and_log() -> None:
    assert error_data(ERROR) == {"error": TOLD}
    assert error_data(ERROR, "/x.log") == {"error": {**TOLD, "log": "/x.log"}}


def test_what_nobody_expected_is_none() -> None:
    assert expected(TypeError("x")) is None
    assert expected(LabkitError("x")) == LabkitError("x")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("status --json", True),
        ("box list --json", True),
        ("dance --json", True),
        ("--json", True),
        ("graph --json", True),
        ("status", False),
        ("cp -- --json there", False),
        ("ssh controller --json", False),
        ("openstack server list --json", False),
        ("sandbox labkit status --json", False),
        ("run --json file", False),
        ("", False),
    ],
)
def test_document_is_asked_for_by_labkits_own_option_alone(words: str, *, asked: bool) -> None:
    assert is_asked_for(words.split()) is asked


def test_verbs_without_the_flag_are_those_whose_words_are_not_labkits() -> None:
    found = set()
    for name, verb in verbs().items():
        for words in (["x", "--json", "y"], ["--json", "y"]):
            try:
                params = verb.make_context(name, list(words)).params
            except Exception:  # noqa: BLE001, S112 -- typer's own, which is private
                continue
            if not params.get("as_json"):
                found.add(name)
    assert found == WITHOUT_FLAG


def test_report_with_an_error_is_one_document_and_ends_the_verb(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ReportedError) as ended:
        print_judged({"findings": []}, ERROR)
    assert ended.value.error is ERROR
    found = json.loads(capsys.readouterr().out)
    assert found == {"format": FORMAT, "findings": [], "error": TOLD}


def test_report_without_an_error_has_none_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_judged({"findings": []}, None)
    assert json.loads(capsys.readouterr().out) == {"format": FORMAT, "findings": []}


def test_broken_lab_file_is_an_error_document_and_told_to_a_person_too(run: Run) -> None:
    Path("lab.yaml").write_text("name: UPPER\n", encoding="utf-8")
    ended = run("validate", "--json")
    error = told(ended)["error"]
    assert (ended.code, error["exit_code"]) == (2, 2)
    assert any(line.startswith("lab.yaml:1:") for line in error["details"])
    assert ended.err.startswith(f"error: {error['message']}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["up", "--no-such-option", "--json"], "No such option: --no-such-option"),
        (["add-compute", "--json"], "Missing argument 'node'."),
        (["up", "--parallel", "no", "--json"], "Invalid value for '--parallel'"),
        (["dance", "--json"], "No such command 'dance'."),
        (["box", "dance", "--json"], "No such command 'dance'."),
        (["graph", "--json"], "No such option: --json"),
    ],
)
def test_command_line_that_is_not_understood_is_an_error_document(
    run: Run, words: list[str], message: str
) -> None:
    ended = run(*words)
    error = told(ended)["error"]
    assert (ended.code, error["exit_code"]) == (2, 2)
    assert error["message"].startswith(message)
    assert error["hint"].endswith("--help'.")
    assert "Usage: " in ended.err


@pytest.mark.parametrize("words", [["status", "--no-such-option"], ["run", "--json"], ["dance"]])
def test_command_line_without_the_flag_prints_no_document(run: Run, words: list[str]) -> None:
    ended = run(*words)
    assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize("words", [["up", "--json", "--help"], ["scenarios", "--json"]])
def test_command_that_does_not_fail_has_no_error(run: Run, words: list[str]) -> None:
    ended = run(*words)
    assert ended.code == 0
    assert '"error"' not in ended.out


@pytest.mark.usefixtures("lab")
def test_valid_lab_file_is_told_with_its_nodes(run: Run) -> None:
    assert told(run("validate", "--json")) == {
        "format": FORMAT,
        "file": "lab.yaml",
        "lab": "packstack",
        "nodes": ["controller", "compute"],
    }


@pytest.mark.usefixtures("lab")
def test_box_verbs_tell_programs_what_they_would_do(run: Run) -> None:
    built = told(run("box", "build", "rehearsal", "--dry-run", "--json"))
    assert built == {
        "format": FORMAT,
        "dry_run": True,
        "name": "rehearsal",
        "built": True,
        "file": None,
    }
    plain = run("box", "build", "rehearsal", "--dry-run")
    assert plain.out == "rehearsal: to be built, it never was\n"
    assert not Path("cache").exists()
    missing = run("box", "verify", "rehearsal", "--json")
    assert (missing.code, told(missing)["error"]["exit_code"]) == (4, 4)


@pytest.mark.usefixtures("lab")
def test_killing_a_run_tells_programs_too(run: Run) -> None:
    found = told(run("deploy", "--kill", "--dry-run", "--json"))
    assert found["plan"] == ["would end the Packstack run that is under way, if there is one"]


@pytest.mark.usefixtures("lab")
def test_deletion_of_snapshots_tells_programs_too(run: Run) -> None:
    found = told(run("snapshot", "--delete", "--all", "--json"))
    assert found == {"format": FORMAT, "lab": "packstack", "dry_run": False, "deleted": []}


def test_run_that_cannot_begin_leaves_no_earlier_report(run: Run) -> None:
    Path("lab.yaml").write_text("name: UPPER\n", encoding="utf-8")
    Path("lab.json").write_text('{"passed": true}', encoding="utf-8")
    ended = run("run", "--json", "lab.json")
    found = json.loads(Path("lab.json").read_text(encoding="utf-8"))
    assert (ended.code, ended.out, list(found)) == (
        2,
        "",
        ["format", "dry_run", "passed", "error"],
    )
    assert found["passed"] is False
    assert found["error"]["exit_code"] == 2


@pytest.mark.parametrize(("error", "told_of"), [(None, None), (ERROR, TOLD)])
def test_report_of_a_run_has_the_error_that_ended_it(
    tmp_path: Path, error: HostError | None, told_of: object
) -> None:
    _write_run(LabRun(lab="demo", error=error), None, tmp_path / "lab.json")
    found = json.loads((tmp_path / "lab.json").read_text(encoding="utf-8"))
    assert (found["format"], found["dry_run"], found["lab"]) == (FORMAT, False, "demo")
    assert (found["passed"], found["error"]) == (False, told_of)


@pytest.mark.usefixtures("lab")
def test_junit_has_nothing_to_say_of_a_dry_run(run: Run) -> None:
    ended = run("run", "--dry-run", "--junit", "lab.xml")
    assert ended.code == 2
    assert "'--junit' has nothing to report" in ended.err
    assert not Path("lab.xml").exists()


def test_interruption_is_a_document(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        def __getattr__(self, _name: str) -> object:
            raise KeyboardInterrupt

    # What `explain -` reads.
    monkeypatch.setattr(sys, "stdin", Interrupting())
    ended = run("explain", "-", "--json")
    assert (ended.code, told(ended)["error"]["message"]) == (130, "interrupted")
