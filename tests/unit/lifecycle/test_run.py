from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Literal, NoReturn
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from labkit.cli.app import add_verbs, app
from labkit.errors import HostError, OperationError, TimeOver, UsageError
from labkit.lifecycle.run import LabRun, plan, run
from labkit.state.directory import DeploymentState, LabState
from labkit.state.lock import LabInUseError
from labkit.verify.check import Result, Verdict
from labkit.verify.report import Report
from tests.fakes.libvirt import FakeHost
from tests.support import labs, sessions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.state.session import Session


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


def test_junit_has_stages_and_checks_and_no_control_characters() -> None:
    job = LabRun(lab="demo", verification=report(Verdict.FAILED))
    job.stages.run("up", lambda: "changed")
    with pytest.raises(OperationError):
        job.stages.run("deploy", fail)
    root = ET.fromstring(job.junit())  # noqa: S314 -- just written
    stages, node = root.findall("testsuite")
    assert (stages.get("tests"), stages.get("errors")) == ("2", "1")
    assert [case.get("name") for case in stages] == ["up", "deploy"]
    error = stages.find("testcase/error")
    assert error is not None
    assert error.get("message") == "It [31mbroke."
    assert node.get("failures") == "1"


def test_json_has_everything_a_machine_asks_for() -> None:
    job = LabRun(lab="demo", verification=report())
    job.stages.run("up", lambda: "changed")
    data = json.loads(json.dumps(job.as_json()))
    assert data["passed"] is True
    assert data["stages"][0]["name"] == "up"
    assert data["verification"]["passed"] is True
    assert data["destroyed"] is False


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--timeout", "soon"], "'soon' is no time"),
        (["--destroy", "--timeout", "soon"], "'soon' is no time"),
        (["--destroy", "always", "--timeout", "soon"], "'soon' is no time"),
        (["--destroy=on-success", "--timeout", "soon"], "'soon' is no time"),
        (["--junit", "/nowhere/at/all/x.xml"], "The directory of"),
    ],
)
def test_run_with_a_bad_option_ends_before_anything_is_done(words: list[str], told: str) -> None:
    add_verbs()
    done = CliRunner().invoke(app, ["run", *words])
    assert told in str(done.exception)


@pytest.mark.parametrize(
    ("word", "code"), [("--destroy=never-ever", 2), ("--destroy=", 2), ("--destroy perhaps", 2)]
)
def test_destroy_takes_only_the_words_it_knows(word: str, code: int) -> None:
    add_verbs()
    assert CliRunner().invoke(app, ["run", *word.split()]).exit_code == code


HOST_LAB = labs.lab("controller")


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: FakeHost) -> Session:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "records"))
    return sessions.session(tmp_path, HOST_LAB, host)


class Script:
    """The steps of a run as a test wants them, and what was done in which order."""

    def __init__(self, host: FakeHost, **failures: BaseException) -> None:
        self.host = host
        self.failures = failures
        self.done: list[str] = []
        self.verification = report()

    def steps(self) -> tuple[tuple[str, Callable[[Session, LabRun], str]], ...]:
        return tuple((name, partial(self._step, name)) for name in ("up", "snapshot", "deploy"))

    def _step(self, name: str, session: Session, result: LabRun) -> str:
        self.done.append(name)
        if name in self.failures:
            raise self.failures[name]
        if name == "up":
            self.host.add_lab(session.lab)
        if name == "deploy":
            result.verification = self.verification
        return f"{name} is done"

    def shield(self) -> None:
        self.done.append("shield")

    def run(self, session: Session, remove: Literal["never", "on-success", "always"]) -> LabRun:
        return run(session, remove=remove, shield=self.shield, steps=self.steps())


def test_run_does_its_steps_in_order_and_keeps_the_lab_unless_told(
    session: Session, host: FakeHost
) -> None:
    script = Script(host)
    result = script.run(session, "never")
    assert script.done == ["up", "snapshot", "deploy", "shield"]
    assert (result.passed, result.destroyed, len(host.domains)) == (True, False, 1)


