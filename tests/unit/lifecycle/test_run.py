from __future__ import annotations

import json
from typing import NoReturn
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from labkit.cli.app import add_verbs, app
from labkit.errors import OperationError
from labkit.lifecycle.run import LabRun
from labkit.verify.check import Result, Verdict
from labkit.verify.report import Report


def result(verdict: Verdict) -> Result:
    return Result(node="controller", check="br-int", summary="It is there.", verdict=verdict)


def report(verdict: Verdict = Verdict.OK) -> Report:
    return Report(lab="demo", results=(result(verdict),))


def fail() -> NoReturn:
    message = "It \x1b[31mbroke."
    raise OperationError(message, details=("because",), hint="mend it")


def test_run_passes_only_with_green_checks_and_without_errors() -> None:
    assert not LabRun(lab="demo").passed
    assert LabRun(lab="demo", verification=report()).passed
    assert not LabRun(lab="demo", verification=report(Verdict.FAILED)).passed
    assert not LabRun(lab="demo", verification=report(Verdict.NOT_JUDGED)).passed
    assert not LabRun(lab="demo", verification=report(), error=KeyboardInterrupt()).passed


def test_stage_keeps_its_result_or_its_error_and_raises_it() -> None:
    run = LabRun(lab="demo")
    run.stage("up", lambda: "changed")
    with pytest.raises(OperationError):
        run.stage("deploy", fail)
    first, second = run.stages
    assert (first.name, first.result, first.error) == ("up", "changed", "")
    assert second.error == "It \x1b[31mbroke.\nbecause\nhint: mend it"
    assert first.seconds >= 0


def test_interruption_is_a_stages_error() -> None:
    def interrupted() -> NoReturn:
        raise KeyboardInterrupt

    run = LabRun(lab="demo")
    with pytest.raises(KeyboardInterrupt):
        run.stage("up", interrupted)
    assert run.stages[0].error == "interrupted"


def test_junit_has_stages_and_checks_and_no_control_characters() -> None:
    run = LabRun(lab="demo", verification=report(Verdict.FAILED))
    run.stage("up", lambda: "changed")
    with pytest.raises(OperationError):
        run.stage("deploy", fail)
    root = ET.fromstring(run.junit())  # noqa: S314 -- just written
    stages, node = root.findall("testsuite")
    assert (stages.get("tests"), stages.get("errors")) == ("2", "1")
    assert [case.get("name") for case in stages] == ["up", "deploy"]
    error = stages.find("testcase/error")
    assert error is not None
    assert error.get("message") == "It [31mbroke."
    assert node.get("failures") == "1"


def test_json_has_everything_a_machine_asks_for() -> None:
    run = LabRun(lab="demo", verification=report())
    run.stage("up", lambda: "changed")
    data = json.loads(json.dumps(run.as_json()))
    assert data["passed"] is True
    assert data["stages"][0]["name"] == "up"
    assert data["verification"]["passed"] is True
    assert data["destroyed"] is False


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--timeout", "soon"], "'soon' is no time"),
        (["--junit", "/nowhere/at/all/x.xml"], "The directory of"),
    ],
)
def test_run_with_a_bad_option_ends_before_anything_is_done(words: list[str], told: str) -> None:
    add_verbs()
    done = CliRunner().invoke(app, ["run", *words])
    assert told in str(done.exception)


@pytest.mark.parametrize(("word", "code"), [("--destroy=never-ever", 2), ("--destroy=", 2)])
def test_destroy_takes_only_the_words_it_knows(word: str, code: int) -> None:
    add_verbs()
    assert CliRunner().invoke(app, ["run", word]).exit_code == code
