from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.lifecycle.guest_logs import console_tail, last_report, set_aside

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("labkit-firstboot: applied ab", None),
        ("labkit-firstboot: applied ab\n", ("applied", "ab")),
        ("noise\nlabkit-firstboot: applied ab\r\n", ("applied", "ab")),
        (
            "labkit-firstboot: applied ab\nlabkit-firstboot: unchanged ab\n",
            ("unchanged", "ab"),
        ),
    ],
)
def test_last_report_takes_whole_lines_only(
    tmp_path: Path, text: str, expected: tuple[str, str] | None
) -> None:
    (tmp_path / "log").write_text(text, encoding="utf-8", newline="")
    assert last_report(tmp_path / "log") == expected


def test_set_aside_files_are_those_of_this_log_the_oldest_first(tmp_path: Path) -> None:
    for name in ("one.log", "one.log.0", "one.log.2", "one.log.10", "one.log.old", "two.log.1"):
        (tmp_path / name).touch()
    found = [path.name for path in set_aside(tmp_path / "one.log")]
    assert found == ["one.log.10", "one.log.2", "one.log.0"]


def test_console_tail_of_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert console_tail(tmp_path / "none") == ()


def test_console_tail_shows_only_the_end_of_a_long_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"line {i}\n" for i in range(9999)), encoding="utf-8")
    assert console_tail(tmp_path / "log", lines=2) == ("line 9997", "line 9998")