@pytest.mark.parametrize("step", ["up", "snapshot", "deploy"])
@pytest.mark.parametrize(
    "error",
    [
        OperationError("It broke."),
        KeyboardInterrupt(),
        TimeOver(OperationError("late")),
        OSError(),
    ],
)
def test_run_that_fails_reports_the_first_error_and_is_destroyed_when_told(
    session: Session, host: FakeHost, step: str, error: BaseException
) -> None:
    script = Script(host, **{step: error})
    result = script.run(session, "always")
    assert script.done[-2:] == [step, "shield"]
    assert result.error is error
    assert [(each.name, bool(each.error)) for each in result.stages.ended[-2:]] == [
        (step, True),
        ("destroy", False),
    ]
    assert (result.passed, result.destroyed, host.domains) == (False, True, {})


def test_run_that_failed_is_kept_when_only_success_removes_it(
    session: Session, host: FakeHost
) -> None:
    result = Script(host, deploy=OperationError("It broke.")).run(session, "on-success")
    assert (result.destroyed, len(host.domains)) == (False, 1)


def test_run_with_a_failed_check_is_kept_when_only_success_removes_it(
    session: Session, host: FakeHost
) -> None:
    script = Script(host)
    script.verification = report(Verdict.FAILED)
    assert not script.run(session, "on-success").destroyed
    assert len(host.domains) == 1


def test_run_that_passed_is_removed_on_success(session: Session, host: FakeHost) -> None:
    assert Script(host).run(session, "on-success").destroyed
    assert host.domains == {}


def test_run_whose_teardown_fails_keeps_the_first_error_and_says_both(
    session: Session, host: FakeHost
) -> None:
    host.fail("undefine", "demo_controller", OperationError("libvirt refuses."))
    result = Script(host, deploy=OperationError("It broke.")).run(session, "always")
    assert str(result.error) == "It broke."
    assert [each.error.partition("\n")[0] for each in result.stages.ended[-2:]] == [
        "It broke.",
        "Not everything of the lab 'demo' could be removed.",
    ]
    assert not result.destroyed


def test_run_on_a_lab_that_another_labkit_works_on_never_destroys_it(
    session: Session, host: FakeHost
) -> None:
    host.add_lab(HOST_LAB)
    result = Script(host, up=LabInUseError("in use")).run(session, "always")
    assert (result.destroyed, len(host.domains)) == (False, 1)


def test_run_of_a_real_up_without_libvirt_ends_with_that_error(
    session: Session, host: FakeHost, tmp_path: Path
) -> None:
    host.fail("connect", "", HostError("libvirtd does not answer."))
    result = run(session, source="no-such-snapshot", remove="always")
    assert result.error is not None
    assert result.stages.ended[0].name == "restore"
    assert not (tmp_path / ".labkit").exists()


def test_plan_of_a_run_says_every_stage_in_order(session: Session) -> None:
    up_, snapshot, *deploying, end = plan(session, source="", remove="on-success")
    assert up_ == "would create controller"
    assert snapshot == "would take the snapshot 'pre-packstack'"
    assert deploying[0].startswith("would prepare controller, ")
    assert deploying[-1] == "would verify the result"
    assert end == "would remove the lab if all checks pass"


def test_plan_of_a_run_of_a_lab_that_is_there_and_deployed(
    session: Session, host: FakeHost
) -> None:
    host.add_lab(HOST_LAB)
    session.directory.create()
    state = LabState(lab="demo", lab_id=HOST_LAB.lab_id)
    deployed = DeploymentState(deployed=("controller",))
    session.directory.save(state.model_copy(update={"deployment": deployed}))
    lines = plan(session, source="", remove="never")
    assert lines[0] == "would keep controller"
    assert lines[-1] == "would verify the result"
    assert not any("snapshot" in line or "remove" in line for line in lines)


def test_plan_of_a_run_from_a_snapshot_that_is_not_there_is_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="no snapshot"):
        plan(session, source="gone", remove="never")
