"""A further compute node in a deployed lab: the answers of multinode, with every host in them."""

from __future__ import annotations

from labkit.lab.scenario import Scenario
from labkit.lab.scenarios import multinode

SCENARIO = Scenario(
    name="add-compute",
    summary="A further compute node for a deployed lab: 'labkit add-compute'.",
    asks="CONFIG_COMPUTE_HOSTS with all compute nodes, and Packstack again with the same file",
    forms=(),
    verb="add-compute",
    answers=multinode.answers,
    command=multinode.command,
    rules=multinode.SCENARIO.rules,
)
