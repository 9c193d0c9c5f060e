"""What ends a verb from outside: Ctrl-C, SIGTERM, and the time limit of a run.

Each raises an exception in the main thread, and that can get lost on its way: libvirt calls Python
back from C, and drops what is raised there (libvirt-python, libvirt-override.c). So it is raised
anew every second until somebody has it in hand.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

AGAIN_SECONDS = 1.0


def listen() -> None:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A background job of a script, and what nohup starts, is not to hear all of them.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def raise_after(seconds: float, error: Callable[[], BaseException]) -> None:
    """Raise an exception in the main thread when the time is over, until it is in hand."""

    def over(_signal: int, _frame: FrameType | None) -> None:
        fresh = error()
        if not _in_hand(type(fresh)):
            raise fresh

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)


def shield() -> None:
    """Let nothing but SIGKILL end this process from here on.

    The signals are heard and left at that. They are not ignored, because a child inherits that,
    and nobody could then end the Vagrant of a labkit that was killed.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _hear)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise_after(AGAIN_SECONDS, KeyboardInterrupt)
    raise KeyboardInterrupt


def _hear(_signal: int, _frame: FrameType | None) -> None:
    return


def _in_hand(kind: type[BaseException]) -> bool:
    """Return whether such an exception is being handled: its clean-up must not be cut short."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__context__
    return False
