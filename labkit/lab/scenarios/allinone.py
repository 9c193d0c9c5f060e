"""Everything on the controller, with Packstack's own defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab.scenario import (
    Scenario,
    base_answers,
    routed_controller,
    service_answers,
    single_node_command,
)
from labkit.lab.topology import Form

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab


def command(lab: ResolvedLab) -> dict[str, str]:
    """Return the options of `packstack --allinone`."""
    return {**single_node_command(lab), **service_answers(lab)}


SCENARIO = Scenario(
    name="allinone",
    summary="Everything on the controller; no card of it is touched.",
    asks="packstack --allinone",
    forms=(Form.COMMAND, Form.ANSWER_FILE),
    answers=base_answers,
    command=command,
    rules=(routed_controller,),
)
