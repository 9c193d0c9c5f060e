"""SSH to a node: the lab's key in, the node's own host key checked, nothing trusted on sight."""

from __future__ import annotations

import logging
import socket
import threading
import time
from base64 import b64decode
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.host.process import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address
    from pathlib import Path

    import paramiko  # noqa: TID251 -- this module is the one allowed to

log = logging.getLogger(__name__)

PORT = 22
USER = "vagrant"
# For a TCP connection, which the guest's kernel takes however busy its programs are.
CONNECT_SECONDS = 5.0
# For the keys, and once more to log in: an emulated guest takes 3 s, beside eight others ten times
# as long. A session given up for a new one would cost it all of that again.
HANDSHAKE_SECONDS = 60.0
# After which another end that acknowledges nothing is gone: its card was taken away, or it is off.
# The kernels settle that between them, so what is only slow is never taken for it.
GONE_SECONDS = 20.0
_KEEPALIVE_SECONDS = 5
# Silence after which a short question counts as lost although the guest's kernel is there. One
# emulated guest answers within a second; asked anew, a slow one has a session to make besides.
ANSWER_SECONDS = 120.0
AS_ROOT = "sudo -n bash -s"
# A command that never falls silent may take this many times what silence may.
WHOLE_FACTOR = 10
CHUNK_BYTES = 64 * 1024


class NotReachableError(OperationError):
    """No SSH session yet; the message names the layer that failed. Worth another try."""


class WrongHostKeyError(OperationError):
    """Something answers with a key that is not the node's. Not worth another try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How to reach a node.

    Attributes:
        node: Its name, for messages.
        addresses: Its addresses in the order they are tried: Packstack takes the first NIC
            away for a while.
        key_file: The lab's private key.
        host_key: The node's public host key, `<type> <base64>`.
        port: TCP port; nodes use 22.
    """

    node: str
    addresses: tuple[IPv4Address, ...]
    key_file: Path
    host_key: str
    port: int = PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteResult:
    """What a command on a node returned."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptResult:
    """What a script on a node returned; its output may be any bytes."""

    returncode: int
    stdout: bytes
    stderr: str


class Connection(AbstractContextManager["Connection"]):
    """An open SSH session; a context manager."""

    def __init__(self, client: paramiko.SSHClient, node: str, address: IPv4Address) -> None:
        self._client = client
        self.node = node
        self.address = address

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the session; closing it twice is no error."""
        self._client.close()

    def run(self, command: str, *, timeout: float) -> RemoteResult:
        """Run a shell command on the node and return what came back, whatever its status.

        Args:
            command: A line for the login shell; quote with `shlex.quote`.
            timeout: Seconds of silence after which it counts as lost; as a whole it may take
                `WHOLE_FACTOR` times that.

        Raises:
            NotReachableError: The session broke, stayed silent or did not come to its end.
        """
        code, out, err = self._exchange(command, b"", timeout=timeout)
        return RemoteResult(
            returncode=code,
            stdout=out.decode("utf-8", "replace"),
            stderr=err.decode("utf-8", "replace"),
        )

    def run_script(self, script: str, *, what: str, timeout: float) -> ScriptResult:
        """Run a bash script as root on the node; it travels on standard input.

        So neither the node's process list nor a log shows what is in it.

        Args:
            script: The script; the commands in it find nothing on their standard input.
            what: What it does, for log and errors.
            timeout: As for `run`.

        Raises:
            NotReachableError: As `run`.
        """
        # bash reads the next line only when it gets there: a command that reads would eat it.
        whole = f"{{\n{script}\n}} </dev/null\nexit\n"
        code, out, err = self._exchange(AS_ROOT, whole.encode(), timeout=timeout, what=what)
        return ScriptResult(returncode=code, stdout=out, stderr=err.decode("utf-8", "replace"))

    def _exchange(
        self, command: str, stdin: bytes, *, timeout: float, what: str = ""
    ) -> tuple[int, bytes, bytes]:
        import paramiko  # noqa: PLC0415, TID251 -- 0.15 s that only SSH verbs should pay

        shown = what or command
        log.debug("ssh %s: %s", self.node, shown)
        whole = timeout * WHOLE_FACTOR
        until = time.monotonic() + whole
        try:
            with self._closed_after(timeout):
                writer, stdout, _stderr = self._client.exec_command(command, timeout=timeout)
                channel = stdout.channel
                if stdin:
                    writer.write(stdin)
                    writer.flush()
                    channel.shutdown_write()
            out = _read(channel.recv, until)
            err = _read(channel.recv_stderr, until)
            # What was read to its end has sent its status as well, unless the connection died.
            with self._closed_after(timeout):
                code = channel.recv_exit_status()
        except (paramiko.SSHException, OSError, EOFError) as exc:
            message = f"The SSH session with '{self.node}' broke during '{shown}'."
            limit = timeout if time.monotonic() < until else whole
            raise NotReachableError(message, details=(_reason(exc, limit),)) from exc
        if code < 0:
            message = f"The SSH session with '{self.node}' ended during '{shown}'."
            raise NotReachableError(message, details=("no exit status came",))
        log.debug("ssh %s: exit %d", self.node, code)
        return code, out, err

    @contextmanager
    def _closed_after(self, seconds: float) -> Iterator[None]:
        """Close the session when the block takes longer: paramiko knows no limit for what is in it.

        Raises:
            TimeoutError: It did.
        """
        until = time.monotonic() + seconds
        timer = threading.Timer(seconds, self._client.close)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as exc:
            if time.monotonic() >= until:
                raise TimeoutError from exc
            raise
        finally:
            timer.cancel()
        if time.monotonic() >= until:
            raise TimeoutError


