"""Calls that libvirtd leaves unanswered: each ends, by a bound or by an interrupt."""

from __future__ import annotations

import signal
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

import libvirt  # noqa: TID251 -- its errors are what is raised
import pytest

from labkit.errors import HostError, LabkitError, OperationError
from labkit.host.libvirt.calls import Patience, _Calls, _Object, through
from labkit.host.libvirt.connection import connect
from labkit.host.libvirt.errors import HANG_HINT, translated
from labkit.host.libvirt.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# A libvirtd that answers does so at once: the seconds it gets for that cost a test nothing.
SHORT = Patience(opening=0.3, quiet=0.1, answer=3, call=0.5, grace=0.5, last=3)
HANGS = replace(SHORT, answer=0.1)


T = TypeVar("T")
pause = threading.Event().wait  # an event that nobody sets


class Daemon:
    """Stands in for a connection's C side; `hang` is what a SIGSTOP is to libvirtd."""

    def __init__(self) -> None:
        self._o = self
        self.running = threading.Event()
        self.running.set()
        self.stuck = threading.Event()
        self.done: list[str] = []

    def hang(self) -> None:
        self.running.clear()

    def getLibVersion(self) -> int:  # noqa: N802 -- libvirt's name
        self.running.wait(5)
        return 9000000

    def name(self) -> str:
        return "it"

    def quick(self, text: str = "") -> str:
        self.running.wait(5)
        self.done.append(text)
        return text

    def slow(self) -> str:
        pause(0.8)
        return self.quick("slow")

    def endless(self) -> str:
        self.stuck.wait(5)
        return "late"

    def snapshotCreateXML(self) -> Daemon:  # noqa: N802 -- libvirt's name
        pause(0.8)
        return self

    def listed(self) -> list[Daemon]:
        return [self]


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = Daemon()
    yield made
    made.running.set()
    made.stuck.set()


@pytest.fixture
def connection(daemon: Daemon) -> Daemon:
    return watched(daemon, SHORT)


@pytest.fixture
def hanging(daemon: Daemon) -> Daemon:
    """Return a connection to a libvirtd that hangs from now on."""
    connection = watched(daemon, HANGS)
    assert connection.quick("before") == "before"
    daemon.hang()
    return connection


def watched(daemon: T, patience: Patience) -> T:
    calls = _Calls(patience)
    calls.ping = cast("Daemon", daemon).getLibVersion
    return cast("T", _Object(daemon, calls))


@pytest.fixture
def silent_uri(tmp_path: Path) -> Iterator[str]:
    """Return the URI of a libvirtd that takes connections and never says a word."""
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield f"qemu+unix:///system?socket={path}"


@pytest.fixture
def interrupt() -> Iterator[Callable[[float], None]]:
    """Press Ctrl-C after so many seconds."""
    # What a shell starts in the background ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timers: list[threading.Timer] = []
    main = threading.main_thread().ident
    assert main is not None

    def press(seconds: float) -> None:
        timers.append(threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGINT)))
        timers[-1].start()

    yield press
    for timer in timers:
        timer.join()
    signal.signal(signal.SIGINT, before)


def taken(since: float) -> float:
    return time.monotonic() - since


def test_connect_to_a_libvirtd_that_never_answers_is_a_host_error(silent_uri: str) -> None:
    began = time.monotonic()

    with pytest.raises(HostError) as caught:
        connect(silent_uri, patience=SHORT)

    assert taken(began) < 3
    assert caught.value.message == (
        f"libvirt could not open a connection to '{silent_uri}': libvirtd hangs."
    )
    assert caught.value.details == ("no answer within 0.3 s",)
    assert caught.value.hint == HANG_HINT


def test_connect_interrupted_ends_at_once(
    silent_uri: str, interrupt: Callable[[float], None]
) -> None:
    began = time.monotonic()

    interrupt(0.2)
    with pytest.raises(KeyboardInterrupt):
        connect(silent_uri)

    assert taken(began) < 3


def test_call_to_a_libvirtd_that_hangs_is_a_host_error_and_so_are_later_ones(
    daemon: Daemon, hanging: Daemon
) -> None:
    with pytest.raises(HostError, match="could not ask: libvirtd hangs"), translated("ask"):
        hanging.quick()

    began = time.monotonic()
    daemon.running.set()
    with pytest.raises(HostError, match="libvirtd hangs"), translated("ask"):
        hanging.quick()
    assert taken(began) < SHORT.quiet
    assert daemon.done == ["before"]


def test_calls_of_several_threads_to_a_libvirtd_that_hangs_all_end(hanging: Daemon) -> None:
    errors: list[LabkitError] = []

    def ask() -> None:
        try:
            with translated("ask"):
                hanging.quick()
        except LabkitError as exc:
            errors.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3)

    assert [type(error) for error in errors] == [HostError] * 4


def test_call_that_takes_long_while_libvirtd_answers_is_waited_for(daemon: Daemon) -> None:
    assert watched(daemon, replace(SHORT, call=60)).slow() == "slow"


def test_saving_a_guest_may_take_longer_than_any_other_call(connection: Daemon) -> None:
    assert connection.snapshotCreateXML().quick("then") == "then"


