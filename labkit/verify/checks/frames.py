"""The check of the networks' packet size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab import deployment
from labkit.verify.check import Judgement, Subject, check
from labkit.verify.outputs import Kind, full_frames
from labkit.verify.parsers import ping

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab, ResolvedNode


def asking_nodes(lab: ResolvedLab) -> tuple[ResolvedNode, ...]:
    """Return the nodes that ask another one by full frames."""
    return tuple(node for node in deployment.deployed_nodes(lab) if full_frames(lab, node))


@check(
    id="full-frames",
    summary="Packets as large as a network's MTU pass between its nodes, whole.",
    nodes=asking_nodes,
    needs=(Kind.FULL_FRAMES,),
)
def full_frames_pass(subject: Subject) -> Judgement:
    """An MTU that card, tap, bridge or the other end lacks loses large packets alone, silently.

    Each node asks the first node of each of its networks, without fragments, from each card's
    address. The MTU is the network's `mtu` or Ethernet's 1500; a bridge of the host without
    `mtu` in lab.yaml is not asked.
    """
    asked = full_frames(subject.lab, subject.node)
    answers = ping.parse(subject.texts[Kind.FULL_FRAMES])
    lost = [frame for frame in asked if not answers.get(str(frame.to))]
    return Judgement(
        ok=not lost,
        expected="answers to " + ", ".join(f"{frame.mtu} bytes to {frame.to}" for frame in asked),
        seen="no answer from " + ", ".join(str(frame.to) for frame in lost) if lost else "all",
    )
