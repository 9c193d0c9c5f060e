"""Everything on the controller, whose external card becomes a port of br-ex."""

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
    single_node_command,
)
from labkit.lab.topology import Form

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.lab.topology import ResolvedLab


def answers(lab: ResolvedLab) -> dict[str, str]:
    """Return the answer-file keys."""
    return {**base_answers(lab), **external_answers(lab)}


def command(lab: ResolvedLab) -> dict[str, str]:
    """Return the walk-through's options, in its order."""
    return {**single_node_command(lab), **external_answers(lab), **lbaas_answers(lab)}


def troubles(outline: Outline) -> Iterator[Trouble]:
    """Yield what keeps it from working."""
    yield from base_troubles(outline)
    yield from external_troubles(outline, (outline.controller,))


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
    troubles=troubles,
)
