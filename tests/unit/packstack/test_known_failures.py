"""The table of known failures, and that a wrong record in it is refused."""

from __future__ import annotations

import pytest

from labkit.packstack.known_failures import Where, failures, parse

RECORD = """\
- id: no-space
  where: [output]
  patterns: ['No space on (?P<place>\\S+)', 'disk full']
  cause: There is no space on {place}.
  remedy: Give the node a larger disk.
  source: public reports
"""


def test_table_is_read_whole() -> None:
    names = [known.id for known in failures()]
    assert len(set(names)) == len(names) >= 30
    for known in failures():
        assert known.note is (known.where == {Where.BULLETS}), known.id
        assert not known.seen or "seen" in known.source, known.id


def test_record_shows_by_any_of_its_patterns() -> None:
    (known,) = parse(RECORD)
    found = known.pattern.search("x\nNo space on /var\n")
    assert found is not None
    assert known.cause_for(found.groupdict()) == "There is no space on /var."
    assert known.pattern.search("the disk full of logs")
    assert known.specificity == 2


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("id: no-space", "id: No space", "id"),
        ("id: no-space", "name: no-space", "name"),
        ("[output]", "[outputs]", "where"),
        ("[output]", "[]", "where"),
        ("'disk full'", "'disk (full'", "no regular expressions"),
        ("['No space on (?P<place>\\S+)', 'disk full']", "[]", "patterns"),
        ("{place}.", "{where}.", "no pattern of 'no-space' has the group 'where'"),
        ("There is no space on {place}.", "''", "cause"),
        ("larger disk.", "larger disk", "remedy"),
        ("  source: public reports\n", "", "source"),
        ("source:", "specificity: 4\n  source:", "specificity"),
        ("source:", "note: perhaps\n  source:", "note"),
    ],
)
def test_wrong_record_is_refused(before: str, after: str, told: str) -> None:
    assert before in RECORD
    with pytest.raises(ValueError, match=told):
        parse(RECORD.replace(before, after))


def test_table_without_records_is_refused() -> None:
    with pytest.raises(ValueError, match="valid tuple"):
        parse("# nothing\n")
