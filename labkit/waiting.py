"""Waiting: deadlines, the named paces of polling, and the only place that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import tenacity  # noqa: TID251 -- this module is the one that defines retry policies

from labkit.errors import OperationError

if TYPE_CHECKING:
    from typing import Final

T = TypeVar("T")
Clock = Callable[[], float]
Sleep = Callable[[float], None]

# Two stand-in guests side by side on two cores answer SSH after 45 to 75 s under TCG. CentOS 7
# starts several times as much, and a shared build host is slower still.
BOOT_SECONDS: Final = 180.0
TCG_FACTOR: Final = 5.0
# The longest pause in which nobody asks whether the wait was given up.
HEARD_SECONDS: Final = 0.5


class NotYet(Exception):  # noqa: N818 -- it is an answer ("ask again"), not an error
    """Raised by a check whose condition does not hold yet; its text is the reason."""


class WaitTimeout(OperationError):  # noqa: N818 -- reads as what happened, like TimeoutExpired
    """A condition did not come true before its deadline; `details` holds the last reason."""


class WaitCancelled(OperationError):  # noqa: N818 -- reads as what happened
    """A wait was given up because its caller asked for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A point on the monotonic clock, handed down so that nested waits share one budget.

    Attributes:
        at: The point, in seconds of `clock`.
        clock: What tells the time; tests pass their own.
    """

    at: float
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> Deadline:
        """Return the deadline `seconds` from now."""
        return cls(at=clock() + seconds, clock=clock)

    def left(self) -> float:
        """Return the seconds left, never less than 0."""
        return max(0.0, self.at - self.clock())

    def expired(self) -> bool:
        """Return whether the point has been reached."""
        return self.clock() >= self.at

    def within(self, seconds: float) -> Deadline:
        """Return the earlier of this deadline and the one `seconds` from now."""
        return Deadline(at=min(self.at, self.clock() + seconds), clock=self.clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How often to ask again.

    Attributes:
        tick: Seconds between the first and the second try.
        growth: Factor on the pause after every try.
        ceiling: Longest pause in seconds.
        jitter: Up to this many seconds are added at random, so that parallel callers spread out.
    """

    tick: float
    growth: float = 1.0
    ceiling: float = 60.0
    jitter: float = 0.0


# A TCP connect or a socket read costs the guest next to nothing, so these ask often: every pause
# is added to the time `labkit up` takes.
POLL: Final = Policy(tick=0.2)
BOOT: Final = Policy(tick=0.3)
REPORT: Final = Policy(tick=0.05)
SSH_SERVER: Final = Policy(tick=0.1)
SSH_CONNECT: Final = Policy(tick=0.3)
# Each question makes the guest start a process, which under TCG slows what it waits for.
AGENT_READY: Final = Policy(tick=0.5, growth=1.3, ceiling=2.0)
DOWNLOAD: Final = Policy(tick=1.0, growth=2.0, ceiling=30.0, jitter=1.0)


def boot_seconds(*, accelerated: bool, guests: int, cpus: int) -> float:
    """Return the seconds a guest is given from power-on to SSH, `stretched` as it has to be."""
    return stretched(BOOT_SECONDS, accelerated=accelerated, guests=guests, cpus=cpus)


def stretched(seconds: float, *, accelerated: bool, guests: int = 1, cpus: int = 1) -> float:
    """Return a budget meant for one guest under KVM as it has to be for this one.

    Args:
        seconds: The budget.
        accelerated: Whether it runs under KVM.
        guests: How many do the same at the same time.
        cpus: The host's processors; a guest that has to share one is given as much more time.
    """
    alone = seconds if accelerated else seconds * TCG_FACTOR
    return alone * max(1.0, guests / cpus)


def wait_until(
    check: Callable[[], T],
    *,
    what: str,
    deadline: Deadline,
    policy: Policy = POLL,
    retry_on: tuple[type[Exception], ...] = (NotYet,),
    cancelled: Callable[[], bool] | None = None,
    sleep: Sleep = time.sleep,  # noqa: TID251 -- the one default that every wait goes through
) -> T:
    """Call `check` until it returns, and return what it returned.

    It is called at least once, and once more when the deadline is reached. Exceptions that
    `retry_on` does not list pass through at once.

    Args:
        check: Returns the awaited thing, or raises one of `retry_on` for "ask again".
        what: What is waited for, as a noun phrase: "SSH on node 'controller'".
        deadline: When to give up.
        policy: The pauses between the tries.
        retry_on: The exceptions that mean "not yet".
        cancelled: Asked before every try and twice a second between them; True ends the wait.
        sleep: What passes the time; tests pass their own.

    Raises:
        WaitTimeout: The deadline passed; the last reason is in its details.
        WaitCancelled: `cancelled` said so.
    """
    started = deadline.clock()

    def attempt() -> T:
        if cancelled is not None and cancelled():
            msg = f"Waiting for {what} was cancelled."
            raise WaitCancelled(msg)
        return check()

    def pause(state: tenacity.RetryCallState) -> float:
        return min(_backoff(policy)(state), deadline.left())

    def nap(seconds: float) -> None:
        piece = seconds if cancelled is None else HEARD_SECONDS
        while seconds > 0 and not (cancelled is not None and cancelled()):
            sleep(min(piece, seconds))
            seconds -= piece

    retrying = tenacity.Retrying(
        sleep=nap,
        stop=lambda _state: deadline.expired(),
        wait=pause,
        retry=tenacity.retry_if_exception(lambda exc: _means_not_yet(exc, retry_on)),
    )
    try:
        return retrying(attempt)
    except tenacity.RetryError as exc:
        seconds = deadline.clock() - started
        last = exc.last_attempt.exception()
        msg = f"Waited {seconds:.0f} s for {what}, which did not come."
        raise WaitTimeout(msg, details=_reason(last)) from last


def _backoff(policy: Policy) -> Callable[[tenacity.RetryCallState], float]:
    exponential = tenacity.wait_exponential(
        multiplier=policy.tick, exp_base=policy.growth, max=policy.ceiling
    )
    return exponential + tenacity.wait_random(0, policy.jitter)


def _means_not_yet(exc: BaseException, retry_on: tuple[type[Exception], ...]) -> bool:
    return isinstance(exc, retry_on) and not isinstance(exc, WaitCancelled)


def _reason(exc: BaseException | None) -> tuple[str, ...]:
    if exc is None:
        return ()
    return (f"Last answer: {str(exc) or type(exc).__name__}",)
