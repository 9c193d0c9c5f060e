"""What is promised, and how a measured figure is held against it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

Samples = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A bound on a measured quantity, or on its ratio to another one of the same run.

    Attributes:
        what: What a reader is told.
        of: Name of the samples.
        against: Name of the samples it is divided by; None for an absolute figure.
        most: The bound.
        unit: Of an absolute figure.
        cores: Processors without which it is not promised; measured and shown all the same.
    """

    what: str
    of: str
    most: float
    against: str | None = None
    unit: str = "s"
    cores: int = 1


PROMISES = (
    Promise(what="labkit --help", of="help", most=0.3),
    Promise(what="seed ISO of one node", of="seed", most=0.3),
    Promise(what="box build, unchanged", of="box cached", most=1.0),
    Promise(what="up / floor", of="up", against="floor", most=1.20),
    Promise(what="up / bare vagrant up", of="up", against="vagrant up", most=0.65),
    Promise(what="second up", of="up again", most=3.0),
    Promise(what="status / vagrant status", of="status", against="vagrant status", most=0.30),
    Promise(what="peak memory of labkit up", of="peak memory", most=120.0, unit="MiB"),
    Promise(what="around install / convert", of="around install", against="convert", most=1.5),
    Promise(what="kernel, initrd from ISO", of="extraction", most=2.0),
    Promise(what="memory for that", of="extraction memory", most=100.0, unit="MiB"),
    Promise(what="kickstart box, unchanged", of="box built again", most=1.0),
    # On guests that are simulated, with the latency of KVM: labkit's own share is what counts.
    Promise(what="prepare 1 node / slowest", of="prepare 1", against="slowest of 1", most=1.3),
    Promise(what="prepare 2 nodes / slowest", of="prepare 2", against="slowest of 2", most=1.3),
    Promise(what="prepare 4 nodes / slowest", of="prepare 4", against="slowest of 4", most=1.3),
    Promise(what="deploy beside Packstack", of="deploy share", most=7.0),
    Promise(what="verify of two nodes", of="verify", most=3.0),
    Promise(what="deploy found again", of="re-attach", most=2.0),
    Promise(what="SSH, trimmed / untrimmed", of="trimmed", against="untrimmed", most=0.7),
    # Of a lab of two: how long it stands still, beside its slower node alone; the whole verb.
    Promise(what="pause / one node's", of="pause", against="single libvirt snapshot", most=1.15),
    Promise(what="snapshot / vagrant save", of="snapshot", against="vagrant save", most=0.60),
    Promise(
        what="restore to SSH / vagrant's",
        of="restore to SSH",
        against="vagrant restore to SSH",
        most=0.5,
    ),
    Promise(what="pauses apart, at most", of="pause skew", most=50.0, unit="ms"),
    Promise(
        what="pause per GiB, 4 nodes / 2",
        of="pause per GiB of four",
        against="pause per GiB of two",
        most=1.25,
        # A node is saved by one thread: fewer processors than nodes, and they take turns.
        cores=4,
    ),
    # Labs of one controller and of two, four and eight compute nodes.
    Promise(what="up / floor, 3 nodes", of="up of 3", against="floor of 3", most=1.20),
    Promise(what="up / floor, 5 nodes", of="up of 5", against="floor of 5", most=1.25),
    Promise(what="up / floor, 9 nodes", of="up of 9", against="floor of 9", most=1.25),
    Promise(
        what="two labs at once / in turn", of="labs at once", against="labs in turn", most=1.1
    ),
    Promise(what="deploy of 9 beside Packstack", of="deploy share of 9", most=20.0),
    Promise(what="verify, 9 nodes / 3", of="verify of 9", against="verify of 3", most=2.5),
    Promise(what="status of 9 nodes", of="status of 9", most=0.6),
    Promise(
        what="pause per GiB, 9 nodes / 3",
        of="pause per GiB of 9",
        against="pause per GiB of 3",
        most=1.25,
    ),
    Promise(what="restore, 9 nodes / 3", of="restore of 9", against="restore of 3", most=3.2),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured figure beside its promise.

    A ratio is one of medians of samples taken in turn. An absolute figure is the best sample:
    on a shared machine the others say more about its other users than about labkit.

    Attributes:
        promise: What it is held against.
        value: What was measured.
        kept: Whether the promise is kept; None where this machine has too few processors for it.
        samples: What it was calculated from.
    """

    promise: Promise
    value: float
    kept: bool | None
    samples: Mapping[str, Sequence[float]]

    def row(self) -> tuple[str, str, str, str, str]:
        """Return it as a table row."""
        ratio = self.promise.against is not None
        unit = "" if ratio else f" {self.promise.unit}"
        source = "; ".join(
            " ".join(f"{sample:.2f}" for sample in values) for values in self.samples.values()
        )
        return (
            self.promise.what,
            f"{self.value:.2f}{unit}",
            f"<= {self.promise.most:.2f}{unit}",
            self._verdict(),
            source,
        )

    def _verdict(self) -> str:
        if self.kept is None:
            return f"not judged: fewer than {self.promise.cores} processors"
        return "yes" if self.kept else "NO"

    def as_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return asdict(self)


def judge(samples: Samples, *, cores: int) -> list[Figure]:
    """Hold every promise against the samples of one part; those without samples are left out.

    Args:
        samples: What was measured.
        cores: Processors of the machine.

    Raises:
        ValueError: A sample was measured that no promise is about.
    """
    named = {name for promise in PROMISES for name in (promise.of, promise.against)}
    if idle := sorted(samples.keys() - named):
        msg = f"measured, and nothing is promised about it: {', '.join(idle)}"
        raise ValueError(msg)
    return [_figure(promise, samples, cores) for promise in PROMISES if promise.of in samples]


def exit_code(figures: Iterable[Figure]) -> int:
    """Return 1 when a promise is not kept; one that is not judged here counts as kept."""
    return int(any(figure.kept is False for figure in figures))


def _figure(promise: Promise, samples: Samples, cores: int) -> Figure:
    used = {promise.of: samples[promise.of]}
    if promise.against is None:
        value = min(samples[promise.of])
    else:
        used[promise.against] = samples[promise.against]
        value = statistics.median(samples[promise.of])
        value /= statistics.median(samples[promise.against])
    kept = value <= promise.most if cores >= promise.cores else None
    return Figure(promise=promise, value=value, kept=kept, samples=used)
