from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from labkit.errors import OperationError, UsageError
from labkit.host import ssh
from labkit.lab import signing_keys
from labkit.packstack.prepare import Prepared, key_texts, prepare
from labkit.state.directory import LabDirectory
from labkit.state.progress import Event, Phase
from labkit.state.session import Session
from tests.fakes.guest import BOOT, FakeGuest, sample
from tests.fakes.tools import tools
from tests.support import examples, labs

if TYPE_CHECKING:
    from pathlib import Path

LAB = examples.example("packstack")
LOOK, START, BOOT_ID = "look at labkit-prepare", "start labkit-prepare", "cat /proc"
DONE = (
    b"labkit-step: start hosts\nlabkit-step: done hosts 0.250 changed\n"
    b"labkit-step: start update\nyum said something\nlabkit-step: done update 61.000 unchanged\n"
)
SCRIPTS = {node.name: f"script of {node.name}" for node in LAB.nodes}


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def session(tmp_path: Path, events: list[Event]) -> Session:
    class Impatient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            del timeout
            return super().wait(0)

    return Session(
        lab=LAB,
        lab_file=tmp_path / "lab.yaml",
        directory=LabDirectory(tmp_path / "lab"),
        progress=events.append,
        tools=tools(),
        cancelled=Impatient(),
    )


def ended(output: bytes, code: str = "000", *, size: int | None = None) -> bytes:
    return sample(output, state="ended", code=code, size=size)


def prepare_with(session: Session, *guests: FakeGuest) -> tuple[Prepared, ...]:
    connections = {guest.name: guest.connection() for guest in guests}
    nodes = tuple(node for node in LAB.nodes if node.name in connections)
    return prepare(session, connections, nodes, SCRIPTS)


def test_nodes_are_prepared_side_by_side_and_every_step_is_told(
    session: Session, events: list[Event]
) -> None:
    both = threading.Barrier(2, timeout=5)

    def start(_script: str) -> bytes:
        both.wait()
        return b"started\n"

    guests = [FakeGuest({START: start, LOOK: ended(DONE)}, name=node.name) for node in LAB.nodes]
    first, second = prepare_with(session, *guests)
    assert (first.node, first.changed, first.seconds) == ("controller", ("hosts",), 61.25)
    assert second.node == "compute"
    told = [
        (event.node, event.stage, event.seconds) for event in events if event.phase is Phase.DONE
    ]
    assert ("compute", "prepare update", 61.0) in told
    assert len(told) == 4


def test_failed_step_names_itself_its_reason_and_the_tools_last_lines(session: Session) -> None:
    output = DONE + b"labkit-step: start packages\nError: no such package\n"
    output += b"labkit-step: failed packages yum ended with 1\n"
    guest = FakeGuest({START: b"started\n", LOOK: ended(output, "001")})
    with pytest.raises(OperationError) as caught:
        prepare_with(session, guest)
    assert caught.value.message == "Preparing node 'controller' failed in step 'packages'."
    assert caught.value.details[0] == "yum ended with 1"
    assert "  Error: no such package" in caught.value.details


def test_every_failed_node_is_told(session: Session) -> None:
    output = b"labkit-step: start probe\nlabkit-step: failed probe no answer\n"
    guests = [
        FakeGuest({START: b"started\n", LOOK: ended(output, "001")}, name=node.name)
        for node in LAB.nodes
    ]
    with pytest.raises(OperationError, match="2 nodes could not be prepared") as caught:
        prepare_with(session, *guests)
    assert sum("failed in step 'probe'" in line for line in caught.value.details) == 2


def test_run_under_way_is_followed_and_no_second_one_started(session: Session) -> None:
    guest = FakeGuest(
        {
            START: b"running\n",
            LOOK: [sample(DONE[:30]), ended(DONE[30:], size=len(DONE))],
        }
    )
    assert len(prepare_with(session, guest)) == 1
    assert guest.questions(START) == 1


