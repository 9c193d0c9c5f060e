"""The one adapter over python-vagrant: labkit's own process handling behind its interface.

python-vagrant sends output to /dev/null or to the terminal, has no timeout, and replaces the
environment; this subclass keeps its command building and runs everything through
`labkit.host.process`, so that a killed labkit takes Vagrant with it and errors keep their output.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import vagrant  # noqa: TID251 -- this module is the one allowed to

from labkit.errors import CommandError, HostError
from labkit.host.files import home_directory, write_atomically
from labkit.host.packages import how_to_install
from labkit.host.process import run
from labkit.host.vagrant_environment import (
    PROVIDER,
    provide_home,
    users_home,
    vagrant_environment,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Creating machines is quick, as labkit waits by itself; a busy host is given a quarter of an hour,
# and a minute more for each machine.
UP_SECONDS = 900.0
MACHINE_SECONDS = 60.0

# Set while labkit does the waiting; the Vagrantfile then skips Vagrant's own (see there).
WAITS_VARIABLE = "LABKIT_WAITS"
# Names a file that the Vagrantfile waits for, so that Vagrant can load while labkit prepares.
GATE_VARIABLE = "LABKIT_GATE"
# Names a directory in which a machine's own file lets it start.
TURNS_VARIABLE = "LABKIT_TURNS"

# Around an error: Vagrant's progress, Ruby's threads and backtraces, and what only introduces it
# (vagrant 2.3.4 and vagrant-libvirt 0.11.2, locales/en.yml).
_NOISE = re.compile(
    r"==> \S+: |    \S+: |\s+(\d+: )?from \S+:\d+:in |.* terminated with exception \(report_on_"
    r"|.*[Ee]rror message is shown|below:|An error occurred while executing|Any errors that occurred"
    r"|.*Please handle this error"
)
# Ruby puts before an error where it was raised.
_PLACE = re.compile(r"^\S+:\d+:in [`'].*?': ")


class _Vagrant(vagrant.Vagrant):
    """python-vagrant with labkit's way of running commands."""

    def __init__(
        self,
        root: Path,
        log: Path,
        env: Mapping[str, str],
        *,
        seconds: float,
        cancelled: Callable[[], bool],
    ) -> None:
        super().__init__(root=str(root), env=env)
        self._seconds = seconds
        self._log = log
        self._cancelled = cancelled

    def _call_vagrant_command(self, args: list[str | None]) -> None:
        argv = ["vagrant", *(arg for arg in args if arg is not None)]
        start = self._log.stat().st_size if self._log.exists() else 0
        result = run(
            argv,
            timeout=self._seconds,
            cwd=Path(str(self.root)),
            env=self.env,
            output=self._log,
            check=False,
            cancelled=self._cancelled,
        )
        if result.returncode != 0:
            with self._log.open("rb") as file:
                file.seek(start)
                lines = file.read().decode("utf-8", "replace").splitlines()
            message = f"'{' '.join(argv)}' exited with {result.returncode}."
            raise CommandError(
                message,
                details=error_lines(lines),
                hint=f"The whole output is in '{self._log}'.",
            )


def error_lines(output: Iterable[str]) -> tuple[str, ...]:
    """Return what in Vagrant's output names its error, each line once; else its last lines."""
    lines = [line for line in output if line.strip()]
    named = [_PLACE.sub("", line) for line in lines if not _NOISE.match(_PLACE.sub("", line))]
    return tuple(dict.fromkeys(named))[-20:] or tuple(lines[-20:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """The machines of one rendered Vagrantfile.

    Attributes:
        root: Directory of the Vagrantfile and of Vagrant's own data.
        log: File that Vagrant's output is appended to.
    """

    root: Path
    log: Path

    def up(
        self,
        names: tuple[str, ...],
        *,
        gate: Path,
        turns: Path,
        turns_seconds: float,
        cancelled: Callable[[], bool],
    ) -> None:
        """Create and start the named machines in one Vagrant process, without waiting for SSH.

        One process, because Vagrant's locks on pool and box volume hold inside a process only.

        Args:
            names: The machines.
            gate: A file; nothing is created before it exists.
            turns: A directory; a machine starts when a file of its name is there.
            turns_seconds: How long the last of them may have to wait for that.
            cancelled: Asked twice a second; True ends Vagrant.

        Raises:
            CommandError: Vagrant failed; what names the error is in the details.
        """
        env = {
            **vagrant_environment(os.environ, vagrant_home(self.root)),
            WAITS_VARIABLE: "1",
            GATE_VARIABLE: str(gate),
            TURNS_VARIABLE: str(turns),
        }
        seconds = UP_SECONDS + MACHINE_SECONDS * len(names) + turns_seconds
        machines = _Vagrant(self.root, self.log, env, seconds=seconds, cancelled=cancelled)
        machines._call_vagrant_command(  # noqa: SLF001 -- up() takes one name and no such flag
            ["up", *names, "--no-provision", "--no-destroy-on-error", "--provider=libvirt"]
        )


def vagrant_home(root: Path) -> Path:
    """Return the home of a lab's Vagrant, a part of the lab's own directory."""
    return root / "home"


def provide_box(root: Path, *, name: str, version: str, virtual_size_gib: int) -> None:
    """Make the Vagrant of one lab know a box whose image is in the storage pool already.

    Of a box Vagrant reads the description beside the image; the image itself vagrant-libvirt reads
    only to upload it (0.11.2, handle_box_image.rb). So the description is all that is there.

    Args:
        root: Directory of the lab's Vagrantfile.
        name: The box's name.
        version: Its version.
        virtual_size_gib: Virtual size of its disk, GiB.

    Raises:
        OSError: It cannot be written.
    """
    home = vagrant_home(root)
    provide_home(home, users_home(os.environ, home_directory()))
    # The layout since Vagrant 1.5 (box_collection.rb).
    place = home / "boxes" / name.replace("/", "-VAGRANTSLASH-") / version / "libvirt"
    place.mkdir(parents=True, exist_ok=True)
    known = {"provider": "libvirt", "format": "qcow2", "virtual_size": virtual_size_gib}
    write_atomically(place / "metadata.json", json.dumps(known))


def box_volume(name: str, version: str) -> str:
    """Return the pool volume vagrant-libvirt looks for before it would upload a box itself."""
    return f"{name.replace('/', '-VAGRANTSLASH-')}_vagrant_box_image_{version}_box.img"


def require() -> None:
    """Check that Vagrant and its libvirt provider are there.

    Raises:
        HostError: One of them is missing.
    """
    with tempfile.TemporaryDirectory(prefix="labkit-") as scratch:
        home = vagrant_home(Path(scratch))
        provide_home(home, users_home(os.environ, home_directory()))
        listed = run(
            ["vagrant", "plugin", "list", "--machine-readable"],
            timeout=60,
            env=vagrant_environment(os.environ, home),
            check=False,
        )
    if PROVIDER not in listed.stdout:
        message = f"Vagrant has no libvirt provider: the plugin '{PROVIDER}' was not found."
        raise HostError(message, details=listed.tail(), hint=how_to_install("vagrant-libvirt"))
