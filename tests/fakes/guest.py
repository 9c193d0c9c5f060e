"""A fake guest: answers scripts by what they are for, as `labkit.host.ssh.Connection` would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from labkit.host import ssh
from labkit.packstack.connection import NodeConnection

Answer = bytes | ssh.ScriptResult | Callable[[str], bytes | ssh.ScriptResult]
BOOT = "11111111-1111-1111-1111-111111111111"


def sample(
    output: bytes = b"",
    *,
    state: str = "running",
    code: str = "-",
    run_id: str = "r1",
    boot: str = BOOT,
    size: int | None = None,
    free: int = 2**30,
) -> bytes:
    """Return what `look.sh` prints."""
    length = len(output) if size is None else size
    head = f"{state} {code} {run_id} {BOOT} {boot} 1000 1060 {free} {length}\n"
    return head.encode() + output


@dataclass
class FakeGuest:
    """Answers by the beginning of `what`; a list is used up from its front, its last stays.

    `asked` records what was asked, and the script of it.
    """

    answers: Mapping[str, list[Answer] | Answer]
    name: str = "controller"
    asked: list[tuple[str, str]] = field(default_factory=list)

    def run_script(self, script: str, *, what: str, timeout: float) -> ssh.ScriptResult:
        """Answer a script."""
        del timeout
        self.asked.append((what, script))
        key = next((key for key in self.answers if what.startswith(key)), None)
        assert key is not None, f"nobody told the fake guest what to answer to '{what}'"
        answer = self.answers[key]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(script)
        if isinstance(answer, ssh.ScriptResult):
            return answer
        return ssh.ScriptResult(returncode=0, stdout=answer, stderr="")

    def run(self, command: str, *, timeout: float) -> ssh.RemoteResult:
        """Answer a command as its script."""
        found = self.run_script(command, what=command, timeout=timeout)
        return ssh.RemoteResult(
            returncode=found.returncode, stdout=found.stdout.decode(), stderr=found.stderr
        )

    def close(self) -> None:
        """Be closed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def connection(self) -> NodeConnection:
        """Return a connection to it."""
        endpoint = ssh.Endpoint(
            node=self.name,
            addresses=(IPv4Address("192.0.2.1"),),
            key_file=Path("key"),
            host_key="ssh-ed25519 AAAA",
        )
        return NodeConnection(
            endpoint,
            cancelled=lambda: False,
            lost_seconds=1.0,
            connect=lambda _endpoint: self,  # type: ignore[arg-type, return-value] # the methods used
        )

    def questions(self, beginning: str) -> int:
        """Return how often something was asked."""
        return sum(what.startswith(beginning) for what, _ in self.asked)
