"""Preparing a node for Packstack: the script that does it there, and what its output says."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from typing import TYPE_CHECKING

from labkit.lab.deployment import controller, deployed_nodes, management_address
from labkit.packstack import repositories
from labkit.resources import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labkit.lab.topology import Repositories, ResolvedLab, ResolvedNode

SCRIPT = "kickstart/labkit-prepare"
UNIT = "labkit-prepare"
# In the order the script runs them, the same on every node.
STEPS = (
    "space",
    "probe",
    "environment",
    "hosts",
    "hostname",
    "ssh",
    "firewalld",
    "network-manager",
    "network",
    "repositories",
    "release",
    "update",
    "packages",
    "kernel",
)
# Packages, databases, images and logs of a fresh deployment, in MiB.
CONTROLLER_MIB, COMPUTE_MIB = 8 * 1024, 5 * 1024
# For a further run over a deployment: its files lie there already.
AGAIN_MIB = 1024
STAND_IN_MIB = 64
# Packstack's defaults of CONFIG_CINDER_VOLUMES_SIZE and CONFIG_SWIFT_STORAGE_SIZE in GiB; the
# file of the first gets 3 % for LVM on top (cinder_250.py).
CINDER_GIB, SWIFT_GIB = 20, 2

_DATA = re.compile(r"^# data: .*?^# end of data\n", re.MULTILINE | re.DOTALL)
_LINE = re.compile(
    r"labkit-step: (?:"
    r"start (?P<start>[a-z-]+)"
    r"|done (?P<done>[a-z-]+) (?P<seconds>[0-9]+(?:\.[0-9]+)?) (?P<outcome>changed|unchanged)"
    r"|failed (?P<failed>[a-z-]+) ?(?P<reason>.*)"
    r"|reboot (?P<old>\S+) (?P<new>\S+)"
    r")"
)


def steps(lab: ResolvedLab, node: ResolvedNode) -> tuple[str, ...]:
    """Return the names of a node's steps in their order; none for a node without a part in it."""
    return STEPS if node in deployed_nodes(lab) else ()


def script(
    lab: ResolvedLab,
    node: ResolvedNode,
    *,
    packages: Repositories,
    host_keys: Mapping[str, str],
    stand_in: bool = False,
) -> str:
    """Return the script that prepares a node; root runs it there, as often as it likes.

    It may hold the password of a proxy or a mirror, so its file belongs to root alone.

    Args:
        lab: The lab.
        node: The node; it has to take part in the deployment.
        packages: Where it gets its packages.
        host_keys: Per node name, its public SSH host key, `<type> <base64>`.
        stand_in: Whether the node runs a stand-in box, whose disk is small.

    Raises:
        ValueError: The scenario leaves this node alone.
    """
    if node not in deployed_nodes(lab):
        msg = f"the node '{node.name}' has no part in the scenario '{lab.deployment.scenario}'"
        raise ValueError(msg)
    first = node == controller(lab)
    peers = deployed_nodes(lab) if first else ()
    places = repositories.candidates(packages)
    proxy = packages.proxy
    secret = repositories.has_password(proxy, *packages.bases)
    data: dict[str, str | tuple[str, ...]] = {
        "fqdn": node.fqdn,
        "address": str(management_address(node)),
        "addresses": tuple(str(nic.address.ip) for nic in node.nics),
        "hosts": tuple(f"{management_address(n)} {n.fqdn} {n.name}" for n in lab.nodes),
        "peers": tuple(str(management_address(peer)) for peer in peers),
        "known_hosts": tuple(
            f"{nic.address.ip} {host_keys[peer.name]}" for peer in peers for nic in peer.nics
        ),
        "free_mib": str(STAND_IN_MIB if stand_in else needed_mib(lab, node)),
        "again_mib": str(STAND_IN_MIB if stand_in else AGAIN_MIB),
        "candidates": tuple(place.shown for place in places),
        "repositories": tuple(item.repo_id for item in repositories.REPOSITORIES),
        "urls": tuple(source.repomd for place in places for source in place.sources),
        "repo_files": tuple(repositories.repo_file(place, proxy) for place in places),
        "repo_mode": "0600" if secret else "0644",
        "proxy": repositories.proxy_url(proxy),
        "release_package": repositories.RELEASE_PACKAGE,
        "release_repositories": ",".join(repositories.release_repositories()),
        "signing_keys": repositories.signing_keys(),
        "pins": tuple(" ".join(pin) for pin in repositories.PINS.get(packages.release, ())),
        "packages": ("python-setuptools", *(["openstack-packstack"] if first else [])),
    }
    lines = "".join(f"{name}={_bash(value)}\n" for name, value in data.items())
    return _DATA.sub(lambda _found: lines, read_text(SCRIPT), count=1)


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


