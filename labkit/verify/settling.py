"""Verifying a lab whose services have just started: until it is green, or its time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.verify.run import verify
from labkit.waiting import AGENT_READY, Deadline, NotYet, WaitTimeout, wait_until

if TYPE_CHECKING:
    from labkit.state.session import Session
    from labkit.verify.report import Report

# Agents and services report themselves within a minute or two of their start.
SETTLE_SECONDS = 180.0


def settled(session: Session, seconds: float = SETTLE_SECONDS) -> Report:
    """Verify a lab until it is as it should be, or the time for that is over.

    Returns:
        The last report, green or not.
    """
    reports: list[Report] = []

    def check() -> Report:
        report = verify(session)
        reports.append(report)
        if not report.passed:
            msg = "not every check passes"
            raise NotYet(msg)
        return report

    try:
        return wait_until(
            check,
            what="every check to pass",
            deadline=Deadline.after(seconds),
            policy=AGENT_READY,
            cancelled=session.cancelled.is_set,
        )
    except WaitTimeout:
        return reports[-1]


def prove_deployed(session: Session) -> None:
    """Require that every check of a deployed lab passes, for a restore of one.

    Raises:
        OperationError: Some do not, after the time services are given to find each other again.
    """
    report = settled(session)
    if not report.passed:
        failed = [
            f"{item.node}: {item.check}: {item.seen}" for item in report.results if item.failed
        ]
        message = f"The lab '{session.lab.name}' runs, and not every check of it passes."
        raise OperationError(
            message, details=tuple(failed), hint="'labkit verify' shows expected and seen."
        )
