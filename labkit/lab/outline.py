"""What a lab file asks Packstack for, with everything it leaves open decided: here alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.lab import model, scenarios
from labkit.lab.deployment import SINGLE_NODE
from labkit.lab.topology import NetworkMode
from labkit.lab.types import Role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    from labkit.lab.model import Lab, Nic, Node
    from labkit.lab.scenario import Scenario
    from labkit.lab.topology import Form


@dataclass(frozen=True, slots=True)
class Outline:
    """A lab file as the rules judge it and `resolve` reads it.

    Each property raises `UnreadError` when it rests on a value of the file with a fault of its own.
    """

    lab: Lab

    @property
    def asked(self) -> model.Deployment:
        """Return what the file says; one node gets everything, several share by their roles."""
        several = len(self.lab.nodes) > 1
        return self.lab.deployment or model.Deployment(
            scenario="multinode" if several else "allinone"
        )

    @property
    def scenario(self) -> Scenario:
        """Return the scenario."""
        name = self.asked.scenario
        if name not in scenarios.deployable():
            raise model.UnreadError(name)
        return scenarios.find(name)

    @property
    def form(self) -> Form:
        """Return how Packstack is told: as the file says, or the scenario's first form."""
        return self.asked.form or self.scenario.forms[0]

    @property
    def controller(self) -> str:
        """Return the name of the node Packstack runs on."""
        for name, node in self.lab.nodes.items():
            if Role.CONTROLLER in node.roles:
                return name
        raise model.UnreadError(Role.CONTROLLER)

    @property
    def external_nic(self) -> str:
        """Return the card that moves into the external bridge: the controller's first."""
        return self.asked.external_nic or self._cards[0]

    @property
    def tunnel_nic(self) -> str:
        """Return the card of the tunnels: the controller's second, or its only one."""
        return self.asked.tunnel_nic or self._cards[:2][-1]

    @property
    def network_nodes(self) -> Mapping[str, Node]:
        """Return the nodes with the external bridge: the controller when none has the role."""
        return self._with_role(Role.NETWORK)

    @property
    def compute_nodes(self) -> Mapping[str, Node]:
        """Return the nodes that run instances: the controller when none has the role."""
        return self._with_role(Role.COMPUTE)

    @property
    def controllers(self) -> Mapping[str, Node]:
        """Return the node Packstack runs on, by its name."""
        return {self.controller: self.lab.nodes[self.controller]}

    @property
    def tunnel_nodes(self) -> Mapping[str, Node]:
        """Return the nodes that end a tunnel."""
        ends = {**self.network_nodes, **self.compute_nodes}
        return {name: node for name, node in self.lab.nodes.items() if name in ends}

    def gateway(self, nic: Nic) -> IPv4Address | None:
        """Return where a card's default route leads; None for a card without one.

        The network scripts apply default routes in file-name order and the last one wins: a card
        of a network without a way out must not take the route from the card that has one.
        """
        network = self.lab.network_of(nic)
        if network.mode is NetworkMode.NAT and network.gateway is None:
            raise model.UnreadError(nic.network)
        return None if network.mode is NetworkMode.ISOLATED or not nic.gateway else network.gateway

    @property
    def _cards(self) -> tuple[str, ...]:
        return tuple(self.lab.nodes[self.controller].nics)

    def _with_role(self, role: Role) -> Mapping[str, Node]:
        head = self.controllers
        nodes = head if self.scenario.name in SINGLE_NODE else self.lab.nodes
        return {name: node for name, node in nodes.items() if role in node.roles} or head
