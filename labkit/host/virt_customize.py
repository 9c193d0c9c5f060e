"""Runs scripts inside an image of a disk, by libguestfs's virt-customize."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from labkit.errors import CommandError, HostError
from labkit.host.packages import package_of
from labkit.host.process import environment, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PROGRAM = "virt-customize"
# Its small machine is emulated where there is no KVM, and dracut works long in that one.
TIMEOUT = 2 * 3600.0
TAIL_LINES = 15
# What labkit's own scripts write when they give up (kickstart/image-prepare and its companions).
_FAILED = re.compile(r"^FAILED .*", re.MULTILINE)
# Ubuntu keeps its kernels for root alone, and libguestfs starts one of them (supermin's message).
_KERNEL_HIDDEN = re.compile(r"(/boot/vmlinuz\S*): Permission denied|Permission denied.*vmlinuz")
_NOT_STARTED = re.compile(r"guestfs_launch failed|supermin exited with error")


def require() -> None:
    """Check that the program is there, before anything is downloaded for it.

    Raises:
        HostError: It is not; the hint names the package.
    """
    if shutil.which(PROGRAM, path=environment()["PATH"]) is None:
        msg = (
            f"The command '{PROGRAM}', which puts labkit's parts into an image, is not installed."
        )
        hint = (
            f"{package_of(PROGRAM)} For an image that has all a box needs, say 'contract: "
            "complete' in its box.yaml."
        )
        raise HostError(msg, hint=hint)


def command(disk: Path, scripts: Sequence[str]) -> tuple[str, ...]:
    """Return the command that runs bash scripts inside a disk, one after the other.

    Not by --run: that hands a script's text to the guest's /bin/sh, whatever its first line says
    (seen with 1.48). Nothing is downloaded meanwhile. Labels of SELinux are set at the end: files
    that are written from outside have none (newer versions do that unasked, and take the option
    all the same).

    Args:
        disk: A qcow2 file, changed in place.
        scripts: Names, without ':' or blanks, of files where the command is run.
    """
    runs = []
    for name in scripts:
        place = f"/root/labkit-{name}"
        runs += ["--upload", f"{name}:{place}", "--run-command", f"bash {place}"]
        runs += ["--delete", place]
    # An absolute path is no URI, and no option.
    image = ("--format", "qcow2", "--add", str(disk.absolute()))
    # Without --no-logfile the scripts' output would stay in the guest, as /tmp/builder.log.
    return (PROGRAM, "--no-network", *image, *runs, "--no-logfile", "--selinux-relabel")


def customize(
    disk: Path,
    scripts: Sequence[Path],
    *,
    log: Path,
    emulated: bool,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Run bash scripts inside a disk as root; when one fails, the disk is not to be used.

    Args:
        disk: A qcow2 file, changed in place.
        scripts: Files of one directory, with plain names.
        log: Gets what the program and the scripts write.
        emulated: Its machine is not to use KVM.
        cancelled: Asked now and then; True ends it.

    Raises:
        HostError: The program is missing, or cannot start its machine.
        CommandError: A script failed, time is over, or it was cancelled.
    """
    # Not by libvirt, libguestfs's default on some systems: that may not read the user's files.
    env = environment(LIBGUESTFS_BACKEND="direct")
    if emulated:
        # It takes a KVM that can be opened for one that works (seen with libguestfs 1.48: the
        # machine never came up, and nothing was said).
        env["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"
    try:
        run(
            command(disk, [script.name for script in scripts]),
            timeout=TIMEOUT,
            # A path in front of a name might have a ':', which ends it there.
            cwd=scripts[0].parent,
            env=env,
            output=log,
            cancelled=cancelled,
        )
    except CommandError as exc:
        if cancelled is not None and cancelled():
            raise
        raise explain_failure(log.read_text(encoding="utf-8", errors="replace"), exc) from exc


def explain_failure(log: str, error: CommandError) -> HostError | CommandError:
    """Return the error for a run that failed, by what it wrote."""
    tail = tuple(log.strip().splitlines()[-TAIL_LINES:])
    told = tuple(dict.fromkeys(_FAILED.findall(log)))
    if told:
        return CommandError("The image could not be made a box.", (*told, *tail))
    if _KERNEL_HIDDEN.search(log):
        msg = "libguestfs cannot read the kernel of this host, which it starts for its work."
        return HostError(msg, tail, "Run 'sudo chmod 0644 /boot/vmlinuz-*', or labkit as root.")
    if _NOT_STARTED.search(log):
        msg = "libguestfs cannot start the small machine in which it works on an image."
        return HostError(msg, tail, "'LIBGUESTFS_BACKEND=direct libguestfs-test-tool' says why.")
    if tail:
        # The error's own message has the whole command, which nobody has to read.
        return CommandError(f"'{PROGRAM}' failed.", tail)
    return CommandError(f"'{PROGRAM}' failed: {error.message}", error.details)
