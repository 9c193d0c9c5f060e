from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from labkit.errors import OperationError
from labkit.lab.scenario import PackstackCall
from labkit.packstack.detached import RunState
from labkit.packstack.output.view import RunView
from labkit.packstack.run import HungError, Watcher, begin
from labkit.packstack.watch import FETCHED
from labkit.state.progress import Event, Phase
from labkit.waiting import WaitCancelled
from tests.fakes.guest import BOOT, FakeGuest, sample

STEPS = ("Clean Up", "Applying Puppet manifests", "Finalizing")
START = b"Welcome to the Packstack setup utility\n\nInstalling:\nClean Up   [ DONE ]\n"
REST = (
    b"Applying 192.0.2.1_controller.pp\n192.0.2.1_controller.pp:   [ DONE ]\n"
    b"Applying Puppet manifests   [ DONE ]\nFinalizing   [ DONE ]\n\n"
    b" **** Installation completed successfully ******\n\n"
)
NO_LOGS = f"boot {BOOT}\n".encode()
HOSTS = {"192.0.2.1": "controller", "192.0.2.2": "compute"}
LOOK, WATCH = "look at labkit-packstack", "look at Puppet"


LOGS = "/var/tmp/packstack/0a/manifests"  # noqa: S108 -- Packstack's
COMPUTE_LOG = f"{LOGS}/192.0.2.2_compute.pp.running"


def log_of(
    content: bytes, known: int = 0, path: str = f"{LOGS}/192.0.2.1_controller.pp.running"
) -> bytes:
    size = known + len(content)
    return f"boot {BOOT}\nlabkit-log {path} {size} {len(content)}\n".encode() + content + b"\n"


@dataclass
class Told:
    events: list[Event] = field(default_factory=list)
    paused: list[float] = field(default_factory=list)
    given_up: int = 0
    now: float = 0.0

    def pause(self, seconds: float) -> bool:
        self.paused.append(seconds)
        self.now += seconds
        return False

    def give_up(self) -> None:
        self.given_up += 1


def watcher(told: Told, *guests: FakeGuest, hung_seconds: float = 600.0) -> Watcher:
    return Watcher(
        connections={guest.name: guest.connection() for guest in guests},
        controller="controller",
        hosts=HOSTS,
        view=RunView(expected=STEPS),
        hung_seconds=hung_seconds,
        progress=told.events.append,
        pause=told.pause,
        give_up=told.give_up,
        clock=lambda: told.now,
    )


def test_follow_a_run_to_its_end_tells_every_step() -> None:
    whole = START + REST
    guest = FakeGuest(
        {
            LOOK: [
                sample(START),
                sample(b"", size=len(START)),
                sample(REST, state="ended", code="000", size=len(whole)),
            ],
            WATCH: [log_of(b"Notice: one\n"), NO_LOGS],
        }
    )
    told = Told()
    outcome = watcher(told, guest).follow()
    assert outcome.succeeded
    assert (outcome.view.done, outcome.view.total) == (3, 3)
    done = [event.stage for event in told.events if event.phase is Phase.DONE]
    assert "step 1 of 3: Clean Up" in done
    assert "Packstack completed the installation" in done
    assert outcome.puppet == {"controller: 192.0.2.1_controller.pp": "Notice: one"}
    assert f"offset={len(START)}\n" in guest.asked[2][1]
    assert told.given_up == 0


def test_last_lines_of_a_log_are_taken_from_what_packstack_fetched() -> None:
    error = b"Error: it broke\n"
    head = FakeGuest(
        {
            LOOK: [sample(START), sample(b"", state="ended", code="001", size=len(START))],
            WATCH: [NO_LOGS, NO_LOGS, log_of(error, 12, f"{FETCHED}/192.0.2.2_compute.pp.log")],
        }
    )
    other = FakeGuest(
        {WATCH: [log_of(b"Notice: one\n", path=COMPUTE_LOG), NO_LOGS]}, name="compute"
    )
    outcome = watcher(Told(), head, other).follow()
    assert outcome.puppet == {
        "compute: 192.0.2.2_compute.pp": "Error: it broke\nNotice: one\nError: it broke"
    }
    (last,) = (script for what, script in head.asked if f"fetched={FETCHED}" in script)
    assert f"{FETCHED}/192.0.2.2_compute.pp" in last


def test_follow_asks_for_all_output_before_it_ends() -> None:
    whole = START + REST
    cut = 40
    guest = FakeGuest(
        {
            LOOK: [
                sample(whole[:cut], state="ended", code="000", size=len(whole)),
                sample(whole[cut:], state="ended", code="000", size=len(whole)),
            ],
            WATCH: NO_LOGS,
        }
    )
    told = Told()
    assert watcher(told, guest).follow().view.installed
    assert told.paused == []


def test_guest_that_answers_slowly_is_looked_at_less_often() -> None:
    told = Told()

    def slow(_script: str) -> bytes:
        told.now += 3.0
        return NO_LOGS

    guest = FakeGuest(
        {
            LOOK: [sample(START), sample(REST, state="ended", code="000", size=len(START + REST))],
            WATCH: slow,
        }
    )
    assert watcher(told, guest).follow().succeeded
    assert told.paused == [6.0]


