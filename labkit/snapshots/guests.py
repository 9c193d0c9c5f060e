"""What is asked of the guests over SSH: flush and remember before, prove and tell the time after."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.host import ssh

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.snapshots.members import Member
    from labkit.state.tools import Connect, Tools

log = logging.getLogger(__name__)

# Both in the guest's memory: a reboot loses them, a restore does not. The agent writes as root, SSH
# as a user, and neither may write the other's file (fs.protected_regular).
AGENT_NONCE = "/run/labkit-nonce"
SSH_NONCE = "/dev/shm/labkit-nonce"  # noqa: S108 -- in the guest
AGENT_SECONDS = 5
FLUSH_SECONDS = 120.0
CLOCK_SECONDS = 1.0
# Stepped when it is off by more than this, so that the promise above has room.
STEP_SECONDS = 0.5
STEPS = 3

# The shell reads and writes by itself and without sudo: every process costs an emulated guest a
# quarter of a second, sudo more than one.
_MARK = f"read -r n </proc/sys/kernel/random/uuid && echo $n >{SSH_NONCE} && echo $n; sync"
# bash 5 knows the time by itself, CentOS 7's bash 4.2 does not.
_PROBE = (
    f"for f in {AGENT_NONCE} {SSH_NONCE}; do [ -r $f ] && read -r n <$f && echo nonce $n; done; "
    "echo clock ${EPOCHREALTIME:-$(date +%s.%N)}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a restored guest showed, besides that its memory is the one that was kept.

    Attributes:
        node: Its name.
        address: The address that took the SSH session, its host key checked.
        connected: When it took the SSH session, by the monotonic clock.
        clock_seconds: How far its clock may be from the host's, at most.
        clock_by: What set its clock: "agent" or "SSH"; empty when it was right by itself.
    """

    node: str
    address: str
    connected: float
    clock_seconds: float
    clock_by: str


def mark(member: Member, endpoint: ssh.Endpoint, connect: Connect) -> str:
    """Flush the guest's file systems, leave a nonce in its memory, and return its SHA-256.

    The guest agent does it where it may: an SSH session costs an emulated guest seconds.

    Returns:
        The digest; empty when neither agent nor SSH answers: then nothing was flushed either.

    Raises:
        WrongHostKeyError: Something else answers at its address.
        OperationError: The guest refuses.
    """
    nonce = secrets.token_hex(16)
    snapshots, uuid = member.hypervisor.snapshots, member.node.uuid
    by_agent = snapshots.agent_write(uuid, AGENT_NONCE, f"{nonce}\n", timeout=AGENT_SECONDS)
    if by_agent and snapshots.agent_flush(uuid, timeout=AGENT_SECONDS):
        return digest(nonce)
    return _mark_by_ssh(endpoint, connect)


def _mark_by_ssh(endpoint: ssh.Endpoint, connect: Connect) -> str:
    try:
        with connect(endpoint) as session:
            result = session.run(_MARK, timeout=FLUSH_SECONDS)
    except ssh.NotReachableError as exc:
        log.warning("'%s' could not be flushed: %s %s", endpoint.node, exc, exc.details)
        return ""
    nonce = result.stdout.strip()
    if result.returncode != 0 or not nonce:
        message = f"The node '{endpoint.node}' could not be flushed before its snapshot."
        raise OperationError(message, details=tuple(result.stderr.splitlines()))
    return digest(nonce)


def digest(nonce: str) -> str:
    """Return what is written down of a nonce."""
    return hashlib.sha256(nonce.encode()).hexdigest()


def prove(
    endpoint: ssh.Endpoint, nonce: str, *, tools: Tools, agent_done: Callable[[], bool]
) -> Proof:
    """Log in, see that the guest is the one that was kept, and that its clock is right.

    Args:
        endpoint: How to reach it.
        nonce: Digest of its nonce.
        tools: SSH and the clock.
        agent_done: Waits for the guest agent and returns whether it has set the clock.

    Raises:
        NotReachableError: It takes no SSH session.
        WrongHostKeyError: Something else answers at its address.
        OperationError: It lost its memory, or its clock cannot be set.
    """
    with tools.ssh(endpoint) as session:
        connected = tools.clock()
        answer, by = _right_time(endpoint.node, session, agent_done)
        address = str(session.address)
    if answer.off > CLOCK_SECONDS:
        message = f"The clock of '{endpoint.node}' is {answer.off:.1f} s off and could not be set."
        raise OperationError(message)
    if nonce not in {digest(each) for each in answer.nonces}:
        message = (
            f"The node '{endpoint.node}' runs, but not from the memory that was kept: the nonce "
            "of the snapshot is not there."
        )
        raise OperationError(
            message, hint="It was started anew meanwhile: run 'labkit restore' once more."
        )
    return Proof(
        node=endpoint.node,
        address=address,
        connected=connected,
        clock_seconds=answer.off,
        clock_by=by,
    )


def _right_time(
    node: str, session: ssh.Connection, agent_done: Callable[[], bool]
) -> tuple[ProbeAnswer, str]:
    answer = _asked(node, session)
    by = "agent" if agent_done() else ""
    if by and answer.off > STEP_SECONDS:
        answer = _asked(node, session)
    for _ in range(STEPS):
        if answer.off <= STEP_SECONDS:
            break
        by = "SSH"
        # Relative to the guest's own clock, so that it does not matter when it gets to it.
        session.run(f"sudo date -s '{answer.shift:+.3f} seconds'", timeout=ssh.ANSWER_SECONDS)
        answer = _asked(node, session)
    return answer, by


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """What a guest told of itself.

    Attributes:
        nonces: What lies in its memory.
        off: How far its clock is outside of what the host saw before and after, seconds.
        shift: What to add to its clock to make it the host's, as well as can be told, seconds.
    """

    nonces: tuple[str, ...]
    off: float
    shift: float


def _asked(node: str, session: ssh.Connection) -> ProbeAnswer:
    before = time.time()
    result = session.run(_PROBE, timeout=ssh.ANSWER_SECONDS)
    return read_probe(result.stdout, node=node, before=before, after=time.time())


def read_probe(text: str, *, node: str, before: float, after: float) -> ProbeAnswer:
    """Return what a guest told of itself.

    Args:
        text: Its answer.
        node: Its name.
        before: The host's time before the question.
        after: The host's time after the answer.

    Raises:
        OperationError: It told no time.
    """
    answers = [line.partition(" ")[::2] for line in text.splitlines()]
    told = next((value for word, value in answers if word == "clock"), "")
    try:
        # bash writes the locale's decimal separator.
        clock = float(told.replace(",", "."))
    except ValueError as exc:
        message = f"The node '{node}' should have told its time, but it said '{told}'."
        raise OperationError(message) from exc
    return ProbeAnswer(
        nonces=tuple(value for word, value in answers if word == "nonce"),
        off=max(before - clock, clock - after, 0.0),
        shift=(before + after) / 2 - clock,
    )
