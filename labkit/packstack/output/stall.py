"""Whether a Packstack run is hung: nothing grows any more, anywhere it can be seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from labkit.packstack.output.words import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

# The name of Packstack's own output among the sources; no node can be called so.
OUTPUT = "Packstack's output"
# Nodes are looked at side by side, not at one instant.
_UNSEEN_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one source looked like.

    Attributes:
        size: Bytes, of several logs their sum.
        tail: Its last lines.
    """

    size: int
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedLog:
    """A source over time: Packstack's output, or the Puppet logs of a node.

    Attributes:
        look: What it last looked like.
        moved_at: When it was last seen to have changed; its first sight counts.
        seen_at: When it was last seen at all.
    """

    look: Look
    moved_at: float
    seen_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hung:
    """A run in which nothing moves.

    Attributes:
        seconds: For how long.
        source: What moved last: `OUTPUT` or a node's name.
        tail: The last lines of that source.
        unseen: Sources not seen for a minute; they may be at work.
    """

    seconds: float
    source: str
    tail: tuple[str, ...]
    unseen: tuple[str, ...]

    def describe(self) -> tuple[str, ...]:
        """Return the evidence, a line each."""
        what = self.source if self.source == OUTPUT else f"the Puppet log on '{self.source}'"
        lines = [f"Nothing has moved for {duration(self.seconds)}; last {what} did."]
        if self.unseen:
            names = ", ".join(f"'{name}'" for name in self.unseen)
            lines.append(f"Not to be seen at present: {names}.")
        return (*lines, *(f"  {line}" for line in self.tail))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfSight:
    """A run of which nothing could be looked at for long: whether it moves is not known.

    Attributes:
        seconds: For how long.
    """

    seconds: float

    def describe(self) -> tuple[str, ...]:
        """Return the evidence, a line each."""
        return (
            f"No node could be asked for {duration(self.seconds)}: whether it moves is not known.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What moved when, over all samples.

    Attributes:
        began: When watching began.
        sampled_at: When the last sample was taken that showed anything.
        sources: The sources by name.
    """

    began: float
    sampled_at: float | None = None
    sources: Mapping[str, WatchedLog] = field(default_factory=dict)

    def observe(self, looks: Mapping[str, Look], at: float) -> Activity:
        """Return what is known after a sample.

        Args:
            looks: Packstack's output as `OUTPUT`, the Puppet logs by node. A source that could
                not be looked at is left out: that is no sign of standstill.
            at: When the sample was taken.
        """
        if not looks:
            return self
        known = {**self.sources}
        for name, look in looks.items():
            before = known.get(name)
            moved = before is None or before.look.size != look.size
            since = at if before is None or moved else before.moved_at
            known[name] = WatchedLog(look=look, moved_at=since, seen_at=at)
        return replace(self, sampled_at=at, sources=known)


def judge(activity: Activity, *, now: float, limit: float) -> Hung | OutOfSight | None:
    """Return the verdict on a run that has not ended; None while it may be working.

    Args:
        activity: What was seen so far.
        now: The present.
        limit: Seconds without any movement that a working run does not reach, from
            `deployment.hung_minutes`.
    """
    blind = now - (activity.began if activity.sampled_at is None else activity.sampled_at)
    if blind >= limit:
        return OutOfSight(seconds=blind)
    if not activity.sources:
        return None
    name, source = max(activity.sources.items(), key=lambda item: item[1].moved_at)
    silent = now - source.moved_at
    if silent < limit:
        return None
    return Hung(
        seconds=silent,
        source=name,
        tail=source.look.tail,
        unseen=tuple(
            other
            for other, seen in activity.sources.items()
            if now - seen.seen_at > _UNSEEN_SECONDS
        ),
    )
