"""Controller, network and compute nodes by their roles, with VXLAN tunnels between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab.scenario import (
    Outline,
    Scenario,
    Trouble,
    base_answers,
    base_troubles,
    external_answers,
    external_troubles,
    lbaas_answers,
    missing_card,
    several_nodes_command,
    tunnel_answers,
)
from labkit.lab.topology import Form

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        **lbaas_answers(lab),
    }


def troubles(outline: Outline) -> Iterator[Trouble]:
    """Yield what keeps it from working."""
    yield from base_troubles(outline)
    yield from external_troubles(outline, outline.network_nodes)
    computes = tuple(node for node in outline.nodes if "compute" in node.roles)
    if not computes:
        yield Trouble(
            place=("deployment", "scenario"),
            expected="a node with the role compute for this scenario",
            found="none",
        )
    ends = tuple(node for node in outline.nodes if node in {*outline.network_nodes, *computes})
    yield from missing_card("tunnel_nic", outline.tunnel_nic, ends)
    # br-ex takes the card's address, and then it ends no tunnel any more.
    if outline.tunnel_nic == outline.external_nic:
        yield Trouble(
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
    troubles=troubles,
)