def _bash(value: str | tuple[str, ...]) -> str:
    if isinstance(value, str):
        return shlex.quote(value)
    if len(value) < 2:  # noqa: PLR2004 -- one or none fits on the line
        return f"({''.join(shlex.quote(item) for item in value)})"
    return "(\n" + "".join(f"  {shlex.quote(item)}\n" for item in value) + ")"


class StepPhase(StrEnum):
    """What a line of the script's protocol tells."""

    START = "start"
    DONE = "done"
    FAILED = "failed"
    REBOOT = "reboot"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent:
    """One line of the script's protocol.

    Attributes:
        phase: What it tells.
        step: The step's name; empty for a reboot.
        seconds: How long the step took, once it is done.
        changed: Whether it changed anything, once it is done.
        reason: Why it failed.
        kernels: The running kernel and the newest installed one, for a reboot.
    """

    phase: StepPhase
    step: str = ""
    seconds: float = 0.0
    changed: bool = False
    reason: str = ""
    kernels: tuple[str, str] | None = None


def parse(text: str) -> tuple[StepEvent, ...]:
    """Read the protocol out of the run's output so far.

    Other lines are the tools' own. A last line without its end is not read: the rest of it is
    still to come.
    """
    lines = text.split("\n")[:-1]
    return tuple(event for event in map(_event, lines) if event is not None)


def _event(line: str) -> StepEvent | None:
    found = _LINE.fullmatch(line.rstrip("\r"))
    if found is None:
        return None
    if found["start"]:
        return StepEvent(phase=StepPhase.START, step=found["start"])
    if found["done"]:
        return StepEvent(
            phase=StepPhase.DONE,
            step=found["done"],
            seconds=float(found["seconds"]),
            changed=found["outcome"] == "changed",
        )
    if found["failed"]:
        return StepEvent(phase=StepPhase.FAILED, step=found["failed"], reason=found["reason"])
    return StepEvent(phase=StepPhase.REBOOT, kernels=(found["old"], found["new"]))


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

    done: tuple[StepEvent, ...] = ()
    running: str = ""
    failed: StepEvent | None = None
    reboot: tuple[str, str] | None = None
    rest: str = ""

    @property
    def seconds(self) -> float:
        """Return how long the finished steps took together."""
        return sum(event.seconds for event in self.done)


def advance(view: PreparationView, text: str) -> PreparationView:
    """Return the view after more output, cut anywhere."""
    whole, _newline, rest = (view.rest + text).rpartition("\n")
    events = parse(f"{whole}\n")
    return replace(fold(events, view), rest=rest)


def fold(
    events: Iterable[StepEvent], view: PreparationView = PreparationView()
) -> PreparationView:
    """Return the view after further events."""
    return reduce(_after, events, view)


def _after(view: PreparationView, event: StepEvent) -> PreparationView:
    match event.phase:
        case StepPhase.START:
            return replace(view, running=event.step)
        case StepPhase.DONE:
            return replace(view, done=(*view.done, event), running="")
        case StepPhase.FAILED:
            return replace(view, failed=event, running="")
        case StepPhase.REBOOT:
            return replace(view, reboot=event.kernels)
