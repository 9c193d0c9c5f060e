"""Everything on the controller, whose external card becomes a port of br-ex."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab.scenario import (
    Scenario,
    base_answers,
    external_answers,
    external_bridge,
    external_card,
    routed_controller,
    service_answers,
    single_node_command,
)
from labkit.lab.topology import Form

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab


def answers(lab: ResolvedLab) -> dict[str, str]:
    """Return the answer-file keys."""
    return {**base_answers(lab), **external_answers(lab)}


def command(lab: ResolvedLab) -> dict[str, str]:
    """Return the walk-through's options, in its order."""
    return {**single_node_command(lab), **external_answers(lab), **service_answers(lab)}


SCENARIO = Scenario(
    name="external-network",
    summary="Everything on the controller; its external card moves into br-ex.",
    asks=(
        "packstack --allinone with provision-demo=n, bridge mappings extnet:br-ex, bridge "
        "interfaces br-ex:enp0s3 and type drivers vxlan,flat; as a command or an answer file"
    ),
    forms=(Form.ANSWER_FILE, Form.COMMAND),
    answers=answers,
    command=command,
    rules=(routed_controller, external_card, external_bridge),
)
