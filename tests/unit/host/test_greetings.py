from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from labkit.host import greetings, ssh
from labkit.host.greetings import Greetings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST, SECOND = IPv4Address("127.0.0.1"), IPv4Address("127.0.0.2")
WORDS = b"SSH-2.0-test\r\n"


@contextmanager
def server(
    answer: Callable[[socket.socket], None], *, address: IPv4Address = FIRST, port: int = 0
) -> Iterator[tuple[int, list[socket.socket]]]:
    """Let `answer` speak to everyone who calls; yields the port and the calls so far."""
    calls: list[socket.socket] = []
    listener = socket.create_server((str(address), port))

    def serve() -> None:
        while True:
            try:
                taken, _ = listener.accept()
            except OSError:
                return
            calls.append(taken)
            answer(taken)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], calls
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)
        for call in calls:
            call.close()


def silence(_taken: socket.socket) -> None:
    """Say nothing."""


def greet(taken: socket.socket) -> None:
    taken.sendall(WORDS)


def test_connection_that_greeted_is_whole_and_the_callers() -> None:
    with server(greet) as (port, _calls), Greetings((FIRST, SECOND), port) as waiting:
        found = waiting.wait(5)
    with found.connection as connection:
        assert found.address == FIRST
        assert connection.recv(64) == WORDS  # it was only looked at


def test_server_that_is_slow_to_greet_is_called_once_however_often_one_waits() -> None:
    with server(silence) as (port, calls), Greetings((FIRST,), port) as waiting:
        for _ in range(5):
            with pytest.raises(ssh.NotReachableError) as caught:
                waiting.wait(0.05)
            reason = "it took the connection and has not greeted yet"
            assert caught.value.details == (f"127.0.0.1: {reason}",)
        calls[0].sendall(WORDS)
        found = waiting.wait(5)
        found.connection.close()
        assert len(calls) == 1


def test_second_address_is_not_called_while_the_first_may_still_greet() -> None:
    with server(silence) as (port, _), server(greet, address=SECOND, port=port) as (_, others):
        with Greetings((FIRST, SECOND), port) as waiting, pytest.raises(ssh.NotReachableError):
            waiting.wait(0.1)
        assert others == []


def test_second_address_is_called_as_well_when_the_first_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(greetings, "GREETED_SECONDS", 0.1)
    with server(silence) as (port, calls), server(greet, address=SECOND, port=port):
        with Greetings((FIRST, SECOND), port) as waiting:
            found = waiting.wait(5)
        found.connection.close()
        assert (found.address, len(calls)) == (SECOND, 1)


def test_second_address_is_called_at_once_when_the_first_refuses() -> None:
    with server(greet, address=SECOND) as (port, _calls), Greetings((FIRST, SECOND), port) as all_:
        began = time.monotonic()
        found = all_.wait(5)
        found.connection.close()
        assert found.address == SECOND
        assert time.monotonic() - began < greetings.TAKEN_SECONDS


def test_nobody_listening_fails_before_the_time_is_up_with_a_reason_per_address() -> None:
    with socket.create_server((str(FIRST), 0)) as free:
        port = free.getsockname()[1]
    with Greetings((FIRST, SECOND), port) as waiting:
        began = time.monotonic()
        with pytest.raises(ssh.NotReachableError, match="No SSH server greets") as caught:
            waiting.wait(30)
        assert time.monotonic() - began < greetings.TAKEN_SECONDS
    assert caught.value.details == (
        "127.0.0.1: Connection refused",
        "127.0.0.2: Connection refused",
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "it hung up"),
        (b"220 mail.test ESMTP\r\n", "not an SSH server yet, it says '220 mail.test ESMTP'"),
    ],
    ids=["nothing", "mail"],
)
def test_something_else_is_not_taken_for_an_ssh_server(said: bytes, reason: str) -> None:
    def answer(taken: socket.socket) -> None:
        taken.sendall(said)
        taken.close()

    with (
        server(answer) as (port, _calls),
        Greetings((FIRST,), port) as waiting,
        pytest.raises(ssh.NotReachableError) as caught,
    ):
        waiting.wait(5)
    assert caught.value.details == (f"127.0.0.1: {reason}",)


def test_server_that_hung_up_is_called_again_at_the_next_wait() -> None:
    def hang_up_once(taken: socket.socket) -> None:
        if len(calls) == 1:
            taken.close()
        else:
            greet(taken)

    with server(hang_up_once) as (port, calls), Greetings((FIRST,), port) as waiting:
        with pytest.raises(ssh.NotReachableError, match="No SSH server greets"):
            waiting.wait(5)
        waiting.wait(5).connection.close()


def test_address_of_no_network_is_a_reason_and_no_error() -> None:
    nowhere = IPv4Address("255.255.255.255")
    with Greetings((nowhere,), 22) as waiting, pytest.raises(ssh.NotReachableError) as caught:
        waiting.wait(5)
    assert str(nowhere) in caught.value.details[0]


def test_connections_that_greeted_nobody_are_closed_at_the_end() -> None:
    with server(silence) as (port, calls):
        with Greetings((FIRST,), port) as waiting, pytest.raises(ssh.NotReachableError):
            waiting.wait(0.1)
        calls[0].settimeout(5)
        assert calls[0].recv(1) == b""
