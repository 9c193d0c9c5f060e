"""The files of a lab's nodes as CentOS's network scripts get to read them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.host.process import run
from labkit.lab import scenarios
from labkit.lab.file import load
from labkit.lab.model import Deployment
from labkit.lab.render import node_files
from labkit.lab.resolve import resolve
from labkit.verify.outputs import SCRIPTS
from tests.fakes.guest_root import ROOTFS
from tests.support.examples import EXAMPLES, LAB_ID
from tests.support.initscripts import NodeText

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab, ResolvedNode

PUPPET = ROOTFS / "usr/lib/labkit/puppet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A node of an example lab.

    Attributes:
        name: The example's name.
        lab: The lab, resolved for one scenario.
        node: The node.
    """

    name: str
    lab: ResolvedLab
    node: ResolvedNode

    def __str__(self) -> str:
        return f"{self.name}-{self.lab.deployment.scenario}-{self.node.name}"


def examples() -> Iterator[Example]:
    """Yield each node of each example lab for each scenario it could have."""
    for name, path in EXAMPLES.items():
        written = load(path)
        for scenario in scenarios.deployable():
            asked = written.deployment or Deployment(scenario=scenario)
            chosen = asked.model_copy(update={"scenario": scenario})
            lab = written.model_copy(update={"deployment": chosen})
            yield from nodes(name, resolve(lab, lab_id=LAB_ID))


def nodes(name: str, lab: ResolvedLab) -> Iterator[Example]:
    """Yield the nodes of one lab."""
    for node in lab.nodes:
        yield Example(name=name, lab=lab, node=node)


def node_text(
    lab: ResolvedLab,
    node: ResolvedNode,
    *,
    files: Mapping[str, str] | None = None,
    networkmanager: bool = False,
) -> NodeText:
    """Return what labkit writes for a node, with other files in place of or beside its own."""
    texts = {file.path: file.content for file in node_files(lab, node)}
    own = {
        path.removeprefix(f"{SCRIPTS}/"): text
        for path, text in texts.items()
        if path.startswith(f"{SCRIPTS}/")
    }
    return NodeText(
        files={**own, **(files or {})},
        network=texts["/etc/sysconfig/network"],
        macs={nic.name: nic.mac for nic in node.nics},
        networkmanager=networkmanager,
    )


def puppets_pair(root: Path, card: str, *, bridge: str, nic: str) -> dict[str, str]:
    """Return both files as puppet-vswitch makes them of a card's, by the rehearsal box's stand-in.

    Args:
        root: An empty directory.
        card: The card's file before.
        bridge: The bridge's name.
        nic: The card's name.
    """
    scripts, device = root / SCRIPTS.lstrip("/"), root / "sys/class/net" / nic
    scripts.mkdir(parents=True)
    device.mkdir(parents=True)
    (device / "operstate").write_text("up\n")
    (scripts / f"ifcfg-{nic}").write_text(card)
    script = f'. {PUPPET}; bridge_ifcfg "$1" "$2"; printf "\\0"; port_ifcfg "$1" "$2"'
    env = {"PATH": os.defpath, "LABKIT_ROOT": str(root)}
    told = run(["bash", "-c", script, "bash", bridge, nic], timeout=10, env=env).stdout
    return dict(zip((f"ifcfg-{bridge}", f"ifcfg-{nic}"), told.split("\0"), strict=True))
