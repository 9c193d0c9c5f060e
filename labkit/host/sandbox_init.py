"""The sandbox from inside: its first process, which builds it, runs the command and ends it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from labkit.errors import CommandError, HostError, LabkitError
from labkit.host import process, sandbox
from labkit.host.inventory import POOL, POOL_PATH, URI
from labkit.host.packages import how_to_install
from labkit.waiting import Deadline, NotYet, WaitTimeout, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
SHELLS: Final = frozenset({"ash", "bash", "dash", "fish", "ksh", "sh", "zsh"})
# <asm-generic/siginfo.h>: the kernel sent it, not a process: somebody typed Ctrl-C.
SI_KERNEL: Final = 0x80
# <linux/prctl.h>
PR_SET_PDEATHSIG: Final = 1
START_SECONDS: Final = 30.0
STEP_SECONDS: Final = 20.0
CANNOT_RUN: Final = 126
NOT_FOUND: Final = 127
LOG_LINES: Final = 20


def main(arguments: Sequence[str]) -> int:
    """Run a command in a sandbox built around it; return its exit code.

    Started by `labkit.host.sandbox.enter` in new network and mount namespaces, with a new process
    namespace for its children. Its child is process 1 there; this process stays outside it, passes
    signals on, and takes everything with it when it dies.

    Args:
        arguments: The `Setup` as JSON, then the command.
    """
    setup, command = sandbox.Setup(**json.loads(arguments[0])), tuple(arguments[1:])
    foreground = _has_foreground()
    alive_read, alive_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(alive_write)
        own_group = foreground and interactive_shell(command)
        _as_process_one(alive_read, setup, command, own_group=own_group)
    _block(_forwarded())
    code = supervise(pid)
    if foreground:
        # An interactive shell inside cannot give it back: its parent's group has no number in its
        # namespace. Without this, Ctrl-C would no longer reach the 'make' around the sandbox.
        _take_foreground()
    return code


def supervise(pid: int) -> int:
    """Wait for a child, reaping every other one; return its exit code, 128 + n for signal n.

    The forwarded signals and SIGCHLD must be blocked. A Ctrl-C of the terminal is not passed on:
    it has reached the command already, and a second one means something else to many programs.
    A hang-up is: the terminal tells only the session's leader and the foreground.
    """
    awaited = (*_forwarded(), signal.SIGCHLD)
    while True:
        status = _reap(pid)
        if status is not None:
            return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        seen = signal.sigwaitinfo(awaited)
        typed = seen.si_code == SI_KERNEL and seen.si_signo != signal.SIGHUP
        if seen.si_signo != signal.SIGCHLD and not typed:
            os.kill(pid, seen.si_signo)


def interactive_shell(command: Sequence[str]) -> bool:
    """Return whether a command is a shell that a person types into."""
    options = command[1:]
    return (
        Path(command[0]).name in SHELLS
        and all(each.startswith("-") for each in options)
        and "-c" not in options
    )


def report(error: LabkitError) -> str:
    """Return an error as the lines a person reads on standard error."""
    lines = [f"labkit sandbox: {error.message}", *(f"  {line}" for line in error.details)]
    if error.hint:
        lines.append(f"  Hint: {error.hint}")
    return "\n".join(lines) + "\n"


def _has_foreground() -> bool:
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    finally:
        os.close(descriptor)


def _take_foreground() -> None:
    """Make this process group the foreground of its terminal."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the terminal was closed meanwhile
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        os.tcsetpgrp(descriptor, os.getpgrp())
        os.close(descriptor)
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)


