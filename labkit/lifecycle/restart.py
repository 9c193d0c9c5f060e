"""`restart`: nodes shut down and started again, the rest of the lab left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lifecycle.teardown import halt
from labkit.lifecycle.up import up, up_locked
from labkit.snapshots.heal import heal
from labkit.state.lock import lab_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.lifecycle.teardown import HaltReport
    from labkit.lifecycle.up import UpReport
    from labkit.state.session import Session


def restart(
    session: Session, *, only: Sequence[str] = (), force: bool = False, dry_run: bool = False
) -> tuple[HaltReport, UpReport]:
    """Shut nodes down and bring them up, with what lab.yaml says by now.

    Args:
        session: The lab.
        only: The names of the nodes; all of them when empty.
        force: Cut their power instead of shutting them down.
        dry_run: Only say what would be done; `up` then tells of the nodes as they are.

    Raises:
        LabkitError: As `halt` and `up`; nothing is brought up when a node could not be stopped.
    """
    stopped = halt(session, only=only, force=force, dry_run=dry_run)
    if dry_run:
        return stopped, up(session, dry_run=True)
    with lab_lock(session.directory, "restart"):
        heal(session)
        return stopped, up_locked(session, only=only)
