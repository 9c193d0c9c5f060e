"""Tests that re-enter a sandbox are reported as pytest itself reports a test; `env` stands in for one."""

from __future__ import annotations

import subprocess  # noqa: TID251 -- a pytest that has to be killed half-way
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from labkit.host.process import CommandResult, environment, run
from labkit.waiting import Deadline, NotYet, wait_until
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

CONFTEST = """\
import os
from pathlib import Path
import pytest
from tests.support.reentry import PIPE, Reentry, Sender

def enter(command):
    return ["sh", "-c", {script!r}, "sh", *command]

def prepare():
    {prepare}

def pytest_configure(config):
    if "INSIDE" in os.environ:
        config.pluginmanager.register(Sender(config, Path(os.environ[PIPE])))
    else:
        here = Path(__file__).parent
        config.pluginmanager.register(Reentry(here, prepare=prepare, enter=enter, grace={grace}))
"""
MODULE = """\
import os
import pathlib
import sys
import time
import pytest

HERE = pathlib.Path(__file__).parent

@pytest.fixture(scope="module")
def lab():
    with (HERE / "labs").open("a") as stream:
        stream.write(f"{os.getpid()}\\n")
    yield os.environ["INSIDE"]
    (HERE / "removed").touch()

@pytest.fixture
def broken():
    raise RuntimeError("no such fixture")

def test_good(lab):
    print("what it printed")

def test_bad(lab):
    print("before it failed")
    assert lab == "2"
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the pytest outside told: its own result, and of each test its outcome and texts."""

    result: CommandResult
    tests: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Suite:
    """A directory of tests of its own, whose `inside` re-enters."""

    directory: Path

    def write(self, name: str, text: str) -> None:
        (self.directory / "inside" / name).write_text(text, encoding="utf-8")

    def conftest(
        self, *, before: str = "", after: str = "", prepare: str = "pass", grace: float = 60
    ) -> None:
        inside = 'env INSIDE=1 "$@"'
        script = (
            f"{before} {inside}; code=$?; {after} exit $code"
            if after
            else f"{before} exec {inside}"
        )
        text = CONFTEST.replace("{script!r}", repr(script))
        text = text.replace("{prepare}", prepare).replace("{grace}", str(grace))
        self.write("conftest.py", text)

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *words]

    def env(self) -> dict[str, str]:
        return environment(PYTHONPATH=str(ROOT), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")

    def run(self, *words: str) -> Outcome:
        report = self.directory / "report.xml"
        report.unlink(missing_ok=True)
        result = run(
            self.argv(f"--junitxml={report}", *words),
            cwd=self.directory,
            env=self.env(),
            timeout=60,
            check=False,
        )
        return Outcome(result=result, tests=told_by(report))


def once(condition: Callable[[], bool]) -> Callable[[], None]:
    """Return a check that is passed when the condition holds."""

    def check() -> None:
        if not condition():
            raise NotYet

    return check


def told_by(report: Path) -> dict[str, tuple[str, str]]:
    """Return (outcome, texts) of each test in a JUnit file."""
    told = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 -- written by our own pytest
        outcomes = [child.tag for child in case if child.tag != "system-out"]
        texts = [(child.get("message") or "") + (child.text or "") for child in case]
        told[case.get("name", "")] = ("+".join(outcomes) or "passed", "\n".join(texts))
    return told


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "inside").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest]\naddopts = ["-p", "pytest_timeout", "-m", "not long"]\nmarkers = ["long: takes long"]\n'
        'timeout = "30"\njunit_logging = "system-out"\n'
    )
    made = Suite(tmp_path)
    made.conftest()
    made.write("test_one.py", MODULE)
    return made


def test_each_test_is_reported_with_its_own_outcome_and_traceback(suite: Suite) -> None:
    suite.write(
        "test_one.py",
        MODULE
        + "def test_error(broken): pass\n"
        + "@pytest.mark.xfail(strict=True)\ndef test_expected(): assert False\n"
        + "@pytest.mark.parametrize('n', ['a b', 'c::d'])\ndef test_each(n): pass\n",
    )

    found = suite.run()

    assert {name: outcome for name, (outcome, _) in found.tests.items()} == {
        "test_good": "passed",
        "test_bad": "failure",
        "test_error": "error",
        "test_expected": "skipped",
        "test_each[a b]": "passed",
        "test_each[c::d]": "passed",
    }
    assert 'assert lab == "2"' in found.tests["test_bad"][1]
    assert "no such fixture" in found.tests["test_error"][1]
    assert "what it printed" in found.result.stdout
    assert "before it failed" in found.result.stdout
    line = MODULE[: MODULE.index("assert lab")].count("\n") + 1
    assert f"inside/test_one.py:{line}: AssertionError" in found.result.stdout
    assert "3 passed, 1 xfailed, 1 error" in found.result.stdout
    # One sandbox for the module, and its fixture was torn down.
    assert len((suite.directory / "inside" / "labs").read_text().splitlines()) == 1
    assert (suite.directory / "inside" / "removed").exists()


