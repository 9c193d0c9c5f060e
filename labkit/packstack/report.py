"""What a deployment did, as a record and for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from labkit.verify.report import as_json

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.packstack.prepare import Prepared
    from labkit.verify.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployReport:
    """What `deploy` did.

    Attributes:
        scenario: The scenario's name.
        run_id: The Packstack run; empty for a dry run.
        attached: Whether the run was under way already.
        ended: Whether it was followed to its end; False with `detach`.
        prepared: The nodes that were prepared first.
        mended: The nodes whose external bridge had to be put right.
        files: What was brought home.
        dashboard: Where the dashboard answers; empty where none is installed.
        notices: What the user should know.
        verification: Expected versus seen, at the end.
        seconds: Seconds per stage, in order.
    """

    scenario: str
    run_id: str = ""
    attached: bool = False
    ended: bool = False
    prepared: tuple[Prepared, ...] = ()
    mended: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    dashboard: str = ""
    notices: tuple[str, ...] = ()
    verification: Report | None = None
    seconds: tuple[tuple[str, float], ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return it as plain data for `json.dumps`."""
        return {
            "scenario": self.scenario,
            "run_id": self.run_id,
            "attached": self.attached,
            "ended": self.ended,
            "prepared": [asdict(item) for item in self.prepared],
            "mended": list(self.mended),
            "files": [str(path) for path in self.files],
            "dashboard": self.dashboard,
            "notices": list(self.notices),
            "verification": as_json(self.verification) if self.verification else None,
            "seconds": dict(self.seconds),
        }
