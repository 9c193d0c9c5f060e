"""`up`: the verb. Vagrant and what brings a lab up take a while to load, so they do it together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING

from labkit.lifecycle.head_start import started
from labkit.state.lock import lab_lock

if TYPE_CHECKING:
    from labkit.lifecycle.bringup import UpReport
    from labkit.state.session import Session


def up(session: Session, *, dry_run: bool = False) -> UpReport:
    """Bring the lab up; whatever is already there and right stays untouched.

    Raises:
        HostError: libvirt, a bridge, a tool, the box or space is missing.
        OperationError: Something foreign is in the way, or a node did not become ready.
    """
    if dry_run:
        from labkit.lifecycle import bringup  # noqa: PLC0415 -- as below

        return bringup.dry_run(session)
    # One thread for Vagrant, one that waits for it, one per node.
    workers = len(session.lab.nodes) + 2
    with lab_lock(session.directory, "up"), ThreadPoolExecutor(max_workers=workers) as pool:
        session.directory.create()
        early = started(session, pool)
        try:
            # Loading this is a third of labkit's own start, and Vagrant need not wait for it. On a
            # thread, because an interrupt amid the making of a class can end Python by SIGINT
            # instead of by what catches it (CPython, pythonrun.c, run_eval_code_obj).
            pool.submit(import_module, "labkit.lifecycle.bringup").result()
            from labkit.lifecycle import bringup  # noqa: PLC0415

            return bringup.bring_up(session, pool, early)
        finally:
            if early is not None:
                early.drop()
