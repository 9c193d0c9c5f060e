from __future__ import annotations

import pytest

from labkit.host.getty import ANSWER_SECONDS, Login
from tests.fakes.line import FakeLine


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def line() -> FakeLine:
    return FakeLine()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def login(line: FakeLine, clock: Clock) -> Login:
    return Login(line, user="vagrant", password="s3cret", clock=clock)  # noqa: S106 -- of nobody


def said(line: FakeLine, login: Login, *pieces: bytes) -> None:
    line.say(*pieces)
    for piece in pieces:
        assert login.read() == piece


def test_login_answers_user_and_password_once(line: FakeLine, login: Login) -> None:
    said(line, login, b"\r\nDebian 12 one ttyS0\r\n\r\none lo", b"gin: ")
    assert line.heard == b"vagrant\r"
    said(line, login, b"vagrant\r\nPass", b"word: ")
    assert line.heard == b"vagrant\rs3cret\r"
    said(line, login, b"\r\nLast login: today\r\n$ ", b"logout\r\none login: ", b"Password: ")
    assert line.heard == b"vagrant\rs3cret\r"


def test_login_answers_behind_what_the_kernel_says_in_between(
    line: FakeLine, login: Login
) -> None:
    said(line, login, b"one login: \r\n[   12.3] eth0: link is down\r\n")
    assert line.heard == b"vagrant\r"


@pytest.mark.parametrize("text", [b"$ ", b"Last login: Mon Nov 30 on ttyS0\r\n$ ", b"Password: "])
def test_login_says_nothing_where_nobody_asks_who_it_is(
    line: FakeLine, login: Login, text: bytes
) -> None:
    said(line, login, text)
    assert line.heard == b""


def test_who_logs_out_of_a_shell_that_was_there_is_not_logged_in_again(
    line: FakeLine, login: Login, clock: Clock
) -> None:
    said(line, login, b"$ ")
    clock.now = ANSWER_SECONDS
    said(line, login, b"logout\r\none login: ")
    assert line.heard == b""


def test_login_is_otherwise_the_line_itself(line: FakeLine, login: Login) -> None:
    login.write(b"ls\r")
    login.close()
    assert (line.heard, line.closed.is_set(), login.read()) == (b"ls\r", True, b"")
