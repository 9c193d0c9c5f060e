"""Waits end in time, say what they waited for, and retry only what they were told to."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from labkit.errors import OperationError
from labkit.waiting import (
    AGENT_READY,
    BOOT,
    DOWNLOAD,
    SSH_CONNECT,
    Deadline,
    NotYet,
    Policy,
    WaitCancelled,
    WaitTimeout,
    boot_seconds,
    wait_until,
)


@dataclass
class Clock:
    """A clock that only sleeping moves."""

    now: float = 100.0
    sleeps: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(round(seconds, 6))
        self.now += seconds


@dataclass
class Answers:
    """A check that fails a number of times before it answers."""

    failures: int
    error: type[Exception] = NotYet
    asked: int = 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            msg = f"refused {self.asked}"
            raise self.error(msg)
        return "ready"


def test_deadline_after_seconds_counts_down_to_zero() -> None:
    clock = Clock()
    deadline = Deadline.after(5, clock)
    assert (deadline.left(), deadline.expired()) == (5.0, False)
    clock.now += 7
    assert (deadline.left(), deadline.expired()) == (0.0, True)


@pytest.mark.parametrize(("seconds", "left"), [(2, 2.0), (50, 10.0)])
def test_deadline_within_seconds_is_the_earlier_one(seconds: float, left: float) -> None:
    assert Deadline.after(10, Clock()).within(seconds).left() == left


@pytest.mark.parametrize("failures", [0, 1, 4])
def test_wait_until_check_answers_returns_its_value(failures: int) -> None:
    clock = Clock()
    answers = Answers(failures)
    found = wait_until(
        answers,
        what="an answer",
        deadline=Deadline.after(60, clock),
        policy=Policy(tick=0.5),
        sleep=clock.sleep,
    )
    assert found == "ready"
    assert answers.asked == failures + 1
    assert clock.sleeps == [0.5] * failures


def test_wait_until_deadline_passes_raises_with_last_reason() -> None:
    clock = Clock()
    answers = Answers(1000)
    with pytest.raises(WaitTimeout) as caught:
        wait_until(
            answers,
            what="SSH on node 'controller'",
            deadline=Deadline.after(2, clock),
            policy=Policy(tick=0.75),
            sleep=clock.sleep,
        )
    assert caught.value == WaitTimeout(
        "Waited 2 s for SSH on node 'controller', which did not come.",
        details=("Last answer: refused 4",),
    )
    assert isinstance(caught.value, OperationError)
    assert clock.sleeps == [0.75, 0.75, 0.5]


def test_wait_until_deadline_already_passed_asks_once() -> None:
    clock = Clock()
    answers = Answers(0)
    wait_until(answers, what="it", deadline=Deadline.after(-1, clock), sleep=clock.sleep)
    assert answers.asked == 1


def test_wait_until_unlisted_exception_passes_through_at_once() -> None:
    clock = Clock()
    answers = Answers(3, error=ValueError)
    with pytest.raises(ValueError, match="refused 1"):
        wait_until(answers, what="it", deadline=Deadline.after(60, clock), sleep=clock.sleep)
    assert clock.sleeps == []


def test_wait_until_listed_exception_is_retried() -> None:
    clock = Clock()
    found = wait_until(
        Answers(2, error=ConnectionRefusedError),
        what="it",
        deadline=Deadline.after(60, clock),
        retry_on=(NotYet, OSError),
        sleep=clock.sleep,
    )
    assert found == "ready"


@pytest.mark.parametrize("retry_on", [(NotYet,), (Exception,)])
def test_wait_until_cancelled_stops_without_asking_again(
    retry_on: tuple[type[Exception], ...],
) -> None:
    clock = Clock()
    answers = Answers(1000)
    with pytest.raises(WaitCancelled, match="Waiting for it was cancelled"):
        wait_until(
            answers,
            what="it",
            deadline=Deadline.after(60, clock),
            retry_on=retry_on,
            cancelled=lambda: answers.asked == 2,
            sleep=clock.sleep,
        )
    assert answers.asked == 2


def test_wait_until_cancelled_in_a_long_pause_ends_within_a_second() -> None:
    clock = Clock()
    began = clock()
    with pytest.raises(WaitCancelled):
        wait_until(
            Answers(1000),
            what="it",
            deadline=Deadline.after(600, clock),
            policy=Policy(tick=30),
            cancelled=lambda: clock() - began > 7,
            sleep=clock.sleep,
        )
    assert clock() - began < 8


def test_wait_until_growing_policy_backs_off_to_its_ceiling() -> None:
    clock = Clock()
    wait_until(
        Answers(5),
        what="it",
        deadline=Deadline.after(60, clock),
        policy=Policy(tick=1, growth=2, ceiling=5),
        sleep=clock.sleep,
    )
    assert clock.sleeps == [1, 2, 4, 5, 5]


def test_wait_until_jitter_stays_in_its_bounds() -> None:
    clock = Clock()
    wait_until(
        Answers(20),
        what="it",
        deadline=Deadline.after(600, clock),
        policy=Policy(tick=1, jitter=1),
        sleep=clock.sleep,
    )
    assert all(1 <= pause <= 2 for pause in clock.sleeps)
    assert len(set(clock.sleeps)) > 1


@pytest.mark.parametrize("policy", [BOOT, SSH_CONNECT])
def test_policy_of_boot_waits_asks_often(policy: Policy) -> None:
    assert policy.tick <= 0.5
    assert policy.growth == 1


@pytest.mark.parametrize("policy", [AGENT_READY, DOWNLOAD])
def test_policy_of_costly_questions_grows(policy: Policy) -> None:
    assert policy.growth > 1
    assert policy.ceiling >= policy.tick


def test_boot_seconds_without_kvm_is_longer() -> None:
    slow = boot_seconds(accelerated=False, guests=2, cpus=2)
    assert slow > 2 * boot_seconds(accelerated=True, guests=2, cpus=2)


@pytest.mark.parametrize(
    ("guests", "cpus", "times"), [(0, 2, 1), (2, 2, 1), (9, 2, 4.5), (9, 64, 1)]
)
def test_boot_seconds_grow_with_the_guests_that_share_a_processor(
    guests: int, cpus: int, times: float
) -> None:
    one = boot_seconds(accelerated=True, guests=1, cpus=1)
    assert boot_seconds(accelerated=True, guests=guests, cpus=cpus) == one * times
