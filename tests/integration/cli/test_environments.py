"""No environment, however odd, makes a verb that only reads end in a traceback."""

from __future__ import annotations

import os
import subprocess  # noqa: TID251 -- the shell around labkit is what is tested
import sys
from typing import TYPE_CHECKING

import pytest

from labkit.host.process import environment, run
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

EXIT_CODES = range(5)
ANYONE = 54321  # no user of this number is in the user database
# Shell around "$@", which is labkit and a verb; $PWD is the directory of the lab.
AROUND = {
    "locale_c": 'LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "$@"',
    "locale_latin1": 'LC_ALL=de_DE.ISO-8859-1 PYTHONUTF8=0 "$@"',
    "locale_nonsense": 'LANG=no_SUCH.thing LC_ALL=no_SUCH.thing "$@"',
    "encoding_ascii": 'PYTHONIOENCODING=ascii:strict "$@"',
    "stdout_closed": '"$@" >&-',
    "stdin_closed": '"$@" <&-',
    "stderr_closed": '"$@" 2>&-',
    "all_closed": '"$@" <&- >&- 2>&-',
    "pipe_closed": 'set -o pipefail; "$@" | true',
    "stdout_full": '"$@" >/dev/full',
    "stdout_full_unbuffered": 'PYTHONUNBUFFERED=1 "$@" >/dev/full',
    "stderr_full": '"$@" 2>/dev/full',
    "all_full": '"$@" >/dev/full 2>&1',
    "width_0": 'COLUMNS=0 LINES=0 FORCE_COLOR=1 "$@"',
    "width_nonsense": 'COLUMNS=wide TERM=none "$@"',
    "home_unset": 'unset HOME; "$@"',
    "home_and_xdg_files": """HOME=/etc/passwd XDG_CACHE_HOME=/etc/passwd
        XDG_STATE_HOME=/etc/passwd XDG_RUNTIME_DIR=/etc/passwd "$@" """.replace("\n", " "),
    "tmp_missing": 'TMPDIR=/nonexistent "$@"',
    "clock_1970": 'SECONDS_PAST=10 LD_PRELOAD=$CLOCK "$@"',
    "clock_2100": 'SECONDS_PAST=4107542400 LD_PRELOAD=$CLOCK "$@"',
    "umask_077": 'umask 077; "$@"',
    "directory_read_only": 'cd /proc; "$@" --lab "$LAB"',
    "directory_deleted": 'mkdir gone; cd gone; rmdir ../gone; "$@" --lab "$LAB"',
    "directory_deleted_lab_relative": 'mkdir gone; cd gone; rmdir ../gone; "$@"',
    "state_relative_deleted": """mkdir gone; cd gone; rmdir ../gone;
        LABKIT_STATE_DIR=x LABKIT_CACHE_DIR=y "$@" --lab "$LAB" """.replace("\n", " "),
    "socks": 'ALL_PROXY=socks5h://127.0.0.1:1 "$@"',
    "case_25_no_proxy": """HTTPS_PROXY=http://127.0.0.1:1
        NO_PROXY=localhost,127.0.0.0/8,[::1],fd00::/8,.example "$@" """.replace("\n", " "),
    "case_22_lab_in_latin1": 'd=$(printf "R\\351seaux"); mkdir "$d"; cp lab.yaml "$d"; cd "$d"; "$@"',
    "case_22_state_in_latin1": 'LABKIT_STATE_DIR=$(printf "R\\351") "$@"',
    "case_22_cache_in_latin1": 'XDG_CACHE_HOME=/tmp/$(printf "R\\351") "$@"',
    "case_22_registry_in_latin1": 'XDG_STATE_HOME=/tmp/$(printf "R\\351") "$@"',
    "utf8_name_in_latin1_locale": """mkdir Réseaux; cp lab.yaml Réseaux; cd Réseaux;
        LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "$@" """.replace("\n", " "),
}
# A clock that begins at SECONDS_PAST when the process does; what waits goes by another one.
CLOCK = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static time_t moved;
static int now(clockid_t id, struct timespec *at) { return syscall(SYS_clock_gettime, id, at); }
__attribute__((constructor)) static void begin(void) {
  struct timespec at;
  now(CLOCK_REALTIME, &at);
  moved = atoll(getenv("SECONDS_PAST")) - at.tv_sec;
}
int clock_gettime(clockid_t id, struct timespec *at) {
  int failed = now(id, at);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += moved;
  return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  at->tv_sec = found.tv_sec;
  at->tv_usec = found.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  if (at) *at = found.tv_sec;
  return found.tv_sec;
}
"""


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    source = library.with_suffix(".c")
    source.write_text(CLOCK, encoding="utf-8")
    run(["gcc", "-shared", "-fPIC", "-o", library, source], timeout=60)
    moved = environment(LD_PRELOAD=str(library), SECONDS_PAST="10")
    told = run([sys.executable, "-c", "import time; print(time.time())"], timeout=60, env=moved)
    assert 10 <= float(told.stdout) < 100
    return library


def _run(where: Path, clock: Path, around: str, *verb: str) -> subprocess.CompletedProcess[bytes]:
    lab = where / "lab.yaml"
    lab.write_bytes((ROOT / "lab.yaml").read_bytes())
    python = (sys.executable, "-m", "labkit", *verb)
    # PYTHONUNBUFFERED, for one, has errors of writing come at another moment.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        ["/bin/bash", "-c", around, "bash", *python],
        cwd=where,
        env={**plain, "LAB": str(lab), "PYTHONPATH": str(ROOT), "CLOCK": str(clock)},
        capture_output=True,
        check=False,
        timeout=120,
    )


def _require_no_crash(ended: subprocess.CompletedProcess[bytes]) -> None:
    told = ended.stdout + ended.stderr
    for mark in (b"Traceback", b"unexpected", b"Exception ignored", b"Fatal"):
        assert mark not in told, told.decode(errors="replace")
    assert ended.returncode in EXIT_CODES, told


@pytest.mark.parametrize("around", AROUND)
def test_case_22_and_others_no_environment_crashes_status(
    tmp_path: Path, clock: Path, around: str
) -> None:
    _require_no_crash(_run(tmp_path, clock, AROUND[around], "status"))


@pytest.mark.parametrize("around", AROUND)
def test_case_22_and_others_no_environment_crashes_doctor(
    tmp_path: Path, clock: Path, around: str
) -> None:
    _require_no_crash(_run(tmp_path, clock, AROUND[around], "doctor"))


@pytest.mark.parametrize("verb", ["render out", "snapshots", "validate", "sweep --dry-run"])
def test_clock_of_1970_hinders_no_verb(tmp_path: Path, clock: Path, verb: str) -> None:
    ended = _run(tmp_path, clock, AROUND["clock_1970"], *verb.split())
    _require_no_crash(ended)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "verb", ["graph", "schema", "--version", "explain -", "logs", "render out"]
)
@pytest.mark.parametrize("around", ["stdin_closed", "stdout_closed"])
def test_closed_stream_crashes_no_verb_that_prints(
    tmp_path: Path, clock: Path, verb: str, around: str
) -> None:
    _require_no_crash(_run(tmp_path, clock, AROUND[around], *verb.split()))


@pytest.mark.parametrize("around", ["encoding_ascii", "width_0", "all_closed", "home_unset"])
def test_help_in_any_environment_is_no_crash(tmp_path: Path, clock: Path, around: str) -> None:
    _require_no_crash(_run(tmp_path, clock, AROUND[around], "--help"))


@pytest.mark.parametrize("verb", [("status",), ("render", "out"), ("up", "--dry-run")])
def test_case_22_lab_in_a_directory_of_latin1_is_refused_by_its_path(
    tmp_path: Path, clock: Path, verb: tuple[str, ...]
) -> None:
    ended = _run(tmp_path, clock, AROUND["case_22_lab_in_latin1"], *verb)
    assert ended.returncode == 2, ended.stderr
    assert b"R\\xe9seaux" in ended.stderr
    assert [each.name for each in next(tmp_path.glob("R*")).iterdir()] == ["lab.yaml"]
