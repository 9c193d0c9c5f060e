from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from labkit.errors import HostError
from labkit.host.terminal import talk, typed
from tests.fakes.line import FakeLine
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal() as made:
        yield made


@pytest.fixture
def line() -> FakeLine:
    return FakeLine()


@contextmanager
def beside(*steps: Callable[[], object]) -> Iterator[None]:
    """Take the steps one after the other while the block runs."""

    def take() -> None:
        for step in steps:
            step()

    thread = threading.Thread(target=take)
    thread.start()
    yield
    thread.join(5)
    assert not thread.is_alive()


def talked(line: FakeLine, terminal: Terminal) -> bool:
    return talk(line, stdin=terminal.inner, stdout=terminal.inner)


@pytest.mark.parametrize(
    ("piece", "kept", "escaped"),
    [
        (b"ls\r", b"ls\r", False),
        (b"\x1d", b"", True),
        (b"ls\x1drm -rf /\r", b"ls", True),
        (b"\x03\x1c\x1e\x1b]", b"\x03\x1c\x1e\x1b]", False),
        ("\u075d".encode(), "\u075d".encode(), False),
        (b"", b"", False),
    ],
)
def test_typed_ends_at_the_escape_wherever_it_stands(
    piece: bytes,
    kept: bytes,
    escaped: bool,  # noqa: FBT001 -- a parameter of the table above
) -> None:
    assert typed(piece) == (kept, escaped)


def test_talk_passes_every_byte_on_unchanged_until_the_escape(
    line: FakeLine, terminal: Terminal
) -> None:
    keys, answer = b"a\x03\x04\x1a\x11\x13\r\xff", b"\x1b[2J\r\nlogin: \x00"

    def answers() -> None:
        line.until(keys)
        line.say(answer)
        terminal.until(answer)
        terminal.type(b"last\x1dnot this")

    with beside(terminal.until_raw, lambda: terminal.type(keys), answers):
        assert talked(line, terminal)

    assert line.heard == keys + b"last"
    assert terminal.seen == answer
    assert line.closed.is_set()
    assert terminal.is_as_before()


def test_talk_shows_nothing_after_the_escape(terminal: Terminal) -> None:
    class Chatty(FakeLine):
        def close(self) -> None:
            self.say(b"\x1b[2J")
            super().close()

    with beside(terminal.until_raw, lambda: terminal.type(b"\x1d")):
        assert talked(Chatty(), terminal)
    assert terminal.look() == b""


def test_talk_ends_with_the_line(line: FakeLine, terminal: Terminal) -> None:
    line.say(b"bye\r\n", b"")
    assert not talked(line, terminal)
    terminal.until(b"bye\r\n")
    assert terminal.is_as_before()


def test_failure_of_the_line_is_raised_when_the_terminal_is_back(
    line: FakeLine, terminal: Terminal
) -> None:
    line.say(HostError("libvirtd does not answer."))
    with pytest.raises(HostError, match="does not answer"):
        talked(line, terminal)
    assert terminal.is_as_before()
    assert line.closed.is_set()


def test_signal_gives_the_terminal_back(line: FakeLine, terminal: Terminal) -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    main = threading.main_thread().ident
    assert main is not None

    def ends() -> None:
        line.until(b"x")
        assert not terminal.is_as_before()
        signal.pthread_kill(main, signal.SIGTERM)

    terminal.type(b"x")
    try:
        with pytest.raises(KeyboardInterrupt), beside(ends):
            talked(line, terminal)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert terminal.is_as_before()
    assert line.closed.is_set()


def test_terminal_that_is_closed_leaves_the_line(line: FakeLine, terminal: Terminal) -> None:
    def closes() -> None:
        line.until(b"x")
        os.close(terminal.outer)

    terminal.type(b"x")
    with beside(closes):
        assert talked(line, terminal)
    assert line.closed.is_set()


def test_line_that_does_not_listen_can_be_left(terminal: Terminal) -> None:
    class Deaf(FakeLine):
        def write(self, piece: bytes) -> None:
            self.heard = piece
            self.closed.wait(20)

    line = Deaf()
    terminal.type(b"much\x1d")
    assert talked(line, terminal)
    assert line.heard == b"much"
    assert terminal.is_as_before()
