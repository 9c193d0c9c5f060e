from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError, UsageError
from labkit.snapshots.record import NAMED, Journal, Shelf, name_in, new_key
from tests.support import labs
from tests.support.snapshot_records import record

if TYPE_CHECKING:
    from pathlib import Path

LAB = labs.lab("controller", "compute")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "snapshots")


def test_shelf_without_a_directory_is_empty(shelf: Shelf) -> None:
    assert shelf.records() == ()
    assert not shelf.has("base")
    assert shelf.current() == ""
    assert shelf.journal() is None
    shelf.done()
    assert not shelf.path.exists()


def test_published_records_come_back_oldest_first(shelf: Shelf) -> None:
    late, early = record(LAB, "a", minutes=9), record(LAB, "b")
    shelf.publish(late)
    shelf.publish(early)

    assert shelf.records() == (early, late)
    assert shelf.named("a") == late


def test_withdrawn_record_is_gone_and_may_go_twice(shelf: Shelf) -> None:
    shelf.publish(record(LAB))
    shelf.withdraw("base")
    shelf.withdraw("base")

    assert shelf.records() == ()
    assert list((shelf.path / NAMED).iterdir()) == []


def test_directory_without_a_manifest_is_no_snapshot(shelf: Shelf) -> None:
    (shelf.path / NAMED / "torn").mkdir(parents=True)
    (shelf.path / NAMED / "torn" / ".manifest.json.half").write_text("{")

    assert shelf.records() == ()


def test_damaged_manifest_is_named(shelf: Shelf) -> None:
    shelf.publish(record(LAB))
    file = shelf.path / NAMED / "base" / "manifest.json"
    file.write_text(file.read_text()[:-20])

    with pytest.raises(OperationError) as raised:
        shelf.records()
    assert raised.value.message == f"The file '{file}' cannot be read."
    assert str(file.parent) in raised.value.hint


def test_journal_comes_back_until_it_is_done(shelf: Shelf) -> None:
    journal = Journal(verb="take", name="x", key="labkit-x-0", running=("one",))
    shelf.note(journal)
    assert shelf.journal() == journal
    shelf.done()
    assert shelf.journal() is None


def test_journal_of_another_kind_is_refused(shelf: Shelf) -> None:
    shelf.note(Journal(verb="delete"))
    shelf.journal_file.write_text('{"verb": "explode"}')
    with pytest.raises(OperationError, match="cannot be read") as raised:
        shelf.journal()
    # The snapshots beside it are whole.
    assert raised.value.hint.startswith(f"Remove '{shelf.journal_file}' and restore a snapshot")


def test_current_is_the_last_one_set(shelf: Shelf) -> None:
    shelf.publish(record(LAB))
    shelf.set_current("labkit-base-0")
    shelf.set_current("labkit-later-0")
    assert shelf.current() == "labkit-later-0"


@pytest.mark.parametrize("name", ["base", "a-b-c", "1.2_x"])
def test_key_tells_its_name_and_is_never_the_same(name: str) -> None:
    assert name_in(new_key(name)) == name
    assert new_key(name) != new_key(name)


def test_name_that_is_none_is_told_with_those_there_are(shelf: Shelf) -> None:
    with pytest.raises(UsageError, match="has no snapshot 'x'; it has none"):
        shelf.named("x")
    shelf.publish(record(LAB))
    with pytest.raises(UsageError, match="has no snapshot 'x'; it has 'base'"):
        shelf.named("x")


@pytest.mark.parametrize("verb", ["take", "check", "restore"])
def test_snapshot_is_listed_unless_its_removal_has_begun(shelf: Shelf, verb: str) -> None:
    shelf.publish(record(LAB))
    shelf.note(Journal.model_validate({"verb": verb, "doomed": ("labkit-base-0",)}))
    assert shelf.has("base")
    assert shelf.interrupted() == ()

    shelf.note(Journal(verb="delete", doomed=("labkit-base-0",)))
    assert not shelf.has("base")
    assert shelf.interrupted() == ("base",)
    assert len(shelf.published()) == 1
