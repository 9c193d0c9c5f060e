from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from labkit.errors import CommandError, HostError
from labkit.host.process import environment, run


def test_run_returns_output_and_status() -> None:
    result = run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=10, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_run_of_a_failing_command_keeps_its_output() -> None:
    with pytest.raises(CommandError) as caught:
        run(["sh", "-c", "echo why >&2; exit 3"], timeout=10)
    assert caught.value.details == ("why",)
    assert "exited with 3" in caught.value.message


def test_run_of_a_missing_tool_says_how_to_get_it() -> None:
    with pytest.raises(HostError) as caught:
        run(["no-such-tool-here"], timeout=10)
    assert "'no-such-tool-here' is not installed" in caught.value.message
    assert "make setup" in caught.value.hint


def test_run_past_its_time_kills_the_whole_family(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with pytest.raises(CommandError, match="did not finish within"):
        run(["sh", "-c", f"sleep 60 & echo $! > '{mark}'; wait"], timeout=0.5)
    assert _gone(int(mark.read_text(encoding="utf-8")))


def test_run_when_cancelled_ends_the_command() -> None:
    started = time.monotonic()
    with pytest.raises(CommandError, match="cancelled"):
        run(["sleep", "60"], timeout=60, cancelled=lambda: True)
    assert time.monotonic() - started < 30


def test_run_passes_text_on_standard_input() -> None:
    assert run(["cat"], timeout=10, stdin="häöü").stdout == "häöü"


def test_run_with_undecodable_output_replaces_it() -> None:
    assert run(["printf", "a\\377b"], timeout=10).stdout == "a\N{REPLACEMENT CHARACTER}b"


def test_run_with_an_output_file_appends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run(["echo", "one"], timeout=10, output=log)
    run(["sh", "-c", "echo two >&2"], timeout=10, output=log)
    assert log.read_text(encoding="utf-8") == "one\ntwo\n"


def test_child_dies_with_its_parent(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    pid = os.fork()
    if pid == 0:
        run(["sh", "-c", f"echo $$ > '{mark}'; exec sleep 60"], timeout=60)
        os._exit(0)
    for _ in range(200):
        if mark.exists() and mark.read_text(encoding="utf-8").strip():
            break
        time.sleep(0.05)  # noqa: TID251 -- waits for another process, not for labkit
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert _gone(int(mark.read_text(encoding="utf-8")))


def test_environment_has_a_fixed_locale_and_the_admin_directories() -> None:
    merged = environment(EXTRA="1")
    assert merged["LC_ALL"] == "C.UTF-8"
    assert merged["EXTRA"] == "1"
    assert "/usr/sbin" in merged["PATH"].split(":")


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split(")")[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)  # noqa: TID251 -- waits for another process, not for labkit
    return False
