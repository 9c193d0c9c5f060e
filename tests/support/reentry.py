"""Tests that run in a sandbox and are reported where they are written.

Outside, `Reentry` takes the place of pytest's own run of a test: it starts one pytest in a sandbox
for each module, with the chosen tests, and repeats every report that one sends as the test's own.
Inside, `Sender` sends them: one line of JSON each, through a named pipe.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess  # noqa: TID251 -- a pytest that runs while its reports are read
import sys
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

import pytest

from labkit.waiting import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_timeout import Settings  # type: ignore[import-untyped]  # it has no annotations

PIPE = "LABKIT_E2E_REPORTS"  # where the sender finds the pipe
LOOK_SECONDS = 0.5
CHUNK = 65536
COMPLETE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


class Sender:
    """Inside: sends each report to the pytest outside."""

    def __init__(self, config: pytest.Config, pipe: Path) -> None:
        self._config = config
        self._stream = pipe.open("w", encoding="utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._stream.write(json.dumps(data, default=str) + "\n")
        self._stream.flush()


class LostError(Exception):
    """A sandbox that did not do what it was started for."""


@dataclass(kw_only=True)
class Module:
    """One module's tests, running in a sandbox whose pipe and output are in a directory."""

    directory: TemporaryDirectory[str]
    pipe: int
    child: subprocess.Popen[bytes]
    reports: dict[str, list[pytest.TestReport]] = field(default_factory=dict)
    unread: bytes = b""
    told: bool = False

    def reports_of(self, item: pytest.Item, seconds: float) -> Iterator[pytest.TestReport]:
        """Yield a test's reports as they come, up to that of its teardown."""
        deadline = Deadline.after(seconds)
        while True:
            # Looked at before reading: whatever it wrote is in the pipe by then.
            code = self.child.poll()
            self.read(item.config, LOOK_SECONDS if code is None else 0)
            for report in self.reports.pop(item.nodeid, []):
                yield report
                if report.when == "teardown":
                    return
            if code is not None:
                self.lose(f"The sandbox ended with exit code {code} before this test did.")
            if deadline.expired():
                self.child.kill()
                self.lose(f"The sandbox was killed: no report came within {seconds:.0f} s.")

    def read(self, config: pytest.Config, seconds: float) -> None:
        """Read what has come, or wait for it."""
        while select.select([self.pipe], [], [], seconds)[0]:
            *lines, self.unread = (self.unread + os.read(self.pipe, CHUNK)).split(b"\n")
            for data in map(json.loads, lines):
                report = config.hook.pytest_report_from_serializable(config=config, data=data)
                self.reports.setdefault(report.nodeid, []).append(report)
            seconds = 0

    def end(self, seconds: float) -> None:
        """Wait for its end, when every test has reported."""
        try:
            code = self.child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.lose(f"The sandbox did not end within {seconds:.0f} s of this test.")
        if code not in COMPLETE:
            self.lose(f"The sandbox ended with exit code {code} after this test.")

    def lose(self, what: str) -> NoReturn:
        """Raise what happened; the first time with the sandbox's output."""
        output = Path(self.directory.name, "output").read_text(encoding="utf-8", errors="replace")
        msg = what if self.told else f"{what} Its output:\n{output}"
        self.told = True
        raise LostError(msg)

    def close(self) -> None:
        """Kill what is left of it; the sandbox leaves nothing."""
        self.child.kill()
        self.child.wait()
        os.close(self.pipe)
        self.directory.cleanup()


class Reentry:
    """Outside: runs the tests below a directory in sandboxes, one for each module.

    Args:
        directory: Tests elsewhere are left to pytest.
        prepare: Called once before the first test; skips or fails all of them by raising.
        enter: Turns a command into one that runs in a sandbox.
        grace: Seconds for sandbox and pytest, beside the time limit of the test itself.
    """

    def __init__(
        self,
        directory: Path,
        *,
        prepare: Callable[[], None],
        enter: Callable[[Sequence[str]], Sequence[str]],
        grace: float = 60,
    ) -> None:
        self._directory = directory
        self._prepare = prepare
        self._enter = enter
        self._grace = grace
        self._prepared: pytest.CallInfo[None] | None = None
        self._module: Module | None = None
        self._seconds = math.inf

    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Settings) -> bool | None:
        """Leave a test's time limit to the pytest inside, and note it."""
        if not item.path.is_relative_to(self._directory):
            return None
        self._seconds = settings.timeout
        return True

    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Repeat the reports of a test in the sandbox."""
        if not item.path.is_relative_to(self._directory):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        # What the tests before this one set up and those after it do not need: pytest's own run of
        # a test ends with that, and there is no public way to it without a set-up.
        item.session._setupstate.teardown_exact(nextitem)
        return True

    def pytest_unconfigure(self) -> None:
        """End a sandbox that was left early: after Ctrl-C, or with -x."""
        self._leave()

    def _reports(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Iterator[pytest.TestReport]:
        make_report = partial(item.ihook.pytest_runtest_makereport, item=item)
        if self._prepared is None:
            self._prepared = pytest.CallInfo.from_call(
                self._prepare, when="setup", reraise=KeyboardInterrupt
            )
        if self._prepared.excinfo is not None:
            yield make_report(call=self._prepared)
            return
        self._module = self._module or self._start(item)
        last = nextitem is None or nextitem.path != item.path
        lost = ""
        try:
            yield from map(refuse_skip, self._module.reports_of(item, self._seconds + self._grace))
            if last:
                self._module.end(self._grace)
        except LostError as exc:
            lost = str(exc)
        if lost:
            fail = partial(pytest.fail, lost, pytrace=False)
            yield make_report(call=pytest.CallInfo.from_call(fail, when="setup"))
        if last:
            self._leave()

    def _start(self, item: pytest.Item) -> Module:
        """Start a sandbox with a pytest for a test and those of its module that follow it."""
        config, items = item.config, item.session.items
        rest = items[items.index(item) :]
        chosen = [each.nodeid for each in takewhile(lambda each: each.path == item.path, rest)]
        words = ["-m", "", "-p", "no:cacheprovider", f"--rootdir={config.rootpath}"]
        words += [f"--verbosity={config.get_verbosity()}", f"--tb={config.option.tbstyle}"]
        command = [sys.executable, "-m", "pytest", *words, *chosen]
        directory = TemporaryDirectory(prefix="labkit-e2e-")
        pipe, output = Path(directory.name, "pipe"), Path(directory.name, "output")
        os.mkfifo(pipe)
        with output.open("wb") as stream:
            # However this process ends, the sandbox ends with it.
            child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._enter(command)],
                cwd=config.rootpath,
                env={**os.environ, PIPE: str(pipe), "PYTEST_ADDOPTS": ""},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        # Open for writing as well: it has no end before the child has opened it, nor after.
        return Module(directory=directory, pipe=os.open(pipe, os.O_RDWR), child=child)

    def _leave(self) -> None:
        if self._module is not None:
            self._module.close()
            self._module = None


def refuse_skip(report: pytest.TestReport) -> pytest.TestReport:
    """Turn a skip into a failure: inside the sandbox nothing a test needs may be missing."""
    if report.skipped and not hasattr(report, "wasxfail"):
        *_, reason = report.longrepr if isinstance(report.longrepr, (tuple, list)) else [""]
        report.outcome = "failed"
        report.longrepr = f"{reason} (inside the sandbox nothing may be missing)"
    return report
