"""What an installation says: transcripts under tests/data/install, and single lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.boxes.anaconda.log import InstallStage, InstallState, LogSource, advance, clean

TRANSCRIPTS = Path(__file__).parents[3] / "data" / "install"


def told(source: LogSource, *lines: str) -> InstallState:
    return advance(InstallState(), source, lines)


def transcript(name: str) -> InstallState:
    """Read a transcript whose lines begin with S:, L: or R: for serial, log and result."""
    sources = {"S": LogSource.SERIAL, "L": LogSource.LOG, "R": LogSource.RESULT}
    state = InstallState()
    for line in (TRANSCRIPTS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            state = advance(state, sources[line[0]], [line[2:].replace("<ESC>", "\x1b")])
    return state


def test_transcript_success_is_finished_and_ok() -> None:
    state = transcript("success")

    assert state.ok
    assert state.failure is None
    assert state.stage is InstallStage.FINISHED
    assert (state.packages_done, state.packages_total) == (305, 305)


@pytest.mark.parametrize(
    ("name", "stage", "failure"),
    [
        (
            "no-kickstart",
            InstallStage.DRACUT,
            (
                "the kickstart or the installer's image was not found on the CD-ROMs "
                "(dracut timed out)"
            ),
        ),
        (
            "missing-package",
            InstallStage.ANACONDA,
            "anaconda gave up: Missing package: no-such-thing",
        ),
        (
            "post-error",
            InstallStage.POST,
            "the kickstart reported: setting up the guest: line 12: false",
        ),
        (
            "panic",
            InstallStage.ANACONDA,
            "the installer's kernel panicked: Fatal exception in interrupt",
        ),
        (
            "bad-kickstart",
            InstallStage.ANACONDA,
            (
                "anaconda refused the kickstart: The following problem occurred on line 7 of the "
                "kickstart file:"
            ),
        ),
    ],
)
def test_transcript_failure_is_named_with_its_cause(
    name: str, stage: InstallStage, failure: str
) -> None:
    state = transcript(name)

    assert not state.ok
    assert state.failure == failure
    assert state.stage is stage


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        (
            "10:00:00,1 ERR packaging:base repo (cdrom/None) not valid -- removing it",
            "the ISO's packages are unusable: base repo (cdrom/None) not valid -- removing it",
        ),
        (
            "10:00:00,1 INFO anaconda:Traceback (most recent call last):",
            "the installer crashed, see the traceback in its log",
        ),
        (
            "10:00:00,1 ERR kernel:Out of memory: Kill process 5 (yum)",
            "the installer's memory ran out: Out of memory: Kill process 5 (yum)",
        ),
        (
            "10:00:00,1 ERR packaging:insufficient disk space: 1 MB",
            "the disk is too small: insufficient disk space: 1 MB",
        ),
    ],
)
def test_log_line_known_as_fatal_is_a_failure(line: str, failure: str) -> None:
    assert told(LogSource.LOG, line).failure == failure


@pytest.mark.parametrize(
    "line",
    [
        "dracut-initqueue[301]: Warning: dracut-initqueue timeout - starting timeout scripts",
        "10:00:00,1 WARNING kernel:Call Trace:",
        "10:00:00,1 ERR anaconda:Error code 1 running the kickstart script at line 3",
        "Installing libtraceback (1/2)",
    ],
)
@pytest.mark.parametrize("source", [LogSource.SERIAL, LogSource.LOG])
def test_line_that_a_good_installation_may_have_is_no_failure(
    line: str, source: LogSource
) -> None:
    assert told(source, line).failure is None


def test_result_of_a_check_replaces_a_vaguer_failure_and_not_the_other_way() -> None:
    vague = told(LogSource.RESULT, "FAILED anaconda stopped with an error; its log has more")
    named = advance(
        vague, LogSource.LOG, ["10:00:00,1 ERR packaging:CmdlineError: Missing package: x"]
    )
    checked = advance(named, LogSource.RESULT, ["FAILED sshd is not enabled"])
    later = advance(
        checked, LogSource.RESULT, ["FAILED a second thing", "FAILED anaconda crashed"]
    )

    assert (
        vague.failure == "the kickstart reported: anaconda stopped with an error; its log has more"
    )
    assert named.failure == "anaconda gave up: Missing package: x"
    assert checked.failure == later.failure == "the kickstart reported: sshd is not enabled"


@pytest.mark.parametrize("line", ["OKAY", "PACKAGE OK-1-1.x86_64", "ok", "FAILEDx"])
def test_result_line_that_only_looks_like_ok_is_not_ok(line: str) -> None:
    state = told(LogSource.RESULT, line)

    assert not state.ok
    assert state.failure is None


def test_ok_on_console_or_log_counts_nothing() -> None:
    assert not told(LogSource.SERIAL, "OK").ok
    assert not told(LogSource.LOG, "OK").ok


def test_package_count_told_twice_and_out_of_step_never_goes_back() -> None:
    state = told(LogSource.LOG, "10:00:00,1 DEBUG packaging:Installing bash (7/9)")
    state = advance(state, LogSource.SERIAL, ["Installing glibc (3/9)"])

    assert state.progress() == "installing package 7 of 9"


def test_stage_never_goes_back() -> None:
    state = told(LogSource.SERIAL, "Running post-installation scripts", "anaconda 21.48 started.")

    assert state.stage is InstallStage.POST


def test_installer_that_gives_no_reason_still_fails() -> None:
    state = told(LogSource.SERIAL, "The installer will now terminate.")

    assert state.failure == "anaconda gave up: it gave no reason"


def test_clean_terminal_codes_and_overwritten_text_are_gone() -> None:
    assert clean("\x1b[1;32mold\r\x1b[0m  new \x1b(B\r\n") == "new"
