from __future__ import annotations

import io
import re
import threading

import pytest

from labkit.cli.output import PlainProgress, notice, print_error, print_table, shown_progress
from labkit.errors import OperationError
from labkit.state.progress import LAB, Event, Phase, stage

ERROR = OperationError(
    "The domain 'demo_one' [red]stopped[/red].", details=("line one", "line two"), hint="Run it."
)
LINE = re.compile(r"^\d\d:\d\d:\d\d ")


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def test_error_is_message_details_hint_and_log_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_error(ERROR, "/somewhere/up.log")
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err == (
        "error: The domain 'demo_one' [red]stopped[/red].\n  line one\n  line two\n"
        "hint: Run it.\nlog: /somewhere/up.log\n"
    )


def test_error_without_details_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(OperationError("It failed."))
    assert capsys.readouterr().err == "error: It failed.\n"


def test_error_line_is_never_wrapped_or_coloured_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    notice("x" * 300)
    assert capsys.readouterr().err == "x" * 300 + "\n"


def test_error_in_a_terminal_without_colour_has_no_escape_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_error(ERROR)
    coloured = capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    print_error(ERROR)
    plain = capsys.readouterr().err
    assert "\x1b[1;31m" in coloured
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)


def test_table_without_a_terminal_is_at_most_80_columns_and_loses_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("name", "text"), [("one", "z" * 100), ("[bold]two", "a\nb")])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(lines).count("z") == 100
    assert any(line.startswith("[bold]two") for line in lines)


def test_table_row_of_several_lines_has_its_first_cell_in_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("node", "cpus", "nic"), [("one", "2", "enp0s3\nenp0s8"), ("two", "1", "enp0s3")])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["node", "cpus", "nic"],
        ["one", "2", "enp0s3"],
        ["one", "enp0s8"],
        ["two", "1", "enp0s3"],
    ]


@pytest.mark.parametrize(
    ("width", "kept"),
    [(80, "node pci cpus address"), (30, "node cpus address"), (26, "node address")],
)
def test_table_that_is_too_wide_leaves_spare_columns_out_and_breaks_no_address(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int, kept: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    row = ("one", "0000:00:03.0", "4", "172.16.208.138/24")
    print_table(("node", "pci", "cpus", "address"), [row], spare=("pci", "cpus"))
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == kept.split()
    assert line.split()[-1] == "172.16.208.138/24"


@pytest.mark.parametrize(("width", "kept"), [(50, "box key what"), (40, "box what")])
def test_table_breaks_a_sentence_before_it_leaves_a_column_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int, kept: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    row = ("rehearsal", "75b528b36461", "Stand-in for CentOS 7: a small Debian 12.")
    print_table(("box", "key", "what"), [row], spare=("key",))
    heading, line, *_ = capsys.readouterr().out.splitlines()
    assert heading.split() == kept.split()
    assert line.startswith("rehearsal  ")


def test_table_without_a_terminal_is_as_wide_as_columns_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_table(("text",), [("z" * 150,)])
    assert capsys.readouterr().out.splitlines()[1] == "z" * 150


def test_plain_progress_prints_a_line_per_finished_stage() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    with stage(progress, "one", "SSH server") as current:
        current.note = "10.0.0.3"
    (line,) = stream.getvalue().splitlines()
    assert LINE.match(line)
    assert line.split()[1:] == ["one", "SSH", "server", "ok", "0.0", "s", "(10.0.0.3)"]


def test_plain_progress_announces_stages_of_the_whole_lab() -> None:
    stream = io.StringIO()
    with stage(PlainProgress(stream), LAB, "box volume"):
        assert "box volume" in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 2


def test_plain_progress_of_a_failed_stage_says_failed() -> None:
    stream = io.StringIO()
    with (
        pytest.raises(OperationError),
        stage(PlainProgress(stream), "one", "first boot"),
    ):
        raise ERROR
    assert "FAILED" in stream.getvalue()


def test_plain_progress_of_many_threads_keeps_lines_whole() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    event = Event(node="one", stage="booting", phase=Phase.DONE, seconds=1.0)

    def work() -> None:
        for _ in range(50):
            progress(event)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 400
    assert all(LINE.match(line) and line.endswith("1.0 s") for line in lines)


def test_progress_without_a_terminal_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as progress, stage(progress, "one", "booting"):
        pass
    seen = capsys.readouterr()
    assert "\x1b" not in seen.err
    assert "booting" in seen.err
    assert seen.out == ""
