"""A fake SSH server: real handshake and keys, answers from a table."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import paramiko  # noqa: TID251 -- the server side of what labkit.host.ssh talks to
from paramiko.common import (  # noqa: TID251 -- same
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    MSG_CHANNEL_SUCCESS,
    OPEN_SUCCEEDED,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Answer = tuple[int, str, str]


class _Transport(paramiko.Transport):
    """Knows when a request has been confirmed: an answer sent earlier would overtake that."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self.confirmed = threading.Semaphore(0)

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)  # type: ignore[misc] # not in the stubs
        if data.asbytes()[:1] == bytes([MSG_CHANNEL_SUCCESS]):
            self.confirmed.release()


class _Interface(paramiko.ServerInterface):
    def __init__(
        self, answer: Callable[[str, paramiko.Channel], None], confirm: Callable[[str], bool]
    ) -> None:
        self._answer = answer
        self._confirm = confirm

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if username == "vagrant" else AUTH_FAILED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        # Answered from another thread: the request has to be confirmed first.
        line = command.decode()
        if not self._confirm(line):
            return False
        threading.Thread(target=self._answer, args=(line, channel), daemon=True).start()
        return True


@dataclass
class FakeSshServer:
    """Listens on 127.0.0.1; `answers` maps a command to (status, stdout, stderr).

    An answer may also be what makes it when it is asked for. A command that is not in the table
    gets status 127. `commands` records what was asked, `connections` counts who came. Of the commands
    in `hung`, one that is "unconfirmed" is not even taken, one that is "endless" prints for ever, and one
    that is "silent" ends without saying how. Whoever comes is greeted after `greets_after` seconds.
    """

    host_key: paramiko.PKey
    answers: Mapping[str, Answer | Callable[[], Answer]] = field(default_factory=dict)
    default: Answer = (127, "", "not in the table")
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    hung: Mapping[str, str] = field(default_factory=dict)
    greets_after: float = 0.0
    _closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(self.address())
        self._transports: list[paramiko.Transport] = []
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def address(self) -> tuple[str, int]:
        """Return where it listens; port 0 takes a free one."""
        return "127.0.0.1", 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        # shutdown() wakes accept(); close() alone would leave the thread in it.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in self._transports:
            transport.close()
        self._thread.join(timeout=5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _peer = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._closing.wait(self.greets_after)
            transport = _Transport(connection)
            transport.add_server_key(self.host_key)
            self._transports.append(transport)
            try:
                transport.start_server(
                    server=_Interface(self._answer, self._confirm), event=threading.Event()
                )
            except paramiko.SSHException:
                transport.close()

    def _confirmed(self, channel: paramiko.Channel) -> None:
        transport = channel.get_transport()
        assert isinstance(transport, _Transport)
        transport.confirmed.acquire(timeout=10)

    def _confirm(self, command: str) -> bool:
        return self.hung.get(command) != "unconfirmed" or not self._closing.wait(30)

    def _answer(self, command: str, channel: paramiko.Channel) -> None:
        self.commands.append(command)
        self._confirmed(channel)
        if self.hung.get(command) == "endless":
            with contextlib.suppress(OSError):
                while not self._closing.wait(0.02):
                    channel.sendall(b"x")
            return
        if self.hung.get(command) == "silent":
            channel.shutdown_write()
            return
        found = self.answers.get(command, self.default)
        status, out, err = found() if callable(found) else found
        channel.sendall(out.encode())
        channel.sendall_stderr(err.encode())
        channel.send_exit_status(status)
        channel.close()
