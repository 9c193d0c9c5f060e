"""Turns: how many guests of a lab boot at the same time, and who is next."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from labkit.waiting import HEARD_SECONDS, WaitCancelled

if TYPE_CHECKING:
    from collections.abc import Callable

# Nine emulated stand-ins on two processors, one run each: 115 s four at a time, 127 s two at a
# time, 136 and 141 s all at once. With KVM a boot waits for its disk more than it computes; not
# measured.
EMULATED_PER_CPU = 2
ACCELERATED_PER_CPU = 4


def at_once(cpus: int, *, accelerated: bool) -> int:
    """Return how many guests a host with so many processors boots at the same time."""
    return max(1, cpus * (ACCELERATED_PER_CPU if accelerated else EMULATED_PER_CPU))


class Turns:
    """Lets so many at the same time have their turn, in the order in which they queued."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[Turn] = deque()
        self._lock = threading.Lock()

    def queue(self) -> Turn:
        """Return a turn that comes after all that were queued before."""
        turn = Turn(self._over)
        with self._lock:
            if self._free:
                self._free -= 1
                turn.come.set()
            else:
                self._waiting.append(turn)
        return turn

    def _over(self, turn: Turn) -> None:
        with self._lock:
            if not turn.come.is_set():
                self._waiting.remove(turn)
            elif self._waiting:
                self._waiting.popleft().come.set()
            else:
                self._free += 1


class Turn(AbstractContextManager["Turn"]):
    """A turn of one; as a context manager it ends with the block at the latest."""

    def __init__(self, over: Callable[[Turn], None]) -> None:
        self.come = threading.Event()
        self._over = over
        self._ended = False

    def __exit__(self, *_error: object) -> None:
        """End it."""
        self.end()

    def wait(self, cancelled: Callable[[], bool]) -> None:
        """Wait for it to come.

        Raises:
            WaitCancelled: The wait was given up.
        """
        while not self.come.wait(HEARD_SECONDS):
            if cancelled():
                message = "Waiting for a node's turn to start was cancelled."
                raise WaitCancelled(message)

    def end(self) -> None:
        """Let the next one have its turn; ending it twice is no error. For the thread that has it."""
        if not self._ended:
            self._ended = True
            self._over(self)
