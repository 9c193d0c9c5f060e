"""The check of the addresses that nodes talk to each other from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab import deployment
from labkit.verify.check import Judgement, Subject, check
from labkit.verify.outputs import Kind, peers
from labkit.verify.parsers import ip_route

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab, ResolvedNode


def nodes_with_peers(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the nodes that have another one in the network of their first card."""
    return tuple(node for node in deployment.deployed_nodes(lab) if peers(lab, node))


@check(
    id="source-address",
    summary="Each node talks to the others from its first card's address.",
    nodes=nodes_with_peers,
    needs=(Kind.ROUTES,),
)
def talks_from_management_address(subject: Subject) -> Judgement:
    """Packstack's firewall rules let the first card's address in, and no other.

    With two cards in one network the kernel may choose the other one, above all once the first has
    moved into the external bridge: then the console of an instance stays black.
    """
    own = str(deployment.management_address(subject.node))
    asked = peers(subject.lab, subject.node)
    sources = ip_route.parse(subject.texts[Kind.ROUTES])
    wrong = {to: sources.get(str(to), "nowhere") for to in asked if sources.get(str(to)) != own}
    told = ", ".join(f"{source} to {to}" for to, source in wrong.items())
    return Judgement(
        ok=not wrong,
        expected=f"{own} to {', '.join(map(str, asked))}",
        seen=told or "so",
    )
