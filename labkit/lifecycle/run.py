"""`run`: the whole job for continuous integration, with a report and a teardown that can be relied on."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from labkit.errors import LabkitError
from labkit.lifecycle.teardown import destroy
from labkit.lifecycle.teardown_when import Destroy
from labkit.lifecycle.up import up
from labkit.packstack.deploy import SNAPSHOT, deploy
from labkit.snapshots.record import Shelf
from labkit.snapshots.restore import restore
from labkit.snapshots.take import take
from labkit.verify import report as reports
from labkit.verify.run import prove_deployed

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.state.session import Session
    from labkit.verify.report import Report

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage of a run: its name, seconds, what it showed, and how it failed, if it did."""

    name: str
    seconds: float
    result: str = ""
    error: str = ""


@dataclass(slots=True, kw_only=True)
class LabRun:
    """A run so far.

    Attributes:
        lab: The lab's name.
        stages: Those that ended, in order.
        verification: Expected versus seen, once the lab was deployed.
        error: What ended it early, for the caller to raise; None when nothing did.
        destroyed: Whether the lab was removed at the end.
    """

    lab: str
    stages: list[Stage] = field(default_factory=list)
    verification: Report | None = None
    error: BaseException | None = None
    destroyed: bool = False

    @property
    def passed(self) -> bool:
        """Return whether every stage and every check was as it should be."""
        green = self.verification is not None and self.verification.passed
        return self.error is None and green and not any(stage.error for stage in self.stages)

    def as_json(self) -> dict[str, object]:
        """Return it as plain data for `json.dumps`."""
        return {
            "lab": self.lab,
            "passed": self.passed,
            "stages": [
                {
                    "name": s.name,
                    "seconds": round(s.seconds, 3),
                    "result": s.result,
                    "error": s.error,
                }
                for s in self.stages
            ],
            "verification": reports.as_json(self.verification) if self.verification else None,
            "destroyed": self.destroyed,
        }

    def junit(self) -> str:
        """Return it as JUnit XML: a suite of the stages, then one per node of the checks."""
        root = ET.Element("testsuites", {"name": f"labkit run {self.lab}"})
        failed = sum(bool(stage.error) for stage in self.stages)
        attributes = {
            "name": "stages",
            "tests": str(len(self.stages)),
            "failures": "0",
            "errors": str(failed),
            "skipped": "0",
        }
        suite = ET.SubElement(root, "testsuite", attributes)
        for stage in self.stages:
            case = {"classname": self.lab, "name": stage.name, "time": f"{stage.seconds:.3f}"}
            element = ET.SubElement(suite, "testcase", case)
            if stage.error:
                told = reports.clean(stage.error)
                error = {"type": "stage", "message": told.splitlines()[0] if told else ""}
                ET.SubElement(element, "error", error).text = told
        if self.verification is not None:
            root.extend(reports.suites(self.verification))
        return reports.document(root)

    def stage(self, name: str, work: Callable[[], str]) -> None:
        """Run a stage and keep its time, its result, and its error, which is raised again."""
        started = time.monotonic()
        try:
            result = work()
        except BaseException as exc:
            seconds = time.monotonic() - started
            self.stages.append(Stage(name=name, seconds=seconds, error=_told(exc)))
            raise
        self.stages.append(Stage(name=name, seconds=time.monotonic() - started, result=result))


def run(
    session: Session,
    *,
    source: str = "",
    remove: Destroy = Destroy.NEVER,
    shielded: Callable[[], None] = lambda: None,
) -> LabRun:
    """Up, snapshot `pre-packstack`, deploy, verify; or from a snapshot, when one is named.

    Nothing is raised: whatever ends the run early, an interruption included, is in its `error`,
    so that a report can be written first.

    Args:
        session: The lab.
        source: A snapshot to restore instead of `up`; empty for none.
        remove: When the lab is removed at the end.
        shielded: Called before the removal, to keep a time limit or a second signal off it.
    """
    result = LabRun(lab=session.lab.name)
    try:
        if source:
            result.stage("restore", lambda: _restore(session, source))
        else:
            result.stage("up", lambda: _up(session))
            result.stage("snapshot", lambda: _snapshot(session))
        result.stage("deploy", lambda: _deploy(session, result))
    except BaseException as exc:  # noqa: BLE001 -- reported by the caller, after the teardown
        session.cancelled.set()
        result.error = exc
    if remove is Destroy.ALWAYS or (remove is Destroy.ON_SUCCESS and result.passed):
        shielded()
        session.cancelled.clear()
        # Its error is in the stage; the first one is what the run ended with.
        with suppress(LabkitError):
            result.stage("destroy", lambda: _destroy(session))
            result.destroyed = True
    return result


def _up(session: Session) -> str:
    report = up(session)
    return "changed" if report.plan.changes else "nothing to change"


def _snapshot(session: Session) -> str:
    if Shelf(session.directory.snapshots).has(SNAPSHOT):
        return "was there"
    if session.state().deployment.deployed:
        return "left out: the lab is deployed already"
    record = take(session, SNAPSHOT, note="by labkit run")
    return f"stood still {record.pause_ms:.0f} ms"


def _restore(session: Session, name: str) -> str:
    report = restore(session, name, prove=lambda: prove_deployed(session))
    return (
        f"restored in {report.restored_seconds:.1f} s, healthy in {report.healthy_seconds:.1f} s"
    )


def _deploy(session: Session, result: LabRun) -> str:
    report = deploy(session)
    result.verification = report.verification
    return reports.summary(report.verification) if report.verification else ""


def _destroy(session: Session) -> str:
    return f"{len(destroy(session).describe())} things removed, nothing left"


def _told(error: BaseException) -> str:
    if isinstance(error, LabkitError):
        lines = (error.message, *error.details, *([f"hint: {error.hint}"] if error.hint else []))
        return "\n".join(lines)
    return "interrupted" if isinstance(error, KeyboardInterrupt) else repr(error)
