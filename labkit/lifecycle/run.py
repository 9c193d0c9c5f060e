"""`run`: the whole job for continuous integration, with a report and a teardown that can be relied on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree as ET

from labkit.errors import LabkitError
from labkit.lifecycle.stages import Stages
from labkit.lifecycle.teardown import destroy
from labkit.lifecycle.up import up
from labkit.packstack.deploy import SNAPSHOT, deploy
from labkit.packstack.deploy import plan as deploy_plan
from labkit.packstack.deployable import require_possible
from labkit.snapshots.record import Shelf
from labkit.snapshots.restore import plan as restore_plan
from labkit.snapshots.restore import restore
from labkit.snapshots.take import take
from labkit.state.lock import LabInUseError
from labkit.verify.report import as_json, clean, document, suites, summary
from labkit.verify.run import prove_deployed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labkit.state.session import Session
    from labkit.verify.report import Report

    Step = tuple[str, Callable[["Session", "LabRun"], str]]


@dataclass(slots=True, kw_only=True)
class LabRun:
    """A run so far.

    Attributes:
        lab: The lab's name.
        stages: What was done, and how it went.
        verification: Expected versus seen, once the lab was deployed.
        error: What ended it early, for the caller to raise; None when nothing did.
        destroyed: Whether the lab was removed at the end.
    """

    lab: str
    stages: Stages = field(default_factory=Stages)
    verification: Report | None = None
    error: BaseException | None = None
    destroyed: bool = False

    @property
    def passed(self) -> bool:
        """Return whether every stage and every check was as it should be."""
        green = self.verification is not None and self.verification.passed
        return self.error is None and green and not self.stages.failed

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
                for s in self.stages.ended
            ],
            "verification": as_json(self.verification) if self.verification else None,
            "destroyed": self.destroyed,
        }

    def junit(self) -> str:
        """Return it as JUnit XML: a suite of the stages, then one per node of the checks."""
        root = ET.Element("testsuites", {"name": f"labkit run {self.lab}"})
        ended = self.stages.ended
        attributes = {
            "name": "stages",
            "tests": str(len(ended)),
            "failures": "0",
            "errors": str(sum(bool(stage.error) for stage in ended)),
            "skipped": "0",
        }
        suite = ET.SubElement(root, "testsuite", attributes)
        for stage in ended:
            case = {"classname": self.lab, "name": stage.name, "time": f"{stage.seconds:.3f}"}
            element = ET.SubElement(suite, "testcase", case)
            if stage.error:
                told = clean(stage.error)
                error = {"type": "stage", "message": told.splitlines()[0] if told else ""}
                ET.SubElement(element, "error", error).text = told
        if self.verification is not None:
            root.extend(suites(self.verification))
        return document(root)


def run(
    session: Session,
    *,
    source: str = "",
    remove: Literal["never", "on-success", "always"] = "never",
    shield: Callable[[], None] = lambda: None,
    steps: Sequence[Step] = (),
) -> LabRun:
    """Up, snapshot `pre-packstack`, deploy, verify; or from a snapshot, when one is named.

    Nothing is raised: whatever ends the run early, an interruption included, is in its `error`,
    so that a report can be written first.

    Args:
        session: The lab.
        source: A snapshot to restore instead of `up`; empty for none.
        remove: When the lab is removed at the end. It is never, while another labkit holds it.
        shield: Called once the stages have ended; keeps a time limit and signals off what follows.
        steps: What is done, for tests; the above when empty.
    """
    result = LabRun(lab=session.lab.name)
    try:
        for name, work in steps or _steps(source):
            result.stages.run(name, partial(work, session, result))
        shield()
    except BaseException as exc:  # noqa: BLE001 -- reported by the caller, after the teardown
        shield()
        session.cancelled.set()
        result.error = exc
    foreign = isinstance(result.error, LabInUseError)
    if not foreign and (remove == "always" or (remove == "on-success" and result.passed)):
        session.cancelled.clear()
        # Its error is in the stage; the first one is what the run ended with.
        with suppress(LabkitError, OSError):
            result.stages.run("destroy", lambda: _destroy(session))
            result.destroyed = True
    return result


def plan(
    session: Session, *, source: str, remove: Literal["never", "on-success", "always"]
) -> tuple[str, ...]:
    """Return what `run` would do, a line each, changing nothing.

    Raises:
        LabkitError: As `up` or `restore`, or the lab cannot be deployed as its file is.
    """
    deploying = deploy_plan(session, snapshot=False)
    lines = [f"would restore '{source}'"] if source else up_lines(session)
    if source:
        restore_plan(session, source)
    elif not Shelf(session.directory.snapshots).has(SNAPSHOT) and not _is_deployed(session):
        lines.append(f"would take the snapshot '{SNAPSHOT}'")
    end = {
        "never": (),
        "on-success": ("would remove the lab if all checks pass",),
        "always": ("would remove the lab, however it ends",),
    }
    return (*lines, *deploying, *end[remove])


def up_lines(session: Session) -> list[str]:
    """Return what `up` would do with each node, a line each, changing nothing.

    Raises:
        LabkitError: As `up`.
    """
    return [
        f"would {item.action.value} {item.node.name}"
        for item in up(session, dry_run=True).plan.nodes
    ]


def _is_deployed(session: Session) -> bool:
    return bool(session.state().deployment.deployed)


def _steps(source: str) -> tuple[Step, ...]:
    if source:
        return ("restore", lambda session, _: _restore(session, source)), ("deploy", _deploy)
    return ("up", _up), ("snapshot", _snapshot), ("deploy", _deploy)


def _up(session: Session, _result: LabRun) -> str:
    require_possible(session)
    report = up(session)
    return "changed" if report.plan.changes else "nothing to change"


def _snapshot(session: Session, _result: LabRun) -> str:
    if Shelf(session.directory.snapshots).has(SNAPSHOT):
        return "was there"
    if _is_deployed(session):
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
    return summary(report.verification) if report.verification else ""


def _destroy(session: Session) -> str:
    return f"{len(destroy(session).describe())} things removed, nothing left"
