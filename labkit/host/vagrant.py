"""The one adapter over python-vagrant: labkit's own process handling behind its interface.

python-vagrant sends output to /dev/null or to the terminal, has no timeout, and replaces the
environment; this subclass keeps its command building and runs everything through
`labkit.host.process`, so that a killed labkit takes Vagrant with it and errors keep their output.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import vagrant  # noqa: TID251 -- this module is the one allowed to

from labkit.errors import CommandError, HostError, OperationError
from labkit.host.process import environment, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

# Seconds. Creating machines is quick (labkit waits by itself); only a box upload takes long.
UP_SECONDS = 900.0
DESTROY_SECONDS = 180.0
BOX_SECONDS = 900.0

# Set while labkit does the waiting; the Vagrantfile then skips Vagrant's own (see there).
WAITS_VARIABLE = "LABKIT_WAITS"
# Names a file that the Vagrantfile waits for, so that Vagrant can load while labkit prepares.
GATE_VARIABLE = "LABKIT_GATE"

# Vagrant is a large program that runs for a second or two, and Ruby collects garbage all the while
# it loads (docs/explanation/vagrant-and-libvirt.md has the figures).
_RUBY = {
    "RUBY_GC_HEAP_INIT_SLOTS": "600000",  # about 24 MiB
    "RUBY_GC_MALLOC_LIMIT": str(128 * 2**20),
    "RUBY_GC_MALLOC_LIMIT_MAX": str(256 * 2**20),
    "RUBY_GC_OLDMALLOC_LIMIT": str(128 * 2**20),
}

# Around an error: Vagrant's progress, Ruby's threads and backtraces, and what only introduces it
# (vagrant 2.3.4 and vagrant-libvirt 0.11.2, locales/en.yml).
_NOISE = re.compile(
    r"==> \S+: |    \S+: |\s+(\d+: )?from \S+:\d+:in |.* terminated with exception \(report_on_"
    r"|.*[Ee]rror message is shown|below:|An error occurred while executing|Any errors that occurred"
    r"|.*Please handle this error"
)
# Ruby puts before an error where it was raised.
_PLACE = re.compile(r"^\S+:\d+:in [`'].*?': ")

_CLEARED = ("VAGRANT_VAGRANTFILE", "VAGRANT_CWD", "VAGRANT_NO_PARALLEL", "LIBVIRT_DEFAULT_URI")


class _Vagrant(vagrant.Vagrant):
    """python-vagrant with labkit's way of running commands."""

    def __init__(self, root: Path, log: Path) -> None:
        super().__init__(root=str(root), env=_environment())
        self._log = log
        self.timeout = DESTROY_SECONDS
        self.cancelled: Callable[[], bool] | None = None

    def _call_vagrant_command(self, args: list[str | None]) -> None:
        argv = ["vagrant", *(arg for arg in args if arg is not None)]
        start = self._log.stat().st_size if self._log.exists() else 0
        result = run(
            argv,
            timeout=self.timeout,
            cwd=Path(str(self.root)),
            env=self.env,
            output=self._log,
            check=False,
            cancelled=self.cancelled,
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

    def _run_vagrant_command(self, args: list[str | None]) -> str:
        argv = ["vagrant", *(arg for arg in args if arg is not None)]
        return run(argv, timeout=self.timeout, cwd=Path(str(self.root)), env=self.env).stdout


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

    def up(self, names: tuple[str, ...], *, gate: Path, cancelled: Callable[[], bool]) -> None:
        """Create and start the named machines in one Vagrant process, without waiting for SSH.

        One process, because Vagrant's locks on pool and box volume hold inside a process only.

        Args:
            names: The machines.
            gate: A file; nothing is created before it exists.
            cancelled: Asked twice a second; True ends Vagrant.

        Raises:
            CommandError: Vagrant failed; what names the error is in the details.
        """
        machines = _Vagrant(self.root, self.log)
        machines.timeout = UP_SECONDS
        machines.cancelled = cancelled
        machines.env[WAITS_VARIABLE] = "1"
        machines.env[GATE_VARIABLE] = str(gate)
        machines._call_vagrant_command(  # noqa: SLF001 -- up() takes one name and no such flag
            ["up", *names, "--no-provision", "--no-destroy-on-error", "--provider=libvirt"]
        )

    def destroy(self) -> None:
        """Destroy what Vagrant knows of.

        Raises:
            CommandError: Vagrant failed; the caller removes what is left through libvirt.
        """
        _Vagrant(self.root, self.log).destroy()


def adopt(root: Path, machine: str, uuid: UUID) -> None:
    """Let Vagrant know a machine whose domain came back without it.

    When a domain is gone, Vagrant's next command drops the machine's id (Vagrant 2.3.4,
    machine.rb); with the id it knows the machine again.
    """
    file = root / ".vagrant" / "machines" / machine / "libvirt" / "id"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(str(uuid), encoding="utf-8")


def add_box(catalog: Path, name: str, version: str, log: Path) -> bool:
    """Make Vagrant know a box; return whether it had to be added.

    Args:
        catalog: Metadata JSON that names box, version and file.
        name: The box's name.
        version: Its version.
        log: File that Vagrant's output is appended to.

    Raises:
        CommandError: Vagrant refused the box.
    """
    if box_directory(name, version).is_dir():
        return False
    client = _Vagrant(catalog.parent, log)
    client.timeout = BOX_SECONDS
    client._call_vagrant_command(  # noqa: SLF001 -- box_add() knows no version and no clean-up
        ["box", "add", str(catalog), "--provider", "libvirt", "--clean", "--force"]
    )
    if not box_directory(name, version).is_dir():
        message = f"Vagrant added the box '{name}' but has no version '{version}' of it."
        raise OperationError(message, hint=f"Look at '{log}'.")
    return True


def remove_box(name: str, version: str, log: Path) -> bool:
    """Make Vagrant forget a box version; return whether it knew it.

    Raises:
        CommandError: Vagrant failed.
    """
    if not box_directory(name, version).is_dir():
        return False
    client = _Vagrant(log.parent, log)
    client._call_vagrant_command(  # noqa: SLF001 -- box_remove() uses a deprecated form
        ["box", "remove", name, "--provider", "libvirt", "--box-version", version, "--force"]
    )
    return True


def box_directory(name: str, version: str) -> Path:
    """Return where Vagrant keeps an added box (VAGRANT_HOME/boxes, layout since 1.5).

    Looking costs nothing; asking `vagrant box list` costs 0.7 s at every `up`.
    """
    return _boxes() / name.replace("/", "-VAGRANTSLASH-") / version / "libvirt"


def box_names() -> tuple[str, ...]:
    """Return the names of all boxes Vagrant knows, in the form of their directories."""
    return tuple(sorted(path.name for path in _boxes().glob("*")))


def _boxes() -> Path:
    return Path(os.environ.get("VAGRANT_HOME") or Path.home() / ".vagrant.d") / "boxes"


def box_volume(name: str, version: str) -> str:
    """Return the pool volume vagrant-libvirt looks for before it would upload a box itself."""
    return f"{name.replace('/', '-VAGRANTSLASH-')}_vagrant_box_image_{version}_box.img"


def require() -> None:
    """Check that Vagrant and its libvirt provider are there.

    Raises:
        HostError: One of them is missing.
    """
    listed = run(
        ["vagrant", "plugin", "list", "--machine-readable"],
        timeout=60,
        env=_environment(),
        check=False,
    )
    if "vagrant-libvirt" not in listed.stdout:
        message = "Vagrant has no libvirt provider: the plugin 'vagrant-libvirt' was not found."
        raise HostError(message, details=listed.tail(), hint="Run 'make setup'.")


def _environment() -> dict[str, str]:
    merged = environment(
        VAGRANT_DEFAULT_PROVIDER="libvirt",
        VAGRANT_CHECKPOINT_DISABLE="1",
        VAGRANT_BOX_UPDATE_CHECK_DISABLE="1",
        **{name: value for name, value in _RUBY.items() if name not in os.environ},
    )
    return {key: value for key, value in merged.items() if key not in _CLEARED}
