from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.cli.guest_text import console_pieces, visible
from labkit.errors import OperationError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("booted\r\n", "booted\n"),
        ("[  \x1b[0;32mOK\x1b[0m  ] Started\tSSH\n", "[  OK  ] Started\tSSH\n"),
        ("\x1b]0;title\x07", "^[]0;title^G"),
        ("\x1b[2J\x1b[6n", "^[[2J^[[6n"),
        ("a\rb\x7f\x00", "a^Mb^?^@"),
        ("\x9b31m \u202e", "\\u009b31m \\u202e"),
        ("Grüße 日本", "Grüße 日本"),
    ],
)
def test_visible_text_has_no_control_characters_but_says_where_they_were(
    text: str, shown: str
) -> None:
    assert visible(text) == shown


@given(st.text())
def test_visible_text_commands_no_terminal(text: str) -> None:
    assert all(char.isprintable() or char in "\n\t" for char in visible(text))


def test_console_is_the_log_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"x" * 100_000)
    found = console_pieces(log, node="one", follow=False, pause=lambda _seconds: False)
    assert b"".join(found) == b"x" * 100_000


def test_console_begins_with_what_virtlogd_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    for name, text in (("console.log.1", "a"), ("console.log.0", "b"), ("console.log", "c")):
        (tmp_path / name).write_text(text)
    found = console_pieces(log, node="one", follow=False, pause=lambda _seconds: False)
    assert b"".join(found) == b"abc"


def test_console_that_is_followed_goes_on_in_a_file_that_takes_its_place(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"first\n")
    looks = 0

    def pause(_seconds: float) -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            with log.open("ab") as stream:
                stream.write(b"more\n")
        elif looks == 2:
            log.rename(tmp_path / "console.log.0")
        elif looks == 3:
            log.write_bytes(b"second\n")
        elif looks == 4:
            log.write_bytes(b"3\n")
        return looks == 6

    found = console_pieces(log, node="one", follow=True, pause=pause)
    assert b"".join(found) == b"first\nmore\nsecond\n3\n"


def test_console_of_a_node_that_was_never_started_says_so(tmp_path: Path) -> None:
    found = console_pieces(
        tmp_path / "none", node="one", follow=False, pause=lambda _seconds: False
    )
    with pytest.raises(OperationError, match="never started"):
        next(found)


def test_console_that_only_root_may_read_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise PermissionError

    # Tests may run as root, whom no file mode stops.
    monkeypatch.setattr("pathlib.Path.open", refuse)
    log = tmp_path / "console.log"
    found = console_pieces(log, node="one", follow=False, pause=lambda _seconds: False)
    with pytest.raises(OperationError, match="is a file of root's") as caught:
        next(found)
    assert caught.value.hint == f"Run 'sudo cat -v -- {log}'."
