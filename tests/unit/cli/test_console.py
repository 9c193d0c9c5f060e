from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from labkit.cli.console import LOCKED, enter
from labkit.cli.nodes import enters_console
from labkit.errors import HostError, OperationError, UsageError
from labkit.host.libvirt.console import ConsoleInUseError, NoConsoleError
from labkit.host.libvirt.xml import DomainState
from tests.fakes.libvirt import FakeHost
from tests.support import labs, sessions
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session


class Place:
    """A running lab on a fake host, and a terminal of which labkit has the inner end."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.lab = labs.lab()
        self.host = FakeHost()
        self.host.add_lab(self.lab)
        self.session: Session = sessions.session(path, self.lab, self.host)
        self.session.directory.create()
        self.node: ResolvedNode = self.lab.nodes[0]
        self.terminal = Terminal()
        self.type = self.terminal.type

    @property
    def log(self) -> Path:
        return self.session.directory.console_log(self.node.name)

    def enter(self, *, force: bool = False, login: bool = False) -> None:
        with (
            open(self.terminal.inner, encoding="utf-8", closefd=False) as stdin,
            open(self.terminal.inner, "w", encoding="utf-8", closefd=False) as stdout,
            self._monkeypatch.context() as ours,
        ):
            for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stdout)):
                ours.setattr(sys, name, stream)
            enter(self.session, self.node, force=force, login=login)

    def seen(self) -> str:
        return self.terminal.look().decode().replace("\r\n", "\n")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("TERM", "dumb")
    made = Place(tmp_path, monkeypatch)
    with made.terminal:
        yield made


def beside(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_console_names_its_escape_and_shows_the_end_of_what_was_said(place: Place) -> None:
    place.log.write_bytes(b"old\r\n" * 50 + b"\x1b[2Jbooted \xc2\x9b\r\none login: ")
    place.type(b"\x1d")

    place.enter()

    assert place.host.calls == [("console", place.node.domain)]
    seen = place.seen()
    assert f"the console of '{place.node.name}'; Ctrl-] (^]) leaves it\n" in seen
    assert seen.endswith("booted \\u009b\none login: \n")
    assert seen.count("old") < 20


def test_console_whose_log_is_not_there_can_be_entered(place: Place) -> None:
    place.type(b"ls\x1d")
    place.enter()
    assert place.host.stream.heard == b"ls"


def test_console_of_a_paused_node_says_that_it_is_paused(place: Place) -> None:
    place.host.state(place.node.uuid, DomainState.PAUSED)
    place.type(b"\x1d")
    place.enter()
    assert "is paused and says nothing; 'labkit up' lets it go on" in place.seen()


@pytest.mark.parametrize("state", [DomainState.SHUTOFF, DomainState.CRASHED])
def test_console_of_a_node_that_is_off_is_refused(place: Place, state: DomainState) -> None:
    place.host.state(place.node.uuid, state)
    with pytest.raises(OperationError, match="is off") as caught:
        place.enter()
    assert "labkit up" in caught.value.hint
    assert place.host.calls == []


def test_console_of_a_node_that_was_never_made_is_refused(place: Place) -> None:
    del place.host.domains[place.node.uuid]
    with pytest.raises(OperationError, match="never started") as caught:
        place.enter()
    assert caught.value.hint == "Run 'labkit up' first."


def test_console_somebody_has_is_refused_and_taken_over_when_told(place: Place) -> None:
    domain, node = place.node.domain, place.node.name
    place.host.fail("console", domain, ConsoleInUseError("no", details=("Active session",)))
    with pytest.raises(OperationError, match="Somebody else is at the console") as caught:
        place.enter()
    assert caught.value.details == ("Active session",)
    assert caught.value.hint == f"'labkit console --force {node}' takes it over."

    place.type(b"\x1d")
    place.enter(force=True)
    assert place.host.calls[-1] == ("force console", domain)


def test_console_of_a_node_of_an_older_labkit_can_be_read(place: Place) -> None:
    place.host.fail("console", place.node.domain, NoConsoleError("no", details=("no PTY",)))
    with pytest.raises(OperationError, match="can only be read") as caught:
        place.enter()
    assert f"labkit console --log {place.node.name}" in caught.value.hint


def test_console_that_ends_with_its_node_says_so(place: Place) -> None:
    def off() -> None:
        place.host.stream.until(b"x")
        place.host.state(place.node.uuid, DomainState.SHUTOFF)
        place.host.stream.say(b"Power down\r\n", b"")

    place.type(b"x")
    thread = beside(off)
    place.enter()
    thread.join()
    assert f"Power down\n\nthe node '{place.node.name}' went off" in place.seen()


def test_console_that_ends_without_its_node_is_an_error(place: Place) -> None:
    place.host.stream.say(b"")
    with pytest.raises(OperationError, match="though the node runs"):
        place.enter()


def test_login_answers_the_guest_with_a_password_for_this_once(place: Place) -> None:
    stream, known = place.host.stream, place.host.passwords
    given: list[str] = []

    def guest() -> None:
        stream.until(b"\x15\r")
        stream.say(b"one login: ")
        stream.until(b"vagrant\r")
        stream.say(b"Password: ")
        given.extend(known.values())
        stream.until(given[0].encode() + b"\r")
        place.type(b"\x1d")

    thread = beside(guest)
    place.enter(login=True)
    thread.join()

    assert len(given[0]) > 20
    assert given[0] not in place.seen()
    assert known == {(place.node.uuid, "vagrant"): f"encrypted {LOCKED}"}


def test_login_without_an_agent_says_what_is_left(place: Place) -> None:
    place.host.fail(
        "set password",
        place.node.domain,
        OperationError("no", details=("agent is not connected",)),
    )
    with pytest.raises(OperationError, match="could not give anybody a password") as caught:
        place.enter(login=True)
    assert caught.value.details == ("agent is not connected",)
    assert "labkit restore" in caught.value.hint
    assert place.host.stream.closed.is_set()


def test_login_whose_password_cannot_be_taken_back_says_so(place: Place) -> None:
    def breaks() -> None:
        place.host.stream.until(b"\x15\r")
        place.host.fail("set password", place.node.domain, HostError("libvirtd hangs."))
        place.type(b"\x1d")

    thread = beside(breaks)
    place.enter(login=True)
    thread.join()
    assert "stays in place: libvirtd hangs." in place.seen()


def test_console_is_entered_where_a_terminal_is_and_no_log_is_asked_for() -> None:
    assert enters_console("one", only_log=False, asked=False, terminal=True)
    assert enters_console("one", only_log=False, asked=True, terminal=True)
    assert not enters_console("one", only_log=True, asked=False, terminal=True)
    assert not enters_console("one", only_log=False, asked=False, terminal=False)


def test_console_that_cannot_be_entered_is_neither_forced_nor_logged_in_at() -> None:
    for only_log, terminal in ((True, True), (False, False)):
        with pytest.raises(UsageError) as caught:
            enters_console("one", only_log=only_log, asked=True, terminal=terminal)
        assert caught.value.hint == "'labkit console --log one' prints what it said."
