"""The part of the bench about deployments: labkit's own share, on simulated guests; in a sandbox.

The guests are bash on this host behind real SSH with a latency, so that neither emulation nor
Packstack's own work is in the figures. `share` is all of a deployment of two nodes after its
preparation, less the seconds Packstack itself ran: start, following, fetching, verifying.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self
from uuid import NAMESPACE_URL

from labkit.host import ssh
from labkit.host.process import run
from labkit.lab.file import load
from labkit.lab.resolve import resolve
from labkit.lab.scenario import PackstackCall
from labkit.packstack import deploy
from labkit.packstack.connection import NodeConnection
from labkit.packstack.mark import mark
from labkit.packstack.output.view import RunView
from labkit.packstack.prepare import prepare
from labkit.packstack.run import Watcher, begin, peek
from labkit.state.directory import LabDirectory
from labkit.state.session import Session, host_key, user_key
from labkit.state.tools import real_tools
from labkit.verify import run as verify
from tests.bench.loopback import ROOT, LoopbackGuest
from tests.bench.loopback import host_key as guest_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.lab.topology import ResolvedLab

STEPS = 5
STEP_SECONDS = 1.6
NODES = 4


class SimulatedDeploying(deploy._Deploying):
    """Calls the simulated Packstack where it lies: a unit finds only the system's commands."""

    def __init__(self, simulated: Simulated) -> None:
        super().__init__(simulated.session, simulated.connections())
        self._simulated = simulated

    def _call(self) -> PackstackCall:
        return self._simulated.call


class Simulated:
    """A lab whose nodes are simulated; a context manager."""

    def __init__(self, directory: Path, count: int) -> None:
        self._stack = ExitStack()
        self.lab = lab_of(count)
        self.session = Session(
            lab=self.lab,
            lab_file=directory / "lab.yaml",
            directory=LabDirectory(directory / "lab"),
            progress=lambda _event: None,
            tools=real_tools(),
            cancelled=threading.Event(),
        )
        self.call = PackstackCall(
            argv=(str(directory / self.lab.nodes[0].name / "bin" / "packstack"),),
            answer_file="[general]\n",
        )
        self.session.directory.create()
        ssh.generate_key(user_key(self.session.directory), "rsa", "bench")
        for node in self.lab.nodes:
            private = host_key(self.session.directory, node.name)
            ssh.generate_key(private, "ed25519", node.name)
            home = directory / node.name
            home.mkdir()
            guest_key(home).write_bytes(private.read_bytes())
            self._stack.enter_context(LoopbackGuest(node.nics[0].address.ip, home))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def connections(self) -> Mapping[str, NodeConnection]:
        """Return a connection to every node."""
        return {
            node.name: self._stack.enter_context(
                NodeConnection(
                    self.session.endpoint(node), cancelled=lambda: False, connect=ssh.connect
                )
            )
            for node in self.lab.nodes
        }


def lab_of(count: int) -> ResolvedLab:
    """Return the document's lab with further compute nodes, or its controller alone."""
    lab = resolve(load(ROOT / "lab.yaml"), lab_id=NAMESPACE_URL)
    controller, compute = lab.nodes
    more = [
        replace(
            compute,
            name=f"compute{number}",
            nics=tuple(
                replace(nic, address=IPv4Interface(f"172.16.208.{number * 10 + nic.slot}/24"))
                for nic in compute.nics
            ),
        )
        for number in range(1, count - 1)
    ]
    return replace(lab, nodes=(controller, compute, *more)[:count])


def preparation(simulated: Simulated) -> tuple[float, float]:
    """Return the seconds of preparing all nodes, and those of the slowest node by itself."""
    step = "echo 'labkit-step: start {0}'; sleep {1}; echo 'labkit-step: done {0} {1} unchanged'; "
    seconds = {
        node.name: STEP_SECONDS * (1 + 0.1 * number)
        for number, node in enumerate(simulated.lab.nodes)
    }
    scripts = {
        name: "".join(step.format(f"s{chr(97 + n)}", f"{each:.3f}") for n in range(STEPS))
        for name, each in seconds.items()
    }
    started = time.monotonic()
    prepared = prepare(simulated.session, simulated.connections(), simulated.lab.nodes, scripts)
    return time.monotonic() - started, max(item.seconds for item in prepared)


def share(simulated: Simulated) -> float:
    """Return the seconds of a deployment without its preparation and Packstack's own time."""
    work = SimulatedDeploying(simulated)
    started = time.monotonic()
    work.find()
    work.begin()
    work.follow()
    connection = work.connections[work.controller]
    own = connection.ask(
        lambda c: c.run_script(
            "d=/var/lib/labkit/runs/labkit-packstack; "
            "echo $(($(stat -c %Y $d/status) - $(cat $d/started)))",
            what="how long it ran",
            timeout=10,
        )
    )
    work.bring_home()
    verify.verify(simulated.session)
    return time.monotonic() - started - float(own.stdout)


def verified(simulated: Simulated) -> float:
    """Return the seconds of asking both nodes everything."""
    started = time.monotonic()
    verify.collect(
        simulated.lab,
        simulated.session.endpoint,
        connect=ssh.connect,
        progress=simulated.session.progress,
    )
    return time.monotonic() - started


def attached(simulated: Simulated) -> float:
    """Return the seconds from nothing to the first output of a run that is under way."""
    connections = simulated.connections()
    controller = simulated.lab.nodes[0].name
    mark(
        connections.values(),
        progress=simulated.session.progress,
        cancelled=lambda: False,
        clock=time.monotonic,
    )
    begin(connections[controller], simulated.call, "bench")
    time.sleep(1.5)  # noqa: TID251 -- until the run has printed something
    seen = threading.Event()
    started = time.monotonic()
    fresh = simulated.connections()
    peek(fresh[controller])
    watcher = Watcher(
        connections=fresh,
        controller=controller,
        hosts={},
        view=RunView(),
        hung_seconds=600.0,
        progress=lambda _event: seen.set(),
        pause=lambda _seconds: True,
        give_up=lambda: None,
    )
    watcher._look()
    if not seen.is_set():
        sys.exit("the run that is under way was not found")
    return time.monotonic() - started


def main(report: Path, rounds: int) -> None:
    """Measure and write the samples."""
    if os.environ.get("LABKIT_SANDBOX") != "1":
        sys.exit("run it with 'make bench': it takes addresses for its guests")
    for node in lab_of(NODES).nodes:
        address = IPv4Address(node.nics[0].address.ip)
        run(["ip", "address", "add", f"{address}/32", "dev", "lo"], timeout=10)
    samples: dict[str, list[float]] = {}
    for _ in range(rounds):
        for count in (1, 2, NODES):
            with TemporaryDirectory() as name, Simulated(Path(name), count) as simulated:
                whole, slowest = preparation(simulated)
                samples.setdefault(f"prepare {count}", []).append(whole)
                samples.setdefault(f"slowest of {count}", []).append(slowest)
        with TemporaryDirectory() as name, Simulated(Path(name), 2) as simulated:
            samples.setdefault("verify", []).append(verified(simulated))
            samples.setdefault("deploy share", []).append(share(simulated))
        with TemporaryDirectory() as name, Simulated(Path(name), 2) as simulated:
            samples.setdefault("re-attach", []).append(attached(simulated))
    report.write_text(json.dumps(samples), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
