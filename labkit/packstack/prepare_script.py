"""Preparing a node for Packstack: the script that does it there, and what its output says."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

from labkit.lab import releases
from labkit.lab.deployment import controller, deployed_nodes, management_address
from labkit.packstack import repositories
from labkit.resources import guest_script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.lab.topology import Repositories, ResolvedLab, ResolvedNode

UNIT = "labkit-prepare"
# Packages, databases, images and logs of a fresh deployment, in MiB.
CONTROLLER_MIB, COMPUTE_MIB = 8 * 1024, 5 * 1024
# For a further run over a deployment: its files lie there already.
AGAIN_MIB = 1024
STAND_IN_MIB = 64
# What TripleO gives MariaDB (puppet-tripleo, manifests/profile/base/database/mysql.pp).
DATABASE_FILES = 16384
# Packstack's defaults of CONFIG_CINDER_VOLUMES_SIZE and CONFIG_SWIFT_STORAGE_SIZE in GiB; the
# file of the first gets 3 % for LVM on top (cinder_250.py).
CINDER_GIB, SWIFT_GIB = 20, 2

_LINE = re.compile(
    r"labkit-step: (?:"
    r"start (?P<start>[a-z-]+)"
    r"|done (?P<done>[a-z-]+) (?P<seconds>[0-9]+(?:\.[0-9]+)?) (?P<outcome>changed|unchanged)"
    r"|failed (?P<failed>[a-z-]+) ?(?P<reason>.*)"
    r"|reboot (?P<old>\S+) (?P<new>\S+)"
    r")"
)


def script(
    lab: ResolvedLab,
    node: ResolvedNode,
    *,
    packages: Repositories,
    host_keys: Mapping[str, str],
    key_texts: tuple[str, ...] = (),
    stand_in: bool = False,
) -> str:
    """Return the script that prepares a node; root runs it there, as often as it likes.

    It may hold the password of a proxy or a mirror, so its file belongs to root alone.

    Args:
        lab: The lab.
        node: The node; it has to take part in the deployment.
        packages: Where it gets its packages.
        host_keys: Per node name, its public SSH host key, `<type> <base64>`.
        key_texts: The groups' keys in the order of `repositories.signing_keys`; none where the
            release's package brings them.
        stand_in: Whether the node runs a stand-in box, whose disk is small.

    Raises:
        ValueError: The scenario leaves this node alone.
    """
    if node not in deployed_nodes(lab):
        msg = f"the node '{node.name}' has no part in the scenario '{lab.deployment.scenario}'"
        raise ValueError(msg)
    first = node == controller(lab)
    peers = deployed_nodes(lab) if first else ()
    places = repositories.candidates(packages, lab.release)
    proxy = packages.proxy
    facts = releases.facts(lab.release)
    secret = repositories.has_password(proxy, *packages.bases)
    data: dict[str, str | int | tuple[str, ...]] = {
        "fqdn": node.fqdn,
        "address": str(management_address(node)),
        "addresses": tuple(str(nic.address.ip) for nic in node.nics),
        "hosts": tuple(f"{management_address(n)} {n.fqdn} {n.name}" for n in lab.nodes),
        "peers": tuple(str(management_address(peer)) for peer in peers),
        "known_hosts": tuple(
            f"{nic.address.ip} {host_keys[peer.name]}" for peer in peers for nic in peer.nics
        ),
        "free_mib": STAND_IN_MIB if stand_in else needed_mib(lab, node),
        "again_mib": STAND_IN_MIB if stand_in else AGAIN_MIB,
        "candidates": tuple(place.shown for place in places),
        "repositories": tuple(each.repo_id for each in releases.repositories(lab.release)),
        "urls": tuple(source.repomd for place in places for source in place.sources),
        "repo_text": repositories.repo_template(packages, lab.release),
        "repo_mode": "0600" if secret else "0644",
        "proxy": repositories.proxy_url(proxy),
        "release_package": facts.package,
        "release_repositories": ",".join(repositories.release_repositories(lab.release)),
        "signing_keys": repositories.signing_keys(lab.release),
        "key_texts": key_texts,
        "pins": tuple(" ".join(pin) for pin in facts.pins.get(packages.tree, {}).items()),
        "packages": ("python-setuptools", *(["openstack-packstack"] if first else [])),
        "open_files": DATABASE_FILES if first else 0,
    }
    return guest_script(__package__, "prepare", **data)


def needed_mib(lab: ResolvedLab, node: ResolvedNode) -> int:
    """Return how much of / has to be free before the first deployment, in MiB."""
    if node != controller(lab):
        return COMPUTE_MIB
    answers = dict(lab.deployment.answers)
    gib = 0.0
    if "n" not in {
        answers.get("CONFIG_CINDER_INSTALL"),
        answers.get("CONFIG_CINDER_VOLUMES_CREATE"),
    }:
        gib += 1.03 * _gib(answers.get("CONFIG_CINDER_VOLUMES_SIZE"), CINDER_GIB)
    if answers.get("CONFIG_SWIFT_INSTALL") != "n":
        gib += _gib(answers.get("CONFIG_SWIFT_STORAGE_SIZE"), SWIFT_GIB)
    return CONTROLLER_MIB + round(gib * 1024)


def _gib(text: str | None, default: int) -> float:
    found = re.fullmatch(r"([0-9]+)([MGT])", text or "")
    if found is None:
        return default
    return int(found[1]) * {"M": 1 / 1024, "G": 1, "T": 1024}[found[2]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedStep:
    """A step that ended.

    Attributes:
        step: Its name.
        seconds: How long it took; 0 for one that failed.
        changed: Whether it changed anything.
        reason: Why it failed; empty when it did not.
    """

    step: str
    seconds: float = 0.0
    changed: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationView:
    """How far a node's preparation is, by its output.

    Attributes:
        done: The steps that are done, in their order, with seconds and whether they changed.
        running: The step at work; empty between steps and at the end.
        failed: The step that failed, with its reason.
        reboot: The running and the newest kernel when the node has to be restarted.
        rest: The beginning of a line whose end is still to come.
    """

    done: tuple[EndedStep, ...] = ()
    running: str = ""
    failed: EndedStep | None = None
    reboot: tuple[str, str] | None = None
    rest: str = ""

    @property
    def seconds(self) -> float:
        """Return how long the finished steps took together."""
        return sum(each.seconds for each in self.done)


def advance(view: PreparationView, text: str) -> PreparationView:
    """Return the view after more output, cut anywhere.

    Lines that are not the script's protocol are the tools' own. A last line without its end is
    kept: the rest of it is still to come.
    """
    *lines, rest = (view.rest + text).split("\n")
    found = (_LINE.fullmatch(line.rstrip("\r")) for line in lines)
    return replace(reduce(_after, filter(None, found), view), rest=rest)


def _after(view: PreparationView, line: re.Match[str]) -> PreparationView:
    if line["start"]:
        return replace(view, running=line["start"])
    if line["done"]:
        seconds, changed = float(line["seconds"]), line["outcome"] == "changed"
        ended = EndedStep(step=line["done"], seconds=seconds, changed=changed)
        return replace(view, done=(*view.done, ended), running="")
    if line["failed"]:
        failed = EndedStep(step=line["failed"], reason=line["reason"])
        return replace(view, failed=failed, running="")
    return replace(view, reboot=(line["old"], line["new"]))
