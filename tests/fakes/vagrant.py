"""Stand-ins for Vagrant: a script that writes down how it was called, and machines in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import CommandError
from labkit.host.vagrant import Machines
from labkit.waiting import Deadline, NotYet, Policy, WaitCancelled, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from tests.fakes.libvirt import FakeHost

GATE = Policy(tick=0.01)
SCRIPT = """\
#!/bin/sh
printf '%s\\n' "$@" > "$RECORD/arguments"
env > "$RECORD/environment"
pwd > "$RECORD/directory"
echo "one line of output"
echo "one line of error" >&2
exec sh -c "$BEHAVE"
"""


def install(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put it first on PATH; return the directory where it writes how it was called.

    The environment variable BEHAVE is the shell command it ends as.
    """
    (directory / "bin").mkdir()
    script = directory / "bin" / "vagrant"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    record = directory / "record"
    record.mkdir()
    monkeypatch.setenv("PATH", f"{directory / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("RECORD", str(record))
    monkeypatch.setenv("BEHAVE", "true")
    return record


def up(machines: Machines, *names: str, cancelled: Callable[[], bool] = lambda: False) -> None:
    """Bring machines up, of which none has to wait for its turn."""
    machines.up(
        names,
        gate=machines.root / "gate",
        turns=machines.root / "turns",
        turns_seconds=0.0,
        cancelled=cancelled,
    )


def environment_in(record: Path) -> dict[str, str]:
    """Return the environment it was called with."""
    lines = (record / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeMachines(Machines):
    """Vagrant in memory: waits for its gate, then for each machine's turn, and gives a fake host its domain.

    What is asked of it is among the host's calls, and fails where the host is told to let
    `("vagrant load", "")` or `("vagrant up", NODE)` fail.

    Attributes:
        host: The host.
        lab: The lab the names are of.
        boot: Called with each node that was made.
        done: Called when all are made.
    """

    host: FakeHost
    lab: ResolvedLab
    boot: Callable[[ResolvedNode], None] = lambda _node: None
    done: Callable[[], None] = lambda: None

    def up(
        self,
        names: tuple[str, ...],
        *,
        gate: Path,
        turns: Path,
        turns_seconds: float,
        cancelled: Callable[[], bool],
    ) -> None:
        """Make the machines when the gate is open."""

        del turns_seconds
        self.host.told("vagrant load", "")
        self._wait(gate, cancelled)
        for name in names:
            node = self.lab.node(name)
            assert node is not None
            self.host.told("vagrant up", name)
            self._wait(turns / name, cancelled)
            self.host.add(node)
            self.boot(node)
        self.done()

    def _wait(self, file: Path, cancelled: Callable[[], bool]) -> None:
        def opened() -> None:
            if not file.exists():
                msg = "it is closed"
                raise NotYet(msg)

        deadline = Deadline.after(20)
        try:
            wait_until(opened, what=file.name, deadline=deadline, policy=GATE, cancelled=cancelled)
        except WaitCancelled as exc:
            message = "'vagrant up' was cancelled."
            raise CommandError(message) from exc

    def destroy(self) -> None:
        """Do nothing: libvirt removes what Vagrant leaves."""
        self.host.told("vagrant destroy", "")
