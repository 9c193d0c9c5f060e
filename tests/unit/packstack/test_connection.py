from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from labkit.host import ssh
from labkit.packstack.connection import NodeConnection
from labkit.waiting import WaitCancelled, WaitTimeout

ENDPOINT = ssh.Endpoint(
    node="controller",
    addresses=(IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")),
    key_file=Path("key"),
    host_key="ssh-ed25519 AAAA",
)


@dataclass
class FakeConnection:
    """Answers until it is told to break."""

    answers: list[str | None]
    closed: bool = False

    def run(self, command: str, *, timeout: float) -> ssh.RemoteResult:
        del timeout
        answer = self.answers.pop(0)
        if answer is None:
            msg = f"broke during {command}"
            raise ssh.NotReachableError(msg)
        return ssh.RemoteResult(returncode=0, stdout=answer, stderr="")

    def run_script(self, script: str, *, what: str, timeout: float) -> ssh.ScriptResult:
        del what
        return ssh.ScriptResult(
            returncode=0, stdout=self.run(script, timeout=timeout).stdout.encode(), stderr=""
        )

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeNode:
    """Gives out connections in order; None stands for one that cannot be made."""

    connections: list[FakeConnection | None]
    given: list[FakeConnection] = field(default_factory=list)

    def connect(self, _endpoint: ssh.Endpoint) -> ssh.Connection:
        found = self.connections.pop(0)
        if found is None:
            msg = "no route"
            raise ssh.NotReachableError(msg)
        self.given.append(found)
        return found  # type: ignore[return-value] # it has the methods that are used


def connection(
    node: FakeNode, *, cancelled: bool = False, lost_seconds: float = 5.0
) -> NodeConnection:
    return NodeConnection(
        ENDPOINT, cancelled=lambda: cancelled, lost_seconds=lost_seconds, connect=node.connect
    )


def date(connection: ssh.Connection) -> str:
    return connection.run("date", timeout=1).stdout


def test_run_script_uses_the_session_there_is_and_another_when_that_is_lost() -> None:
    node = FakeNode([FakeConnection(["a", "b", None]), FakeConnection(["c"])])
    with connection(node) as asked:
        said = [asked.run_script("date", what="ask", timeout=1.0).stdout for _ in range(3)]
    assert said == [b"a", b"b", b"c"]
    assert (len(node.given), asked.outages) == (2, 1)


def test_ask_twice_uses_one_session() -> None:
    node = FakeNode([FakeConnection(["a", "b"])])
    with connection(node) as asked:
        assert (asked.ask(date), asked.ask(date), asked.outages) == ("a", "b", 0)
    assert node.given[0].closed


def test_ask_through_a_broken_session_makes_a_new_one() -> None:
    node = FakeNode([FakeConnection(["a", None]), None, FakeConnection(["b"])])
    with connection(node) as asked:
        assert (asked.ask(date), asked.ask(date)) == ("a", "b")
        assert asked.outages == 2
    assert all(connection.closed for connection in node.given)


def test_ask_a_node_that_stays_away_says_for_what_it_waited() -> None:
    node = FakeNode([None] * 100)
    with (
        connection(node, lost_seconds=0.4) as asked,
        pytest.raises(WaitTimeout, match="node 'controller' to be reachable over SSH") as caught,
    ):
        asked.ask(date)
    assert caught.value.details == ("Last answer: no route",)


def test_ask_within_a_shorter_time_gives_up_then() -> None:
    node = FakeNode([None] * 100)
    with (
        connection(node, lost_seconds=900.0) as asked,
        pytest.raises(WaitTimeout, match="Waited 0 s"),
    ):
        asked.once(date, within=0.3)


def test_ask_when_cancelled_gives_up_at_once() -> None:
    node = FakeNode([])
    with connection(node, cancelled=True) as asked, pytest.raises(WaitCancelled):
        asked.ask(date)


def test_order_that_breaks_is_not_given_again() -> None:
    node = FakeNode([FakeConnection(["alive", None]), FakeConnection(["alive", "done"])])
    with connection(node) as asked:
        with pytest.raises(ssh.NotReachableError, match="broke during date"):
            asked.once(date)
        assert asked.once(date) == "done"