def _as_process_one(
    alive: int, setup: sandbox.Setup, command: Sequence[str], *, own_group: bool
) -> NoReturn:
    code = 1
    try:
        _die_with_parent(alive)
        code = _inside(setup, command, own_group=own_group)
    except LabkitError as error:
        sys.stderr.write(report(error))
        code = HostError.exit_code
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 -- nothing above this frame would show it
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _die_with_parent(alive: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        msg = "The kernel refused to tie the sandbox to the process that started it."
        raise HostError(msg, details=(os.strerror(ctypes.get_errno()),))
    # The pipe's other end closes with the parent: it may have died before the call above.
    if select.select([alive], [], [], 0)[0]:
        os._exit(128 + signal.SIGKILL)


def _inside(setup: sandbox.Setup, command: Sequence[str], *, own_group: bool) -> int:
    # The first process of a namespace ignores signals it has no handler for.
    for number in _forwarded():
        signal.signal(number, _give_up)
    try:
        build(setup)
        start_libvirt()
    except OSError as exc:
        msg = f"A file of the sandbox could not be made: {exc}."
        raise HostError(msg) from exc
    before = _block(_forwarded())
    pid = os.fork()
    if pid == 0:
        if own_group:
            _lead_terminal()
        _become(command, before)
    return supervise(pid)


def build(setup: sandbox.Setup) -> None:
    """Make the private /run, /dev, libvirt directories and loopback of this namespace.

    Raises:
        HostError: The host lacks a directory of libvirt.
        CommandError: A mount was refused.
    """
    paths = {name: Path("/dev") / name for name in sandbox.devices(with_kvm=setup.kvm)}
    kept = {name: path.stat() for name, path in paths.items() if path.exists()}
    for path in sandbox.LIBVIRT_DIRECTORIES:
        if not path.is_dir():
            msg = f"The libvirt directory '{path}' does not exist on this host."
            raise HostError(msg, hint=how_to_install("libvirtd"))
    _mount(sandbox.host_mounts())
    for path in (sandbox.PRIVATE / name for name in ("state", "vagrant.d")):
        path.mkdir(parents=True, mode=0o700)
    for path in (sandbox.PRIVATE / "tmp", sandbox.PRIVATE / "shm", Path("/run/lock")):
        path.mkdir()
        path.chmod(0o1777)
    for path in sandbox.LIBVIRT_DIRECTORIES:
        sandbox.private_directory(path).mkdir(parents=True)
    staging = sandbox.PRIVATE / "dev"
    _make_devices(staging, kept)
    _mount(sandbox.private_mounts(staging))
    _write_libvirt_files()
    _use_vagrant_plugins(Path(setup.vagrant_home), sandbox.PRIVATE / "vagrant.d")
    process.run(["ip", "link", "set", "lo", "up"], timeout=STEP_SECONDS)
    sandbox.MARKER.touch()


def start_libvirt() -> None:
    """Start virtlogd and libvirtd, and wait until libvirt answers.

    Raises:
        HostError: One of them did not start; the end of libvirtd's log is in the details.
    """
    deadline = Deadline.after(START_SECONDS)
    for daemon in ("virtlogd", "libvirtd"):
        started = process.run([daemon, "--daemon"], timeout=deadline.left(), check=False)
        if started.returncode != 0:
            msg = f"The sandbox's '{daemon}' ended with {started.returncode} instead of starting."
            raise HostError(msg, details=(*started.tail(), *_log_tail()))
    try:
        wait_until(
            lambda: _ask_libvirt(deadline.left()),
            what="the sandbox's libvirtd",
            deadline=deadline,
            retry_on=(NotYet, CommandError),
        )
    except WaitTimeout as exc:
        raise HostError(exc.message, details=(*exc.details, *_log_tail())) from exc


def _ask_libvirt(seconds: float) -> None:
    asked = process.run(["virsh", "--connect", URI, "hostname"], timeout=seconds, check=False)
    if asked.returncode != 0:
        raise NotYet(" ".join(asked.tail()))


def _make_devices(staging: Path, kept: dict[str, os.stat_result]) -> None:
    staging.mkdir()
    options = "size=1m,mode=0755,nosuid"
    _mount([("-t", "tmpfs", "-o", options, "labkit-dev", str(staging))])
    for name in ("net", "pts", "shm"):
        (staging / name).mkdir()
    for name, like in kept.items():
        os.mknod(staging / name, stat.S_IFCHR, like.st_rdev)
        os.chown(staging / name, like.st_uid, like.st_gid)
        (staging / name).chmod(stat.S_IMODE(like.st_mode))
    for name, target in sandbox.DEVICE_LINKS.items():
        (staging / name).symlink_to(target)


def _mount(mounts: Sequence[Sequence[str]]) -> None:
    for each in mounts:
        process.run(["mount", "--no-mtab", *each], timeout=STEP_SECONDS)


def _write_libvirt_files() -> None:
    # libvirt's package makes these; a bridge of a network without dnsmasq needs the second too.
    for path in (POOL_PATH, Path("/var/lib/libvirt/dnsmasq")):
        path.mkdir()
    for path, text in sandbox.libvirt_files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    autostart = Path("/etc/libvirt/storage/autostart")
    autostart.mkdir()
    (autostart / f"{POOL}.xml").symlink_to(f"../{POOL}.xml")


def _use_vagrant_plugins(host: Path, private: Path) -> None:
    """Let Vagrant inside find plugins installed by 'vagrant plugin install' on the host."""
    if (host / "plugins.json").is_file():
        shutil.copyfile(host / "plugins.json", private / "plugins.json")
        (private / "gems").symlink_to(host / "gems")


def _log_tail() -> tuple[str, ...]:
    try:
        text = sandbox.LIBVIRTD_LOG.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(text.splitlines()[-LOG_LINES:])


def _forwarded() -> tuple[signal.Signals, ...]:
    # 'nohup' and background jobs of scripts start their children with some of them ignored.
    return tuple(each for each in FORWARDED if signal.getsignal(each) != signal.SIG_IGN)


def _give_up(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _block(forwarded: tuple[signal.Signals, ...]) -> set[int]:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return {
        int(each)
        for each in signal.pthread_sigmask(signal.SIG_BLOCK, (*forwarded, signal.SIGCHLD))
    }


def _reap(awaited: int) -> int | None:
    """Collect every ended child; return the awaited one's wait status, None while it runs."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == awaited:
            return status
        if pid == 0:
            return None


def _lead_terminal() -> None:
    """Start a process group with the terminal's foreground, for a shell with job control.

    The group it would share has no number in this namespace, and dash, for one, fails on leaving
    when it cannot hand the terminal back. Any other command stays in the caller's group, so that
    Ctrl-Z stops it together with labkit.
    """
    os.setpgid(0, 0)
    _take_foreground()


def _become(command: Sequence[str], mask: set[int]) -> NoReturn:
    code = CANNOT_RUN
    try:
        for number in (*_forwarded(), signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvp(command[0], list(command))  # noqa: S606 -- the command takes this process over
    except OSError as exc:
        code = NOT_FOUND if isinstance(exc, FileNotFoundError) else CANNOT_RUN
        sys.stderr.write(report(sandbox.unstartable(command[0], exc)))
    finally:
        sys.stderr.flush()
        os._exit(code)
