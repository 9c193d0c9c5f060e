"""What ends a verb, each shown in a process of its own: signals and timers are the process's."""

from __future__ import annotations

import os
import signal
import subprocess  # noqa: TID251 -- the test needs processes that labkit does not start
import sys
import time
from pathlib import Path

import pytest

PREAMBLE = """\
import os, signal, time
from contextlib import suppress
from labkit.cli.interrupts import listen, raise_after, shield
from labkit.errors import LabkitError, OperationError, TimeOver
from labkit.host.process import run
late = lambda: TimeOver(OperationError("late"))
def wait(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
"""


def ended(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + body],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_time_limit_is_raised_again_when_it_got_lost() -> None:
    # As libvirt does: the exception ends in C, and a return value comes back.
    done = ended("""
raise_after(0.1, late)
with suppress(BaseException):
    wait(10)
print("lost", flush=True)
try:
    wait(10)
except TimeOver as exc:
    print("again", exc)
""")
    assert done.stdout.split("\n")[:2] == ["lost", "again late"], done.stderr


def test_time_limit_is_no_failure_of_a_step() -> None:
    done = ended("""
raise_after(0.1, late)
try:
    try:
        wait(10)
    except (LabkitError, Exception):
        print("swallowed")
except TimeOver as exc:
    print("passed", exc)
""")
    assert done.stdout == "passed late\n", done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interruption_is_raised_again_when_it_got_lost(number: signal.Signals) -> None:
    done = ended(f"""
listen()
with suppress(BaseException):
    os.kill(os.getpid(), {int(number)})
    wait(10)
print("lost", flush=True)
try:
    wait(10)
except KeyboardInterrupt:
    print("again")
""")
    assert done.stdout.split("\n")[:2] == ["lost", "again"], done.stderr


def test_clean_up_of_what_was_interrupted_is_not_cut_short() -> None:
    done = ended("""
listen()
try:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        wait(10)
    finally:
        try:
            wait(1.5)
        except BaseException as exc:
            print("cut short", repr(exc))
        print("cleaned")
except KeyboardInterrupt:
    print("interrupted")
shield()
""")
    assert done.stdout == "cleaned\ninterrupted\n", done.stderr


def test_shielded_process_hears_no_signal_and_no_limit() -> None:
    done = ended("""
listen()
raise_after(0.1, late)
shield()
for number in (signal.SIGTERM, signal.SIGINT):
    os.kill(os.getpid(), number)
wait(0.3)
print("alive")
""")
    assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr


def test_signal_that_was_ignored_at_the_start_stays_ignored() -> None:
    done = ended("""
signal.signal(signal.SIGINT, signal.SIG_IGN)
listen()
os.kill(os.getpid(), signal.SIGINT)
print("alive")
""")
    assert done.stdout == "alive\n", done.stderr


MAIN = """
import sys
from labkit.cli.app import app, main
@app.command()
def dawdle():
    {how}
    try:
        wait(10)
    except (LabkitError, Exception):
        print("swallowed")
sys.argv = ["labkit", "dawdle"]
main()
"""


def test_time_limit_ends_labkit_with_its_sentence_and_exit_code_4() -> None:
    done = ended(MAIN.format(how="raise_after(0.1, late)"))
    assert (done.returncode, done.stdout, done.stderr) == (4, "", "error: late\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interruption_ends_labkit_with_its_sentence_and_exit_code_130(
    number: signal.Signals,
) -> None:
    done = ended(MAIN.format(how=f"os.kill(os.getpid(), {int(number)})"))
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted: run it again to go on, or 'labkit destroy'\n"


def test_child_of_a_shielded_process_can_be_terminated() -> None:
    done = ended("""
listen()
shield()
seen = run(["sh", "-c", "kill -TERM $$; kill -INT $$; echo survived"], timeout=30, check=False)
print(seen.returncode, seen.stdout)
""")
    assert done.stdout == f"{-signal.SIGTERM} \n", done.stderr


def test_child_of_a_shielded_process_dies_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    body = f"listen(); shield(); run(['sh', '-c', 'echo $$ > {mark}; exec sleep 60'], timeout=60)"
    with subprocess.Popen([sys.executable, "-c", PREAMBLE + body]) as parent:
        for _ in range(400):
            if mark.exists() and mark.read_text(encoding="utf-8").strip():
                break
            time.sleep(0.05)  # noqa: TID251 -- waits for another process, not for labkit
        parent.kill()
    child = int(mark.read_text(encoding="utf-8"))
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text():
            return
        time.sleep(0.05)  # noqa: TID251 -- as above
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child lives on")