def test_node_that_puppet_does_not_work_on_is_looked_at_now_and_then() -> None:
    applying = b"Applying 192.0.2.2_compute.pp\n"
    whole = START + applying + REST
    head = FakeGuest(
        {
            LOOK: [
                sample(START + applying),
                *(sample(b"", size=len(START + applying)) for _ in range(99)),
                sample(REST, state="ended", code="000", size=len(whole)),
            ],
            WATCH: NO_LOGS,
        }
    )
    busy, idle = (FakeGuest({WATCH: NO_LOGS}, name=name) for name in ("compute", "second"))
    assert watcher(Told(), head, busy, idle).follow().succeeded
    # 200 s in steps of 2 s, and once more at the end; at the beginning and after two minutes.
    assert busy.questions(WATCH) == 101
    assert idle.questions(WATCH) == 3


def test_host_that_is_no_node_has_every_node_looked_at() -> None:
    applying = b"Applying 192.0.2.9_compute.pp\n"
    head = FakeGuest(
        {
            LOOK: [
                sample(START + applying),
                sample(b"", size=len(START + applying)),
                sample(REST, state="ended", code="000", size=len(START + applying + REST)),
            ],
            WATCH: NO_LOGS,
        }
    )
    other = FakeGuest({WATCH: NO_LOGS}, name="compute")
    assert watcher(Told(), head, other).follow().succeeded
    assert other.questions(WATCH) == 3


def test_exit_code_has_the_last_word_over_the_output() -> None:
    guest = FakeGuest({LOOK: sample(START + REST, state="ended", code="001"), WATCH: NO_LOGS})
    assert not watcher(Told(), guest).follow().succeeded


def test_run_that_was_lost_is_an_outcome() -> None:
    guest = FakeGuest({LOOK: sample(START, state="lost", boot="22222222-2222"), WATCH: NO_LOGS})
    outcome = watcher(Told(), guest).follow()
    assert outcome.last.state is RunState.LOST
    assert outcome.last.rebooted


def test_puppet_log_that_grows_keeps_a_silent_run_alive() -> None:
    pieces = [log_of(b"Notice: n\n", 10 * n) for n in range(20)]
    guest = FakeGuest(
        {
            LOOK: [
                sample(START),
                *(sample(b"", size=len(START)) for _ in range(18)),
                sample(REST, state="ended", code="000", size=len(START + REST)),
            ],
            WATCH: [*pieces],
        }
    )
    assert watcher(Told(), guest, hung_seconds=10.0).follow().succeeded


def test_run_without_any_growth_is_hung_and_left_alone() -> None:
    guest = FakeGuest(
        {
            LOOK: [sample(START), sample(b"", size=len(START))],
            WATCH: [log_of(b"Notice: x\n"), NO_LOGS],
        }
    )
    told = Told()
    with pytest.raises(HungError, match="no sign of progress for 1 min") as caught:
        watcher(told, guest, hung_seconds=60.0).follow()
    assert caught.value.details[0].startswith("Nothing has moved for 1:0")
    assert "labkit deploy --kill" in caught.value.hint
    assert told.given_up == 1
    assert not guest.questions("stop")


def test_other_node_that_reboots_ends_the_watching() -> None:
    head = FakeGuest({LOOK: [sample(START), sample(b"", size=len(START))], WATCH: NO_LOGS})
    other = FakeGuest({WATCH: [NO_LOGS, b"boot 22222222-2222\n"]}, name="compute")
    with pytest.raises(OperationError, match="Node 'compute' was rebooted") as caught:
        watcher(Told(), head, other).follow()
    assert "labkit deploy --kill" in caught.value.hint


def test_watching_that_is_given_up_says_that_the_run_goes_on() -> None:
    guest = FakeGuest({LOOK: [sample(START), sample(b"", size=len(START))], WATCH: NO_LOGS})
    told = Told()
    ended = watcher(told, guest)
    ended.pause = lambda _seconds: True
    with pytest.raises(WaitCancelled, match="the run goes on"):
        ended.follow()


def test_begin_puts_the_answers_in_place() -> None:
    head = FakeGuest({LOOK: sample(state="none", run_id="-"), "start": b"started\n"})
    call = PackstackCall(
        argv=("packstack", "--answer-file=/var/lib/labkit/answers.cfg"), answer_file="[general]\n"
    )
    assert begin(head.connection(), call, "r9")
    (script,) = (script for what, script in head.asked if what.startswith("start"))
    assert "run_id=r9" in script
    assert "/var/lib/labkit/answers.cfg" in script
    assert "[general]" not in script  # only in base64, as everything that travels


@pytest.mark.parametrize(
    ("found", "begun"),
    [(sample(run_id="r9"), True), (sample(run_id="r8"), False)],
)
def test_begin_tells_its_own_run_from_another(found: bytes, *, begun: bool) -> None:
    guest = FakeGuest({LOOK: found, "start": b"running\n"})
    call = PackstackCall(argv=("packstack", "--allinone"), answer_file=None)
    assert begin(guest.connection(), call, "r9") is begun
