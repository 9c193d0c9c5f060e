from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from labkit.lifecycle.turns import Turn, Turns, at_once
from labkit.waiting import WaitCancelled


@pytest.mark.parametrize(
    ("cpus", "accelerated", "guests"), [(1, False, 2), (2, False, 4), (2, True, 8)]
)
def test_guests_that_boot_at_once_follow_the_processors(
    cpus: int, guests: int, *, accelerated: bool
) -> None:
    assert at_once(cpus, accelerated=accelerated) == guests


def come(turns: list[Turn]) -> list[bool]:
    return [turn.come.is_set() for turn in turns]


def test_turns_come_in_the_order_in_which_they_queued() -> None:
    turns = Turns(2)
    queued = [turns.queue() for _ in range(4)]
    assert come(queued) == [True, True, False, False]
    queued[1].end()
    assert come(queued) == [True, True, True, False]
    queued[1].end()  # no second time
    assert come(queued) == [True, True, True, False]
    queued[0].end()
    assert come(queued) == [True, True, True, True]
    for turn in queued:
        turn.end()
    assert come([turns.queue(), turns.queue(), turns.queue()]) == [True, True, False]


def test_turn_that_is_given_up_before_it_came_is_nobodys() -> None:
    turns = Turns(1)
    first, second, third = (turns.queue() for _ in range(3))
    with pytest.raises(WaitCancelled), second:
        second.wait(lambda: True)
    first.end()
    assert third.come.is_set()
    third.end()
    assert turns.queue().come.is_set()


def test_turn_ends_with_an_error_as_well() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError), turns.queue():
        raise ZeroDivisionError
    assert turns.queue().come.is_set()


def test_no_more_work_at_once_than_there_are_turns() -> None:
    turns = Turns(2)
    inside, most, lock = 0, 0, threading.Lock()

    def work(turn: Turn) -> None:
        nonlocal inside, most
        with turn:
            turn.wait(lambda: False)
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.01)
            with lock:
                inside -= 1

    queued = [turns.queue() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(work, turn) for turn in queued]:
            each.result()
    assert most == 2