def test_run_cut_off_by_a_reboot_says_so(session: Session) -> None:
    lost = sample(b"labkit-step: start update\n", state="lost", boot="22222222-2222")
    guest = FakeGuest({START: b"started\n", LOOK: lost})
    with pytest.raises(OperationError, match="cut off in step 'update': the node was rebooted"):
        prepare_with(session, guest)


def rebooting(*samples: bytes) -> FakeGuest:
    gone = ssh.ScriptResult(returncode=0, stdout=b"", stderr="")
    return FakeGuest(
        {
            START: b"started\n",
            LOOK: list(samples),
            "true": gone,
            "reboot": gone,
            BOOT_ID: [BOOT.encode(), b"22222222\n"],
        }
    )


NEWER = DONE + b"labkit-step: reboot 3.10.0-862 3.10.0-1160\n"


def test_newer_kernel_is_booted_and_the_node_asked_again(session: Session) -> None:
    guest = rebooting(ended(NEWER), ended(DONE.replace(b" changed", b" unchanged")))
    (found,) = prepare_with(session, guest)
    assert found.rebooted
    assert found.changed == ("hosts",)
    assert guest.questions("reboot") == 1
    assert guest.questions(START) == 2


def test_node_that_boots_its_old_kernel_again_is_not_booted_for_ever(session: Session) -> None:
    guest = rebooting(ended(NEWER), ended(NEWER))
    with pytest.raises(OperationError, match=r"runs kernel '3\.10\.0-862' after a reboot"):
        prepare_with(session, guest)
    assert guest.questions("reboot") == 1


def test_reboot_that_takes_the_session_with_it_is_no_failure(session: Session) -> None:
    def broken(_script: str) -> bytes:
        msg = "gone"
        raise ssh.NotReachableError(msg)

    guest = rebooting(ended(NEWER), ended(DONE))
    guest.answers = {**guest.answers, "reboot": broken}
    (found,) = prepare_with(session, guest)
    assert found.rebooted


def test_boot_id_that_is_not_told_is_no_proof_of_a_reboot(session: Session) -> None:
    guest = rebooting(ended(NEWER), ended(DONE))
    silent = ssh.ScriptResult(returncode=1, stdout=b"", stderr="cat: no such file\n")
    guest.answers = {**guest.answers, BOOT_ID: [BOOT.encode(), silent, b"22222222\n"]}
    (found,) = prepare_with(session, guest)
    assert found.rebooted
    assert guest.questions(BOOT_ID) == 3


def test_cancelled_preparation_ends_soon(session: Session) -> None:
    session.cancelled.set()
    guest = FakeGuest({START: b"started\n", LOOK: sample(b"")})
    connection = guest.connection()
    connection._cancelled = session.cancelled.is_set
    with pytest.raises(OperationError, match="cancelled"):
        prepare(session, {"controller": connection}, LAB.nodes[:1], SCRIPTS)


def test_key_texts_are_in_the_order_of_their_paths_and_faults_are_told_together(
    tmp_path: Path,
) -> None:
    armored = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{}\n-----END PGP PUBLIC KEY BLOCK-----\n"
    lab = labs.lab()
    names = signing_keys.names(lab.release)
    for name in names:
        (tmp_path / name).write_text(armored.format(name))
    keys = tuple(reversed(names))
    named = replace(lab, repositories=replace(lab.repositories, keys=keys))
    assert key_texts(lab, tmp_path) == ()
    assert key_texts(named, tmp_path) == tuple(armored.format(name) for name in names)

    (tmp_path / names[0]).unlink()
    (tmp_path / names[1]).unlink()
    os.mkfifo(tmp_path / names[1])
    with pytest.raises(UsageError) as caught:
        key_texts(named, tmp_path)
    missing, pipe = caught.value.details
    assert f"{names[0]}': expected a PGP public key, found no file that can be read: No" in missing
    assert pipe.endswith("found no file that can be read: not a plain file")