def _read(receive: Callable[[int], bytes], until: float) -> bytes:
    """Return a stream to its end; `receive` has the channel's own limit for silence.

    Raises:
        TimeoutError: It fell silent, or went on after `until`.
    """
    parts: list[bytes] = []
    while part := receive(CHUNK_BYTES):
        parts.append(part)
        if time.monotonic() > until:
            raise TimeoutError
    return b"".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """An open connection on which an SSH server has said who it is.

    Attributes:
        address: The server's address.
        connection: The connection; what the server said can still be read from it, so that
            `connect` can go on with it. A guest starts a process for every connection.
    """

    address: IPv4Address
    connection: socket.socket


def keep_watch(connection: socket.socket) -> None:
    """Have the kernel end a connection whose other end is gone (tcp(7)), and no other.

    Reading from it then raises TimeoutError or ConnectionResetError.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(GONE_SECONDS * 1000))


def connect(
    endpoint: Endpoint,
    *,
    greeted: Greeting | None = None,
    handshake_seconds: float = HANDSHAKE_SECONDS,
) -> Connection:
    """Open a session over the first address that takes one.

    Args:
        endpoint: The node.
        greeted: A connection to the node to use instead of opening one; closed with the session.
        handshake_seconds: Given for the keys, and as many to log in.

    Raises:
        WrongHostKeyError: An address answers with a foreign host key.
        NotReachableError: No address takes a session; details say why, one line each.
    """
    if greeted is not None:
        return _connect(endpoint, greeted.address, handshake_seconds, greeted.connection)
    problems: list[str] = []
    for address in endpoint.addresses:
        try:
            return _connect(endpoint, address, handshake_seconds)
        except NotReachableError as exc:
            problems.append(f"{address}: {exc.details[0] if exc.details else exc.message}")
    message = f"No address of '{endpoint.node}' takes an SSH session."
    raise NotReachableError(message, details=tuple(problems))


def _connect(
    endpoint: Endpoint,
    address: IPv4Address,
    seconds: float,
    connection: socket.socket | None = None,
) -> Connection:
    import paramiko  # noqa: PLC0415, TID251 -- 0.15 s that only SSH verbs should pay

    client = paramiko.SSHClient()
    kind, blob = endpoint.host_key.split()[:2]
    key = paramiko.PKey.from_type_string(kind, b64decode(blob))
    # OpenSSH's known_hosts form: the port is part of the name unless it is 22.
    name = str(address) if endpoint.port == PORT else f"[{address}]:{endpoint.port}"
    client.get_host_keys().add(name, kind, key)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        if connection is None:
            # Made here and not by paramiko, to be watched from its first packet.
            connection = socket.create_connection((str(address), endpoint.port), CONNECT_SECONDS)
            keep_watch(connection)
        client.connect(
            str(address),
            port=endpoint.port,
            username=USER,
            key_filename=str(endpoint.key_file),
            timeout=seconds,
            banner_timeout=seconds,
            auth_timeout=seconds,
            allow_agent=False,
            look_for_keys=False,
            sock=connection,
        )
    except paramiko.BadHostKeyException as exc:
        client.close()
        message = f"{address} answers with another SSH host key than '{endpoint.node}' was given."
        raise WrongHostKeyError(
            message,
            details=(f"expected {kind} {blob[:24]}…, found {exc.key.get_base64()[:24]}…",),
            hint="Another machine uses this address; find it with 'ip neigh' and 'arping'.",
        ) from exc
    except (paramiko.SSHException, OSError, EOFError) as exc:
        client.close()
        message = f"'{endpoint.node}' takes no SSH session at {address}."
        reason = _reason(exc, CONNECT_SECONDS)
        if not isinstance(exc, OSError):
            reason += f" (it has {seconds:g} s for the keys, as many to log in)"
        raise NotReachableError(message, details=(reason,)) from exc
    return Connection(client, endpoint.node, address)


def _reason(exc: BaseException, limit: float) -> str:
    # The kernel's own, which has a number, says that the other end is gone.
    if isinstance(exc, TimeoutError) and exc.errno is None:
        return f"it was not done within {limit:g} s"
    return str(exc) or type(exc).__name__


def generate_key(target: Path, kind: str, comment: str) -> None:
    """Make a key pair without a passphrase at `target` and `target.pub`, if none is there.

    Args:
        target: Where the private half goes; ssh-keygen makes it 0600.
        kind: `rsa`, in PEM form: what Vagrant's net-ssh reads on every distribution (ed25519
            needs further gems, ECDSA fails on OpenSSL 3), of 2048 bits as Vagrant's own
            (2.3.4, util/keypair.rb), because the machines wait for it; or `ed25519`.
        comment: Goes into the public half.
    """
    if target.exists() and target.with_name(f"{target.name}.pub").exists():
        return
    target.unlink(missing_ok=True)
    form = ["-b", "2048", "-m", "PEM"] if kind == "rsa" else []
    run(
        ["ssh-keygen", "-q", "-t", kind, *form, "-N", "", "-C", comment, "-f", target],
        timeout=60,
    )
