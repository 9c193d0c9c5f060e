"""Putting the external bridge right where Packstack left it half done."""

from __future__ import annotations

import base64
import re
import shlex
import uuid
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.packstack import detached
from labkit.packstack.detached import Job, RunState
from labkit.resources import guest_script
from labkit.state.progress import stage
from labkit.verify.check import Verdict
from labkit.verify.checks.ifcfg import (
    CONTRADICTS_BRIDGE,
    CONTRADICTS_PORT,
    EXTRA,
    bridge_keys,
    port_keys,
)
from labkit.verify.outputs import SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.packstack.connection import NodeConnection
    from labkit.state.session import Session
    from labkit.verify.report import Report

MEND = Job(unit="labkit-mend", description="labkit: puts the external bridge right")
# The checks that fail when Packstack did not turn the card into a port, or left its address there.
MENDABLE = frozenset({"ifcfg-port", "ifcfg-bridge", "external-address", "external-nic-bare"})
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,-]*")


def to_mend(lab: ResolvedLab, report: Report) -> tuple[ResolvedNode, ...]:
    """Return the nodes whose external bridge Packstack left half done, by a report."""
    failed = {
        result.node
        for result in report.results
        if result.verdict is Verdict.FAILED and result.check in MENDABLE
    }
    return tuple(node for node in lab.nodes if node.name in failed)


def mend(session: Session, connection: NodeConnection, node: ResolvedNode) -> None:
    """Write a node's two ifcfg files as they must be and bring the bridge up.

    Raises:
        OperationError: It did not work; details have what the guest said.
    """
    with stage(session.progress, node.name, "mending br-ex"):
        run_id = uuid.uuid4().hex
        script = mend_script(session.lab, node)
        connection.ask(lambda c: detached.start(c, MEND, script, run_id=run_id))
        told: list[bytes] = []
        last = detached.follow(
            connection,
            MEND,
            receive=lambda found: told.append(found.output),
            pause=session.cancelled.wait,
        )
        if last.state is RunState.ENDED and last.code == 0:
            return
        lines = b"".join(told).decode("utf-8", "replace").splitlines()
        message = f"The external bridge of node '{node.name}' could not be put right."
        raise OperationError(
            message,
            details=tuple(lines[-10:]),
            hint=f"Look with 'labkit ssh {node.name}'; its old files are "
            "/var/lib/labkit/before-mend.ifcfg-*.",
        )


def mend_script(lab: ResolvedLab, node: ResolvedNode) -> str:
    """Return the script that writes both ifcfg files as they must be and brings them up.

    What the files were is kept in `/var/lib/labkit/before-mend.ifcfg-*`. Keys that somebody added
    stay, unless they contradict what the file is for.

    Args:
        lab: The lab.
        node: A network node whose external card moves into the external bridge.
    """
    asked = lab.deployment
    nic = next(nic for nic in node.nics if nic.name == asked.external_nic)
    bridge, port = bridge_keys(asked, nic), port_keys(asked, nic)
    # The card's own keys of the lab file belong to the bridge now.
    port_taken = [*port, *(key for key, _ in nic.ifcfg), CONTRADICTS_PORT]
    head = {
        "scripts": SCRIPTS,
        "bridge": asked.external_bridge,
        "nic": asked.external_nic,
        "bridge_taken": "|".join([*bridge, "PREFIX|NETMASK", CONTRADICTS_BRIDGE]),
        "nic_taken": "|".join(dict.fromkeys(port_taken)),
        "ovs_extra": bridge[EXTRA],
    }
    return guest_script(
        __package__,
        "mend",
        **head,
        bridge_file=base64.b64encode(ifcfg_text(bridge).encode()).decode("ascii"),
        nic_file=base64.b64encode(ifcfg_text(port).encode()).decode("ascii"),
    )


def ifcfg_text(keys: Mapping[str, str]) -> str:
    """Return an ifcfg file, each value quoted for the shell that sources it where it has to be."""
    return "".join(f"{key}={_quoted(value)}\n" for key, value in keys.items())


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    # The walk-through's files have double quotes; what they would expand gets single ones.
    return f'"{value}"' if not re.search(r'["$`\\!]', value) else shlex.quote(value)