def test_each_module_has_a_sandbox_of_its_own(suite: Suite) -> None:
    suite.write("test_two.py", MODULE)
    suite.run()
    assert len(set((suite.directory / "inside" / "labs").read_text().splitlines())) == 2


def test_skip_inside_is_a_failure_with_its_reason(suite: Suite) -> None:
    suite.write("test_one.py", "import pytest\ndef test_it(): pytest.skip('no tool')\n")
    found = suite.run()
    assert found.result.returncode == 1
    outcome, text = found.tests["test_it"]
    assert outcome == "failure"
    assert "no tool" in text


def test_sandbox_that_dies_is_an_error_of_the_tests_that_did_not_report(suite: Suite) -> None:
    suite.conftest(before="echo the sandbox said this;")
    suite.write(
        "test_one.py", MODULE.replace('print("before it failed")', "os.kill(os.getpid(), 9)")
    )
    suite.write("test_two.py", "def test_two(): pass\n")

    found = suite.run()

    assert found.tests["test_good"][0] == found.tests["test_two"][0] == "passed"
    outcome, text = found.tests["test_bad"]
    assert outcome == "error"
    assert "ended with exit code -9 before this test did" in text
    assert "the sandbox said this" in text


def test_sandbox_that_never_starts_is_an_error_of_every_test(suite: Suite) -> None:
    suite.conftest(before="echo no libvirtd; exit 3;")
    found = suite.run()
    assert {outcome for outcome, _ in found.tests.values()} == {"error"}
    assert "no libvirtd" in found.tests["test_good"][1]
    assert "no libvirtd" not in found.tests["test_bad"][1], "the output is told once"


def test_sandbox_that_fails_after_its_last_test_is_an_error(suite: Suite) -> None:
    suite.conftest(after="echo could not clean up; code=3;")
    found = suite.run("-k", "good")
    assert found.result.returncode == 1
    assert "could not clean up" in found.tests["test_good"][1]


def test_sandbox_that_hangs_is_killed_when_the_tests_time_is_over(suite: Suite) -> None:
    suite.conftest(before="echo hanging; exec sleep 50;", grace=1.5)
    suite.write("test_one.py", "import pytest\n@pytest.mark.timeout(0.5)\ndef test_it(): pass\n")
    found = suite.run()
    assert found.result.seconds < 20
    outcome, text = found.tests["test_it"]
    assert outcome == "error"
    assert "no report came within 2 s" in text
    assert "hanging" in text


def test_time_limit_is_held_inside_and_told_at_the_line_that_waits(suite: Suite) -> None:
    suite.write(
        "test_one.py", MODULE + "@pytest.mark.timeout(1)\ndef test_slow():\n    time.sleep(50)\n"
    )
    found = suite.run("-k", "slow")
    assert "Timeout" in found.tests["test_slow"][1]


@pytest.mark.parametrize(
    "words", [("-k", "good"), ("inside/test_one.py::test_good",), ("-m", "not long", "-k", "good")]
)
def test_chosen_tests_alone_are_run(suite: Suite, words: tuple[str, ...]) -> None:
    found = suite.run(*words)
    assert list(found.tests) == ["test_good"]
    assert found.result.returncode == 0


def test_first_failure_ends_all_with_x(suite: Suite) -> None:
    suite.write(
        "test_one.py",
        MODULE + "def test_later():\n    time.sleep(50)\n",
    )
    found = suite.run("-x")
    assert list(found.tests) == ["test_good", "test_bad"]
    assert found.result.seconds < 30


def test_sandbox_ends_with_the_pytest_outside_however_that_ends(suite: Suite) -> None:
    suite.write(
        "test_one.py",
        MODULE + "def test_hangs(lab):\n    (HERE / 'hangs').touch()\n    time.sleep(50)\n",
    )
    here = suite.directory / "inside"
    with subprocess.Popen(
        suite.argv("-k", "hangs"), cwd=suite.directory, env=suite.env()
    ) as outer:
        wait_until(once((here / "hangs").exists), what="the test", deadline=Deadline.after(30))
        outer.kill()
    inner = Path("/proc", (here / "labs").read_text().strip())
    wait_until(once(lambda: not inner.exists()), what="its end", deadline=Deadline.after(5))


def test_host_without_a_sandbox_skips_with_the_reason(suite: Suite) -> None:
    suite.conftest(prepare="pytest.skip('needs root')")
    found = suite.run()
    assert {outcome for outcome, _ in found.tests.values()} == {"skipped"}
    assert "needs root" in found.tests["test_good"][1]
    assert found.result.returncode == 0


def test_tests_elsewhere_run_as_ever_before_and_after(suite: Suite) -> None:
    for name in ("beside/test_before.py", "other/test_after.py"):
        path = suite.directory / name
        path.parent.mkdir()
        path.write_text("import os\ndef test_it(): assert 'INSIDE' not in os.environ\n")
    within = suite.directory / "beside" / "inside"
    (suite.directory / "inside").rename(within)
    found = suite.run("beside/test_before.py", f"{within}/test_one.py::test_good", "other")
    assert found.result.returncode == 0, found.result.stdout
    assert "3 passed" in found.result.stdout
