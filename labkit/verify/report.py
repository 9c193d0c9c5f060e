"""What `labkit verify` found: as a table for people, as JSON, and as JUnit XML for CI."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from labkit.verify.check import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.verify.check import Result

WIDTH = 80
MARKS = {Verdict.OK: "ok", Verdict.FAILED: "FAILED", Verdict.NOT_JUDGED: "not judged"}
_INDENT = " " * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All results of a lab.

    Attributes:
        lab: The lab's name.
        results: Every check on every node it applies to, node by node.
    """

    lab: str
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Return whether a check was judged, none failed, and none is open for want of time."""
        return self.count(Verdict.OK) > 0 and not any(r.failed or r.late for r in self.results)

    @property
    def failures(self) -> tuple[str, ...]:
        """Return the checks that keep it from passing, a line each: node, check, what was seen."""
        return tuple(f"{r.node}: {r.check}: {r.seen}" for r in self.results if r.failed or r.late)

    def without(self, hide: Callable[[str], str]) -> Report:
        """Return the report with `hide` applied to what was expected and seen.

        Before it is shown: a table may break a line within a secret.
        """
        results = (
            replace(each, expected=hide(each.expected), seen=hide(each.seen))
            for each in self.results
        )
        return replace(self, results=tuple(results))

    def count(self, verdict: Verdict) -> int:
        """Return how many checks came out so."""
        return sum(result.verdict is verdict for result in self.results)

    def by_node(self) -> dict[str, tuple[Result, ...]]:
        """Return the results per node, in order."""
        names = dict.fromkeys(result.node for result in self.results)
        return {
            name: tuple(result for result in self.results if result.node == name) for name in names
        }


def table(report: Report) -> str:
    """Return the report as text of at most 80 columns; failures with what was expected and seen."""
    lines: list[str] = []
    for node, results in report.by_node().items():
        lines.append(node)
        for result in results:
            lines.append(f"  {MARKS[result.verdict]:<11} {result.check}")
            if result.verdict is Verdict.FAILED:
                lines += _wrapped("expected", result.expected) + _wrapped("seen", result.seen)
            elif result.verdict is Verdict.NOT_JUDGED:
                lines += _wrapped("because", result.seen)
    return "\n".join([*lines, summary(report)]) + "\n"


def summary(report: Report) -> str:
    """Return the report in one line."""
    counts = ", ".join(f"{report.count(verdict)} {verdict}" for verdict in Verdict)
    return f"{report.lab}: {counts}"


def _wrapped(label: str, text: str) -> list[str]:
    first = f"{_INDENT}{label + ':':<10}"
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first))


def as_json(report: Report) -> dict[str, object]:
    """Return the report as plain data for `json.dumps`."""
    return {
        "lab": report.lab,
        "passed": report.passed,
        "counts": {verdict.value: report.count(verdict) for verdict in Verdict},
        "results": [asdict(result) for result in report.results],
    }


def junit(report: Report) -> str:
    """Return the report as JUnit XML: a suite per node, a case per check, skipped if not judged."""
    root = ET.Element("testsuites", {"name": f"labkit verify {report.lab}", **_counts(report)})
    root.extend(suites(report))
    return document(root)


def suites(report: Report) -> list[ET.Element]:
    """Return a JUnit suite per node."""
    found: list[ET.Element] = []
    for node, results in report.by_node().items():
        part = Report(lab=report.lab, results=results)
        skipped = str(part.count(Verdict.NOT_JUDGED))
        suite = ET.Element("testsuite", {"name": node, **_counts(part), "skipped": skipped})
        for result in results:
            _case(suite, report.lab, result)
        found.append(suite)
    return found


def document(root: ET.Element) -> str:
    """Return an XML document, indented."""
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def clean(text: str) -> str:
    """Return a text without the characters XML 1.0 cannot hold."""
    return "".join(char for char in text if char in "\n\t" or char.isprintable())


def _counts(report: Report) -> dict[str, str]:
    return {
        "tests": str(len(report.results)),
        "failures": str(report.count(Verdict.FAILED)),
        "errors": "0",
    }


def _case(suite: ET.Element, lab: str, result: Result) -> None:
    attributes = {"classname": f"{lab}.{result.node}", "name": result.check}
    case = ET.SubElement(suite, "testcase", attributes)
    if result.verdict is Verdict.FAILED:
        failure = ET.SubElement(case, "failure", {"type": "check", "message": result.summary})
        failure.text = f"expected: {result.expected}\nseen: {result.seen}"
    elif result.verdict is Verdict.NOT_JUDGED:
        ET.SubElement(case, "skipped", {"message": result.seen})
