"""Every call to libvirtd made so that it ends, also when libvirtd or the storage behind it hangs.

libvirt waits in C, where Python runs no signal handler: neither Ctrl-C nor the end of `--timeout`
acts, and a libvirtd that hangs never ends the wait. So a thread of its own makes the call, and the
caller waits where it can be interrupted and can look whether libvirtd still answers. libvirt's own
keepalive would not do: it does nothing for Ctrl-C, and libvirtd then closes the connection of a
labkit that Ctrl-Z has stopped for 30 s.
"""

from __future__ import annotations

import errno
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, TypeVar, cast

import libvirt  # noqa: TID251 -- every call to it passes here

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Answered from memory, without libvirtd.
_LOCAL = {"name"}
# These save and load memory and merge images, or wait for a guest to say or to hear something:
# minutes are normal, and hours no fault.
_LONG = {"snapshotCreateXML", "revertToSnapshot", "delete", "recv", "send"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How many seconds each part of a call may take.

    Attributes:
        opening: Opening a connection: systemd may have to start libvirtd, which asks QEMU first.
        quiet: A call, before libvirtd is asked whether it is still there.
        answer: libvirtd's answer to that, which costs it nothing: only a host that stands still for
            as long would be taken for a libvirtd that hangs.
        call: Any call but the long ones, with a libvirtd that answers.
        grace: An interrupted call, to end by itself before its result is given up.
        last: The same when libvirtd answers, so that what it just does is not left half done.
    """

    opening: float = 30.0
    quiet: float = 5.0
    answer: float = 20.0
    call: float = 600.0
    grace: float = 1.0
    last: float = 10.0


PATIENCE = Patience()


def opened(uri: str, patience: Patience = PATIENCE) -> libvirt.virConnect:
    """Open a connection, of which every call ends.

    Its objects behave as libvirt's own; a call that libvirtd leaves unanswered raises a
    libvirtError like any other, and so do all later ones of the connection.
    """
    calls = _Calls(patience)
    opening = calls.start(partial(libvirt.open, uri))
    if not _ended(opening, patience.opening):
        raise _unanswered(patience.opening)
    connection = opening.result()
    calls.ping = connection.getLibVersion
    return cast("libvirt.virConnect", _Object(connection, calls))


def through(handle: object, function: Callable[..., T], *arguments: object) -> T:
    """Call a function of libvirt that takes one of a connection's objects first."""
    call = partial(function, handle, *arguments)
    return handle.labkit_calls.ask(call) if isinstance(handle, _Object) else call()


class _Calls:
    """The calls of one connection, and the threads that make them."""

    def __init__(self, patience: Patience) -> None:
        self.ping: Callable[[], object] = int
        self._patience = patience
        self._idle: list[SimpleQueue[Callable[[], None]]] = []
        self._lost: BaseException | None = None

    def ask(self, function: Callable[[], T], *, seconds: float | None = None) -> T:
        """Return what a function returns; give it up when libvirtd hangs or an interrupt comes.

        An interrupt lets a call of a libvirtd that answers come to its end, as one in C would.

        Args:
            function: The call.
            seconds: How long it may take while libvirtd answers; Patience's for None.
        """
        if self._lost is not None:
            raise self._lost
        end = time.monotonic() + (self._patience.call if seconds is None else seconds)
        future = self.start(function)
        try:
            while not _ended(future, self._patience.quiet):
                self._require_answer(future, end)
        except libvirt.libvirtError:
            raise
        except BaseException as exc:
            grace = self._patience.grace
            try:
                if not _ended(future, grace) and self._answers(grace):
                    _ended(future, self._patience.last)
            finally:
                # Cleaning up over this connection must neither wait again nor hide the interrupt.
                if not future.done():
                    self._lost = exc
            raise
        return future.result()

    def start(self, function: Callable[[], T]) -> Future[T]:
        """Have a thread make a call; it may never come back, and then ends with the process."""
        future: Future[T] = Future()
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = SimpleQueue()
            Thread(target=self._work, args=(worker,), daemon=True).start()
        worker.put(partial(_perform, future, function))
        return future

    def _require_answer(self, future: Future[T], end: float) -> None:
        if not self._answers(self._patience.answer) and not future.done():
            self._lost = _unanswered(self._patience.quiet + self._patience.answer)
            raise self._lost
        if time.monotonic() > end:
            raise _unfinished(self._patience.call)

    def _answers(self, seconds: float) -> bool:
        return _ended(self.start(self.ping), seconds)

    def _work(self, jobs: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            try:
                jobs.get(timeout=self._patience.quiet)()
            except Empty:
                with suppress(ValueError):  # taken a moment ago: its job is on the way
                    self._idle.remove(jobs)
                    return
            else:
                self._idle.append(jobs)


class _Object:
    """A libvirt object whose calls go through `_Calls`, as do those of what they return."""

    def __init__(self, real: object, calls: _Calls) -> None:
        self.labkit_calls = calls
        self._real = real

    def __getattr__(self, name: str) -> object:
        found = getattr(self._real, name)
        if not callable(found) or name in _LOCAL:
            return found
        seconds = float("inf") if name in _LONG else None

        def call(*arguments: object) -> object:
            return self._wrapped(
                self.labkit_calls.ask(partial(found, *arguments), seconds=seconds)
            )

        return call

    def _wrapped(self, result: object) -> object:
        if isinstance(result, list):
            return [self._wrapped(item) for item in result]
        # Only libvirt's classes have it: the C object inside.
        return _Object(result, self.labkit_calls) if hasattr(result, "_o") else result


def _perform(future: Future[T], function: Callable[[], T]) -> None:
    try:
        result = function()
    except BaseException as exc:  # noqa: BLE001 -- the caller's, in another thread
        future.set_exception(exc)
    else:
        future.set_result(result)


def _ended(future: Future[T], seconds: float) -> bool:
    try:
        future.exception(timeout=seconds)
    except TimeoutError:
        return False
    return True


def _unanswered(seconds: float) -> libvirt.libvirtError:
    text = f"no answer within {seconds:g} s"
    return _error(libvirt.VIR_ERR_SYSTEM_ERROR, text, errno.ETIMEDOUT)


def _unfinished(seconds: float) -> libvirt.libvirtError:
    text = f"not done within {seconds:g} s, though libvirtd answers: QEMU or the storage may hang"
    return _error(libvirt.VIR_ERR_OPERATION_TIMEOUT, text, 0)


def _error(code: int, text: str, number: int) -> libvirt.libvirtError:
    """Return an error as libvirt's RPC layer would have made it."""
    error = libvirt.libvirtError(text)
    level = libvirt.VIR_ERR_ERROR
    error.err = (code, libvirt.VIR_FROM_RPC, text, level, "", None, None, number, 0)
    return error
