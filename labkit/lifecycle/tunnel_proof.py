"""Proof that a packet crosses the VXLAN tunnels between stand-in guests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.host import ssh
from labkit.lab import deployment
from labkit.verify.checks.tunnels import port_name

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

PACKETS = 3
COMMAND_SECONDS = 60.0
# TEST-NET-2 of RFC 5737: no lab has it, and nobody else is asked.
NETWORK = "198.51.100"

_PORT = """\
ovs-vsctl --may-exist add-port br-int labkit-proof -- set interface labkit-proof type=internal
ip address replace @ADDRESS@/24 dev labkit-proof
ip link set dev labkit-proof up
"""


def prove(session: Session) -> str:
    """Send packets from a port on the controller's br-int to one on every other tunnel node's.

    The counters of each tunnel have to rise by as many, so nothing can have taken another way.

    Returns:
        How many packets crossed how many tunnels.

    Raises:
        OperationError: A packet did not come back, or took another way.
    """
    first, *others = deployment.tunnel_nodes(session.lab)
    if not others:
        return "one node, no tunnel"
    for number, node in enumerate((first, *others), start=1):
        _root(session, node, _PORT.replace("@ADDRESS@", f"{NETWORK}.{number}"))
    for number, node in enumerate(others, start=2):
        port = port_name(deployment.tunnel_address(session.lab, node))
        before = _sent(session, first, port)
        # Until as many answers have come, or 30 s: flows may still be on their way.
        _root(session, first, f"ping -n -q -c {PACKETS} -i 0.3 -w 30 {NETWORK}.{number}")
        crossed = _sent(session, first, port) - before
        if crossed < PACKETS:
            message = (
                f"{PACKETS} packets to node '{node.name}' were answered, and {crossed} of them "
                f"went through the tunnel '{port}'."
            )
            raise OperationError(message)
    for node in (first, *others):
        _root(session, node, "ovs-vsctl del-port br-int labkit-proof")
    return f"{PACKETS} packets through each of {len(others)} tunnels and back"


def _sent(session: Session, node: ResolvedNode, port: str) -> int:
    # Not the statistics in the database: they are up to five seconds old.
    printed = _root(session, node, f"ovs-ofctl dump-ports br-tun {port}")
    found = re.search(r"tx pkts=(\d+)", printed)
    if found is None:
        message = f"The counters of the tunnel '{port}' on node '{node.name}' cannot be read."
        raise OperationError(message, details=tuple(printed.splitlines()[-5:]))
    return int(found[1])


def _root(session: Session, node: ResolvedNode, script: str) -> str:
    with session.tools.ssh(session.endpoint(node), timeout=ssh.CONNECT_SECONDS * 4) as connection:
        result = connection.run_script(
            f"set -e\n{script}", what="prove the tunnels", timeout=COMMAND_SECONDS
        )
    output = result.stdout.decode("utf-8", "replace")
    if result.returncode != 0:
        message = f"No packet could be sent through the tunnels from node '{node.name}'."
        raise OperationError(message, details=tuple((result.stderr or output).splitlines()[-5:]))
    return output
