"""Putting the routes of a network node in order once its external card is a port of the bridge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.host import ssh
from labkit.resources import guest_script
from labkit.verify.expected import attached

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.packstack.connection import NodeConnection


def put_in_order(lab: ResolvedLab, connection: NodeConnection, node: ResolvedNode) -> None:
    """Let a node's external network be reached from the bridge's address; most are left alone.

    Raises:
        OperationError: The node could not change its routes; details say why.
        WaitTimeout: It could not be reached.
    """
    script = routes_script(lab, node)
    if not script:
        return
    result = connection.ask(
        lambda c: c.run_script(script, what="put the routes in order", timeout=ssh.ANSWER_SECONDS)
    )
    if result.returncode != 0:
        message = f"The routes of node '{node.name}' could not be put in order."
        raise OperationError(message, details=tuple(result.stderr.splitlines()[-5:]))


def routes_script(lab: ResolvedLab, node: ResolvedNode) -> str:
    """Return the script that puts a node's routes in order, empty for one that needs none.

    Needed where another card is in the network of the card that moved into the bridge: since then
    the node would reach that network from the other card's address, until it is booted again. What
    Packstack's firewall rules let in is the address of the first card.
    """
    if not attached(lab, node):
        return ""
    moved = next(nic for nic in node.nics if nic.name == lab.deployment.external_nic)
    network = moved.address.network
    others = [nic for nic in node.nics if nic is not moved and nic.address.network == network]
    if not others:
        return ""
    return guest_script(
        __package__,
        "routes",
        bridge=lab.deployment.external_bridge,
        network=str(network),
        gateway=str(moved.way_out or ""),
        cards=tuple(f"{nic.name} {nic.address.ip}" for nic in others),
    )
