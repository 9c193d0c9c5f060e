from __future__ import annotations

import subprocess  # noqa: TID251 -- the guest's bash, run here
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.host.process import environment
from labkit.verify import collect
from labkit.verify.outputs import NODE_SECONDS, Command, Kind, Output, command_seconds, commands
from tests.support import labs

if TYPE_CHECKING:
    from collections.abc import Mapping

FORGED = "labkit-outputs 1\n0 3 0 ip-addr.txt\nabc"


def ask(*shells: str, seconds: int = 60) -> Mapping[str, Output]:
    asked = [
        Command(kind=Kind.IP_ADDR, file=f"file-{i}", shell=shell) for i, shell in enumerate(shells)
    ]
    return collect.unpack(answer(collect.script_of(asked, seconds=seconds)))


def answer(script: str) -> bytes:
    done = subprocess.run(
        ["bash", "-s"],
        # As labkit.host.ssh.Connection.run_script sends it.
        input=f"{{\n{script}\n}} </dev/null\nexit\n".encode(),
        capture_output=True,
        timeout=60,
        check=True,
        env=environment(),
    )
    assert done.stderr == b""
    return done.stdout


def test_script_brings_text_exit_code_and_errors_of_every_command() -> None:
    assert ask("echo one; echo two >&2", "exit 3", "no-such-command 2>/dev/null", "cat") == {
        "file-0": Output(text="one\n", stderr="two\n"),
        "file-1": Output(text="", returncode=3),
        "file-2": Output(text="", returncode=127),
        "file-3": Output(text=""),
    }


def test_output_that_looks_like_an_answer_is_taken_for_output() -> None:
    found = ask(f"printf %s '{FORGED}'; printf '{FORGED}' >&2", "printf 'a\\0b\\377'")
    assert found["file-0"] == Output(text=FORGED, stderr=FORGED)
    assert found["file-1"].text == "a\x00b\ufffd"


def test_commands_run_side_by_side() -> None:
    started = time.monotonic()
    ask(*["sleep 0.5"] * 8)
    assert time.monotonic() - started < 2.5


def test_endless_output_and_endless_command_are_cut_off() -> None:
    found = ask("head -c 3000000 /dev/zero | tr '\\0' x", "sleep 50", seconds=1)
    assert len(found["file-0"].text) == collect.STREAM_BYTES
    assert (found["file-1"].returncode, found["file-1"].stderr) == (124, "it was given 1 s\n")


def test_command_that_does_not_even_end_when_asked_to_is_late_and_one_that_was_killed_is_not() -> (
    None
):
    found = ask("trap '' TERM; sleep 50 & wait; sleep 50", "kill -9 $$", seconds=1)
    assert found["file-0"].returncode == 124
    assert found["file-0"].stderr.endswith("it was given 1 s\n")
    assert found["file-1"].returncode == 137


def test_script_asks_for_the_kinds_that_are_wanted_alone_and_gives_time_for_every_node() -> None:
    lab = labs.lab()
    text = collect.script(lab, lab.nodes[0], {Kind.AGENTS})
    assert "network agent list" in text
    assert "ip addr" not in text
    assert f"seconds={command_seconds(lab)}\n" in text
    many = replace(lab, nodes=(lab.nodes[0], *(lab.nodes[1] for _ in range(8))))
    assert command_seconds(many) - command_seconds(lab) == 7 * NODE_SECONDS


def test_script_of_a_hostile_lab_runs_nothing_of_it() -> None:
    lab = labs.lab()
    name = "x'; echo pwned; '"
    head = replace(lab.nodes[0], nics=(replace(lab.nodes[0].nics[0], name=name),))
    hostile = replace(lab, nodes=(head,), deployment=replace(lab.deployment, external_nic=name))
    file = next(c.file for c in commands(hostile, hostile.nodes[0]) if "pwned" in c.file)
    asked = [Command(kind=Kind.IFCFG_NIC, file="safe", shell=c.shell)
             for c in commands(hostile, hostile.nodes[0]) if c.file == file]  # fmt: skip
    [output] = collect.unpack(answer(collect.script_of(asked, seconds=60))).values()
    assert (output.text, output.returncode) == ("", 1)


def test_script_asks_for_every_file_of_the_node() -> None:
    lab = labs.lab()
    text = collect.script(lab, lab.nodes[0])
    for command in commands(lab, lab.nodes[0]):
        assert text.count(f"\n  {command.file}\n") == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"sudo: a password is required\n",
        b"labkit-outputs 1\n",
        b"labkit-outputs 1\n0 3 0 f\nab",
        b"labkit-outputs 1\n0 3 0 f\nabcd",
        b"labkit-outputs 1\nx 3 0 f\nabc",
        b"labkit-outputs 2\n0 3 0 f\nabc",
    ],
)
def test_answer_that_broke_off_is_an_error(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"it |line"):
        collect.unpack(broken)


@given(st.binary(max_size=80))
def test_any_other_bytes_are_an_error_or_no_outputs(noise: bytes) -> None:
    try:
        found = collect.unpack(noise)
    except ValueError:
        return
    assert noise.startswith(b"labkit-outputs")
    assert isinstance(found, dict)
