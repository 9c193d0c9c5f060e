"""Sessions for verbs under test: a lab of `tests.support.labs` on a fake host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.state.directory import LabDirectory, LabState
from labkit.state.session import Session
from tests.fakes.tools import tools
from tests.support.labs import LAB_ID

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab
    from tests.fakes.libvirt import FakeHost


class Directory(LabDirectory):
    """A lab's directory where a lab nothing is recorded of has the id of `tests.support.labs`."""

    def load(self, lab: str) -> LabState:
        found = super().load(lab)
        return found if self.state_file.exists() else LabState(lab=lab, lab_id=LAB_ID)


def session(path: Path, lab: ResolvedLab, host: FakeHost) -> Session:
    """Return a session with a lab whose file would be in a directory; nothing is made."""
    return Session(
        lab=lab,
        lab_file=path / "lab.yaml",
        directory=Directory(path / ".labkit" / lab.name),
        progress=lambda _event: None,
        tools=tools(connect=host.connect),
    )
