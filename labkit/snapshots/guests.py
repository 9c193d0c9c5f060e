"""What is asked of the guests over SSH: flush and remember before, prove and tell the time after."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit import ssh
from labkit.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

NONCE = "/dev/shm/labkit-nonce"  # noqa: S108 -- in the guest: memory that every user may write
FLUSH_SECONDS = 120.0
ANSWER_SECONDS = 30.0
CLOCK_SECONDS = 1.0
# Stepped when it is off by more than this, so that the promise above has room.
STEP_SECONDS = 0.5

# A reboot loses the nonce, a restore does not. The shell reads and writes by itself and without
# sudo: every process costs an emulated guest a quarter of a second, sudo more than one.
MARK = f"read -r n </proc/sys/kernel/random/uuid && echo $n >{NONCE} && echo $n; sync"
# bash 5 knows the time by itself, CentOS 7's bash 4.2 does not.
PROBE = f"read -r n <{NONCE}; echo nonce $n; echo clock ${{EPOCHREALTIME:-$(date +%s.%N)}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a restored guest showed.

    Attributes:
        node: Its name.
        address: The address that took the SSH session, its host key checked.
        nonce: Whether its memory holds what was put there before the snapshot; None when
            nothing was.
        clock_seconds: How far its clock may be from the host's, at most.
        clock_by: What set its clock: "agent" or "SSH"; empty when it was right by itself.
    """

    node: str
    address: str
    nonce: bool | None
    clock_seconds: float
    clock_by: str


def mark(endpoint: ssh.Endpoint) -> str:
    """Flush the guest's file systems, leave a nonce in its memory, and return its SHA-256.

    Returns:
        The digest; empty when the guest takes no SSH session: then nothing was flushed either.

    Raises:
        WrongHostKeyError: Something else answers at its address.
        OperationError: The guest refuses.
    """
    try:
        with ssh.connect(endpoint) as session:
            result = session.run(MARK, timeout=FLUSH_SECONDS)
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


def prove(endpoint: ssh.Endpoint, nonce: str, *, agent_done: Callable[[], bool]) -> Proof:
    """Log in, see that the guest is the one that was kept, and that its clock is right.

    Args:
        endpoint: How to reach it.
        nonce: Digest of its nonce; empty when none was left.
        agent_done: Waits for the guest agent and returns whether it has set the clock.

    Raises:
        NotReachableError: It takes no SSH session.
        WrongHostKeyError: Something else answers at its address.
        OperationError: It lost its memory, or its clock cannot be set.
    """
    with ssh.connect(endpoint) as session:
        found, off = _asked(session)
        by_agent = agent_done()
        if off > STEP_SECONDS and by_agent:
            found, off = _asked(session)
        by = "agent" if by_agent else ""
        if off > STEP_SECONDS:
            by = "SSH"
            session.run(f"sudo date -s @{time.time():.3f}", timeout=ANSWER_SECONDS)
            found, off = _asked(session)
        address = str(session.address)
    if off > CLOCK_SECONDS:
        message = f"The clock of '{endpoint.node}' is {off:.1f} s off and could not be set."
        raise OperationError(message)
    if nonce and digest(found) != nonce:
        message = (
            f"The node '{endpoint.node}' runs, but not from the memory that was kept: the nonce "
            "of the snapshot is not there."
        )
        raise OperationError(message, hint="It was restarted meanwhile; restore once more.")
    return Proof(
        node=endpoint.node,
        address=address,
        nonce=True if nonce else None,
        clock_seconds=off,
        clock_by=by,
    )


def _asked(session: ssh.Connection) -> tuple[str, float]:
    before = time.time()
    result = session.run(PROBE, timeout=ANSWER_SECONDS)
    return read_probe(result.stdout, before=before, after=time.time())


def read_probe(text: str, *, before: float, after: float) -> tuple[str, float]:
    """Return the nonce, and how far the clock is outside of what the host saw before and after.

    Args:
        text: The guest's answer.
        before: The host's time before the question.
        after: The host's time after the answer.
    """
    answer = dict(line.partition(" ")[::2] for line in text.splitlines())
    try:
        # bash writes the locale's decimal separator.
        clock = float(answer.get("clock", "").replace(",", "."))
    except ValueError:
        clock = math.inf
    return answer.get("nonce", ""), max(before - clock, clock - after, 0.0)
