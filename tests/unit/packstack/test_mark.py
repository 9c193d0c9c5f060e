from __future__ import annotations

import re
import time
from itertools import count
from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError
from labkit.host import ssh
from labkit.packstack.mark import PUPPET_RUN, mark
from labkit.state.progress import Event, Phase
from labkit.waiting import WaitCancelled, WaitTimeout
from tests.fakes.guest import FakeGuest

if TYPE_CHECKING:
    from collections.abc import Callable


def marked(
    *guests: FakeGuest,
    clock: Callable[[], float] = time.monotonic,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Event]:
    """Mark the beginning of a run on these nodes; return what was told."""
    events: list[Event] = []
    connections = [guest.connection() for guest in guests]
    mark(connections, progress=events.append, cancelled=cancelled, clock=clock)
    return events


def test_mark_waits_where_puppet_of_an_earlier_run_works() -> None:
    idle, busy = (
        FakeGuest({"mark": b""}),
        FakeGuest({"mark": [b"812\n", b"812\n", b""]}, name="compute"),
    )
    events = marked(idle, busy)
    assert (idle.questions("mark"), busy.questions("mark")) == (1, 3)
    assert [(event.node, event.phase) for event in events] == [
        ("compute", Phase.STARTED),
        ("compute", Phase.DONE),
    ]


def test_mark_names_the_puppet_process_that_does_not_end() -> None:
    with pytest.raises(WaitTimeout, match="Puppet of an earlier run on node 'compute'") as caught:
        marked(FakeGuest({"mark": b"812\n"}, name="compute"), clock=count(step=3600).__next__)
    assert caught.value.details == (
        "Last answer: process 812 is still there; 'labkit ssh compute -- sudo kill 812' ends it",
    )


def test_mark_that_is_given_up_stops_waiting_for_puppet() -> None:
    with pytest.raises(WaitCancelled):
        marked(FakeGuest({"mark": b"812\n"}), cancelled=lambda: True)


def test_mark_that_cannot_be_written_says_why() -> None:
    refused = ssh.ScriptResult(returncode=1, stdout=b"", stderr="Read-only file system\n")
    with pytest.raises(OperationError, match="cannot write") as caught:
        marked(FakeGuest({"mark": refused}))
    assert caught.value.details == ("Read-only file system",)


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("/usr/bin/ruby /usr/bin/puppet apply --debug /tmp/x.pp", True),
        ("/usr/bin/ruby-mri -W0 /usr/bin/puppet apply x.pp", True),
        ("/opt/puppetlabs/puppet/bin/ruby /opt/puppetlabs/puppet/bin/puppet apply x.pp", True),
        ("/bin/bash /usr/bin/puppet apply x.pp", True),
        ("puppet apply", True),
        ("bash -c puppet apply x.pp", True),
        ("vim how puppet apply works.txt", False),
        ("less /root/puppet apply", False),
        ("grep puppet apply", False),
        ("/usr/bin/ruby /usr/bin/puppet agent", False),
        ("python3 watch.py puppet apply", False),
        ("/usr/bin/notpuppet apply", False),
    ],
)
def test_puppet_run_is_known_by_its_own_command_line(line: str, *, runs: bool) -> None:
    assert bool(re.search(PUPPET_RUN, line)) is runs
