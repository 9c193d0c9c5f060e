"""A first lab file, with comments, for whoever has none; no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from labkit.errors import UsageError
from labkit.lab import scenarios
from labkit.lab.types import BRIDGE_PATTERN, NAME_LENGTH, NAME_PATTERN, Cidr

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SCHEMA_FILE = "lab.schema.json"
MULTINODE = "multinode"
# No network of the nodes overlaps both.
TUNNELS = (IPv4Network("10.208.0.0/24"), IPv4Network("192.168.208.0/24"))
FIRST_HOST, ROOMY = 10, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the lab shall be.

    Attributes:
        name: Its name.
        scenario: One of `scenarios.deployable()`.
        computes: Compute nodes beside the controller.
        network: The nodes' network.
        bridge: A bridge of the host to put the nodes on; None for a network of the lab's own.
        box: What the nodes are made from.
    """

    name: str
    scenario: str
    computes: int
    network: IPv4Network
    bridge: str | None
    box: str


def name_from(directory: str) -> str:
    """Return a lab's name made from a directory's, as far as that has one in it."""
    plain = re.sub(r"[^a-z0-9]+", "-", directory.lower())
    name = re.sub(r"^[^a-z]+", "", plain)[:NAME_LENGTH].rstrip("-")
    return name if re.fullmatch(NAME_PATTERN, name) else "lab"


def network(cidr: str) -> IPv4Network:
    """Return the network that a text stands for.

    Raises:
        UsageError: It is none.
    """
    try:
        found: IPv4Network = TypeAdapter(Cidr).validate_python(cidr)
    except ValidationError as exc:
        message = f"'{cidr}' cannot be the nodes' network; expected {exc.errors()[0]['msg']}."
        raise UsageError(message) from exc
    return found


def lab_text(wish: Wish, *, boxes: Collection[str]) -> str:
    """Return the lab file.

    Raises:
        UsageError: There is no such box or bridge; the scenario is none to begin with, has no
            compute nodes or no room for them.
    """
    if wish.box not in boxes:
        message = f"There is no box '{wish.box}'."
        raise UsageError(message, hint=f"'--box' takes one of {', '.join(sorted(boxes))}.")
    if wish.bridge is not None and not re.fullmatch(BRIDGE_PATTERN, wish.bridge):
        message = f"'{wish.bridge}' is no bridge's name; expected one such as 'br0'."
        raise UsageError(message, hint="'ip link show type bridge' lists the host's.")
    _require_possible(wish)
    names = ["controller", *_compute_names(wish.computes)]
    parts = [_head(wish), _networks(wish), *_nodes(wish, names), _deployment(wish)]
    return "".join(parts)


def _require_possible(wish: Wish) -> None:
    if wish.scenario not in scenarios.deployable():
        message = f"A lab does not begin with the scenario '{wish.scenario}'."
        known = ", ".join(scenarios.deployable())
        hint = f"Choose one of {known}; 'labkit scenarios' says what each does."
        raise UsageError(message, hint=hint)
    if wish.computes and wish.scenario != MULTINODE:
        message = f"The scenario '{wish.scenario}' has no compute nodes of its own."
        raise UsageError(
            message, hint=f"Leave '--computes' out, or take '--scenario {MULTINODE}'."
        )
    if not wish.computes and wish.scenario == MULTINODE:
        message = f"The scenario '{MULTINODE}' needs a compute node."
        raise UsageError(message, hint="Give '--computes 1' or more.")
    room = wish.network.num_addresses - 2 - _first(wish.network)
    if wish.computes + 1 > room:
        message = (
            f"{wish.network} has no room for a gateway and {wish.computes + 1} nodes from "
            f"{wish.network[_first(wish.network)]} on."
        )
        raise UsageError(message, hint="Give a larger network by '--cidr'.")


def _first(network: IPv4Network) -> int:
    return FIRST_HOST if network.num_addresses >= ROOMY else 2


def _compute_names(count: int) -> Sequence[str]:
    return ["compute"] if count == 1 else [f"compute{number}" for number in range(1, count + 1)]


def _gateway(wish: Wish) -> IPv4Address:
    return wish.network[1] if wish.bridge else wish.network[-2]


def _head(wish: Wish) -> str:
    return f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# 'labkit validate' checks this file, 'labkit doctor' whether this host can run it.
name: {wish.name}
box: {wish.box}  # 'labkit box list' names those there are; 'rehearsal' is a stand-in, for trying labkit out

dns:
  # Any name servers the nodes can reach; the host of a nat network is not one.
  servers: [1.1.1.1, 8.8.8.8]
  domain: {wish.name}.test
"""


def _networks(wish: Wish) -> str:
    if wish.bridge:
        way = f"""\
    # A bridge of this host; labkit leaves it as it is. cidr and gateway are those of the network
    # behind it, and the nodes' addresses below have to be free there.
    mode: bridge
    bridge: {wish.bridge}
"""
    else:
        way = """\
    # labkit makes a bridge of its own, which has the gateway's address and leads out through this
    # host. 'mode: bridge' with 'bridge: br0' puts the nodes on a bridge that exists instead.
    mode: nat
"""
    text = f"""
networks:
  lan:
{way}    cidr: {wish.network}
    gateway: {_gateway(wish)}
"""
    if wish.scenario == MULTINODE:
        text += f"""\
  tunnels:
    # Between the nodes alone: Neutron's VXLAN tunnels.
    mode: isolated
    cidr: {_tunnels(wish)}
"""
    return text


def _tunnels(wish: Wish) -> IPv4Network:
    return next(each for each in TUNNELS if not each.overlaps(wish.network))


def _nodes(wish: Wish, names: Sequence[str]) -> Sequence[str]:
    parts = ["\nnodes:\n"]
    for index, name in enumerate(names):
        first = index == 0
        roles = (
            "controller, network" if wish.scenario == MULTINODE else "controller, network, compute"
        )
        card = f"{{network: lan, address: {wish.network[_first(wish.network) + index]}}}"
        parts.append(
            f"  {name}:\n"
            f"    roles: [{roles if first else 'compute'}]\n"
            f"    cpus: {4 if first else 2}\n"
            f"    memory: {8 if first else 4} GiB{'  # RDO asks for 16 GiB' if first else ''}\n"
            "    disk: 60 GiB  # as much as it may grow to\n"
            "    nics:\n"
            + (
                "      # enp0s<slot>: the guest names a card after its PCI slot.\n"
                if first
                else ""
            )
            + f"      enp0s3: {card}\n"
        )
        if wish.scenario == MULTINODE:
            address = _tunnels(wish)[FIRST_HOST + index]
            parts.append(f"      enp0s8: {{network: tunnels, address: {address}}}\n")
    return parts


def _deployment(wish: Wish) -> str:
    text = f"""
# What Packstack installs; 'labkit scenarios' lists what there is.
deployment:
  scenario: {wish.scenario}
"""
    if wish.scenario != "allinone":
        text += "  external_nic: enp0s3  # becomes a port of br-ex\n"
    if wish.scenario == MULTINODE:
        text += "  tunnel_nic: enp0s8\n"
    return text