def test_call_without_end_is_given_up_and_the_connection_stays_good(connection: Daemon) -> None:
    with pytest.raises(OperationError) as caught, translated("ask"):
        connection.endless()

    assert not isinstance(caught.value, HostError)
    assert caught.value.details == (
        "not done within 0.5 s, though libvirtd answers: QEMU or the storage may hang",
    )
    assert connection.quick("still") == "still"


def test_interrupt_lets_a_call_end_that_libvirtd_answers(
    daemon: Daemon, connection: Daemon, interrupt: Callable[[float], None]
) -> None:
    interrupt(0.05)
    with pytest.raises(KeyboardInterrupt):
        connection.slow()

    assert daemon.done == ["slow"]
    assert connection.quick("cleaned up") == "cleaned up"


def test_interrupt_does_not_wait_for_a_libvirtd_that_hangs(
    daemon: Daemon, interrupt: Callable[[float], None]
) -> None:
    connection = watched(daemon, Patience(grace=0.2))
    daemon.hang()
    began = time.monotonic()

    interrupt(0.1)
    with pytest.raises(KeyboardInterrupt):
        connection.quick()
    # What cleans up must not turn the interrupt into an error, nor wait.
    with pytest.raises(KeyboardInterrupt), translated("clean up"):
        connection.quick()

    assert taken(began) < 3


def test_end_of_a_timeout_is_heard_like_an_interrupt_and_stays_the_error(
    daemon: Daemon,
) -> None:
    connection = watched(daemon, Patience(grace=0.2))
    daemon.hang()

    def over(_number: int, _frame: object) -> None:
        message = "The run took longer than its timeout."
        raise OperationError(message)

    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGUSR1, over)  # SIGALRM is the test runner's own
    timer = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(OperationError, match="longer than its timeout"), translated("ask"):
            connection.quick()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)

    with pytest.raises(OperationError, match="longer than its timeout"), translated("clean up"):
        connection.quick()


def test_interrupt_does_not_wait_for_ever_for_a_guest_that_hangs(
    daemon: Daemon, interrupt: Callable[[float], None]
) -> None:
    connection = watched(daemon, Patience(grace=0.2, last=0.2))
    began = time.monotonic()

    interrupt(0.1)
    with pytest.raises(KeyboardInterrupt):
        connection.endless()

    assert taken(began) < 3


def test_second_interrupt_ends_the_wait_for_a_guest_that_hangs(
    daemon: Daemon, interrupt: Callable[[float], None]
) -> None:
    connection = watched(daemon, Patience(grace=0.2, last=60))
    began = time.monotonic()

    interrupt(0.1)
    interrupt(0.5)
    with pytest.raises(KeyboardInterrupt):
        connection.endless()

    assert taken(began) < 3


def test_errors_of_a_call_pass_through(connection: Daemon) -> None:
    def fails(_handle: object) -> None:
        raise libvirt.libvirtError("refused")  # noqa: EM101 -- only a test's

    with pytest.raises(libvirt.libvirtError, match="refused"):
        through(connection, fails)


def test_what_a_call_returns_is_watched_too(daemon: Daemon) -> None:
    (listed,) = watched(daemon, HANGS).listed()
    daemon.hang()

    with pytest.raises(libvirt.libvirtError, match="no answer"):
        listed.quick()
    assert listed.name() == "it"


def test_function_that_takes_an_object_is_watched_too(hanging: Daemon) -> None:
    with pytest.raises(libvirt.libvirtError, match="no answer"):
        through(hanging, lambda handle: handle._o.quick())


def test_threads_of_a_connection_end_when_it_is_not_used(connection: Daemon) -> None:
    before = threading.active_count()
    connection.quick()
    began = time.monotonic()

    while threading.active_count() > before and taken(began) < 3:
        pause(0.02)

    assert threading.active_count() <= before


class Pool(Daemon):
    """A storage pool with one volume to be, each piece of which takes a while."""

    def __init__(self, *, stalls_at: int | None) -> None:
        super().__init__()
        self.sent = 0
        self.stalls_at = stalls_at

    def __getattr__(self, name: str) -> Callable[..., object]:
        answers: dict[str, object] = {"info": [0, 0, 0, 2**40], "XMLDesc": VOLUME}
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_arguments: answers.get(name, self)

    def send(self, data: bytes) -> int:
        if self.sent == self.stalls_at:
            self.hang()
        self.running.wait(5)
        pause(0.15)
        self.sent += 1
        return len(data)


VOLUME = "<volume><name>v</name><target><path>/p/v</path></target></volume>"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(6 * 4 * 2**20)
    return path


def storage_on(pool: Pool, patience: Patience) -> Storage:
    return Storage(cast("libvirt.virConnect", watched(pool, patience)))


def test_upload_may_take_longer_than_a_call_as_long_as_it_goes_on(image: Path) -> None:
    pool = Pool(stalls_at=None)
    began = time.monotonic()

    storage_on(pool, SHORT).upload_volume("default", "v", image)

    assert pool.sent == 6
    assert taken(began) > SHORT.call


def test_upload_that_stalls_with_libvirtd_is_a_host_error(image: Path) -> None:
    pool = Pool(stalls_at=3)
    began = time.monotonic()

    with pytest.raises(HostError, match=r"could not upload .*: libvirtd hangs"):
        storage_on(pool, HANGS).upload_volume("default", "v", image)

    pool.running.set()
    assert taken(began) < 3
