from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from lxml import etree

from labkit.verify.check import Result, Verdict, printable
from labkit.verify.report import WIDTH, Report, as_json, junit, summary, table
from labkit.verify.run import judge
from tests.support import examples, mutations, transcripts

if TYPE_CHECKING:
    from tests.support.golden import Golden

# The shape Jenkins and GitLab read: suites with counts, cases with at most one outcome.
SHAPE = """\
<grammar xmlns="http://relaxng.org/ns/structure/1.0"
    datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">
  <define name="counts">
    <attribute name="tests"><data type="nonNegativeInteger"/></attribute>
    <attribute name="failures"><data type="nonNegativeInteger"/></attribute>
    <attribute name="errors"><data type="nonNegativeInteger"/></attribute>
  </define>
  <start><element name="testsuites">
    <attribute name="name"/><ref name="counts"/>
    <zeroOrMore><element name="testsuite">
      <attribute name="name"/><ref name="counts"/>
      <attribute name="skipped"><data type="nonNegativeInteger"/></attribute>
      <oneOrMore><element name="testcase">
        <attribute name="classname"/><attribute name="name"/>
        <optional><choice>
          <element name="failure">
            <attribute name="type"/><attribute name="message"/><text/>
          </element>
          <element name="skipped"><attribute name="message"/></element>
        </choice></optional>
      </element></oneOrMore>
    </element></zeroOrMore>
  </element></start>
</grammar>
"""


def shape() -> etree.RelaxNG:
    return etree.RelaxNG(etree.fromstring(SHAPE))


@pytest.fixture
def report() -> Report:
    """Return one with failures on both nodes and checks that were not judged."""
    outputs = transcripts.document()
    wanted = {"missing tunnel", "port file with a command", "wrong patch peer"}
    for change in mutations.DOCUMENT:
        if change.name in wanted:
            outputs = change.of(outputs)
    return judge(examples.example("packstack"), outputs)


def hostile() -> Report:
    text = printable("</failure>&\x00\x1b[2J]]>\ud800" + "x" * 999)
    result = Result(
        node="a&<b", check="c", summary="s.", verdict=Verdict.FAILED, expected=text, seen=text
    )
    return Report(lab='"lab"', results=(result,))


def test_report_in_every_form_is_as_reviewed(report: Report, golden: Golden) -> None:
    golden.check(
        "verify",
        {
            "report.txt": table(report),
            "report.json": json.dumps(as_json(report), indent=2) + "\n",
            "junit.xml": junit(report),
        },
    )


@pytest.mark.parametrize("kind", ["real", "hostile", "empty"])
def test_junit_has_the_shape_ci_reads(kind: str, report: Report) -> None:
    chosen = {"real": report, "hostile": hostile(), "empty": Report(lab="x", results=())}[kind]
    tree = etree.fromstring(junit(chosen).encode())
    shape().assertValid(tree)


def test_junit_counts_agree_with_its_cases(report: Report) -> None:
    root = ET.fromstring(junit(report))  # noqa: S314 -- our own text
    assert len(root.findall(".//testcase")) == int(root.attrib["tests"]) == len(report.results)
    assert len(root.findall(".//failure")) == int(root.attrib["failures"]) == 3
    for suite in root:
        assert len(suite.findall("./testcase/skipped")) == int(suite.attrib["skipped"])


def test_junit_carries_hostile_text_unharmed() -> None:
    root = ET.fromstring(junit(hostile()))  # noqa: S314 -- our own text
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.text is not None
    assert failure.text.startswith("expected: </failure>&\\x00\\x1b[2J]]>\\xd800xxx")


@pytest.mark.parametrize("kind", ["real", "hostile"])
def test_table_fits_eighty_columns(kind: str, report: Report) -> None:
    text = table({"real": report, "hostile": hostile()}[kind])
    assert max(map(len, text.splitlines())) <= WIDTH


def test_counts_tell_failed_from_not_judged(report: Report) -> None:
    assert summary(report) == "packstack: 23 ok, 3 failed, 11 not judged"
    assert not report.passed


def test_report_of_which_nothing_was_judged_does_not_pass() -> None:
    skipped = Result(node="n", check="c", summary="s.", verdict=Verdict.NOT_JUDGED)
    assert not Report(lab="x", results=()).passed
    assert not Report(lab="x", results=(skipped,)).passed
