"""Controller, network and compute nodes by their roles, with VXLAN tunnels between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab.rules import Breach
from labkit.lab.scenario import (
    Scenario,
    base_answers,
    external_answers,
    external_bridge,
    external_card,
    missing_card,
    routed_controller,
    service_answers,
    several_nodes_command,
    tunnel_answers,
)
from labkit.lab.topology import Form
from labkit.lab.types import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.lab.outline import Outline
    from labkit.lab.topology import ResolvedLab


def answers(lab: ResolvedLab) -> dict[str, str]:
    """Return the answer-file keys."""
    return {**base_answers(lab), **external_answers(lab), **tunnel_answers(lab)}


def command(lab: ResolvedLab) -> dict[str, str]:
    """Return the options that say the same."""
    return {
        **several_nodes_command(lab),
        **external_answers(lab),
        **tunnel_answers(lab),
        **service_answers(lab),
    }


def compute_node(outline: Outline) -> Iterator[Breach]:
    """Yield a breach when no node runs instances."""
    if not any(Role.COMPUTE in node.roles for node in outline.lab.nodes.values()):
        yield Breach(
            place=("deployment", "scenario"),
            expected="a node with the role compute for this scenario",
            found="none",
        )


def tunnel_card(outline: Outline) -> Iterator[Breach]:
    """Yield a breach when a node that ends a tunnel lacks the card for it."""
    yield from missing_card("tunnel_nic", outline.tunnel_nic, outline.tunnel_nodes)


def tunnel_card_of_its_own(outline: Outline) -> Iterator[Breach]:
    """Yield a breach when br-ex takes the card's address, which then ends no tunnel any more."""
    if outline.tunnel_nic == outline.external_nic:
        yield Breach(
            place=("deployment", "tunnel_nic"),
            expected="another card than 'external_nic', whose address moves to the bridge",
            found=f"'{outline.tunnel_nic}' for both",
        )


SCENARIO = Scenario(
    name="multinode",
    summary="Controller, network and compute nodes by role, with VXLAN tunnels.",
    asks=(
        "the external network, and CONFIG_CONTROLLER_HOST, CONFIG_COMPUTE_HOSTS, "
        "CONFIG_NETWORK_HOSTS, CONFIG_NEUTRON_OVS_TUNNEL_IF and CONFIG_LBAAS_INSTALL"
    ),
    forms=(Form.ANSWER_FILE, Form.COMMAND),
    answers=answers,
    command=command,
    rules=(
        routed_controller,
        external_card,
        external_bridge,
        compute_node,
        tunnel_card,
        tunnel_card_of_its_own,
    ),
)
