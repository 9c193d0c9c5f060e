"""The part of the bench that boots the lab: floor, labkit, bare Vagrant, in turn; in a sandbox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess  # noqa: TID251 -- a child whose memory is watched while it runs
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.cli.session import looking
from labkit.host import ssh
from labkit.host.greetings import Greetings
from labkit.host.process import environment, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labkit.lab.topology import ResolvedLab

ROOT = Path(__file__).resolve().parents[2]
LABKIT = Path(sys.executable).with_name("labkit")
POOL = Path("/var/lib/libvirt/images")
POLL_SECONDS = 0.2
LIMIT_SECONDS = 600.0


def virsh(*words: str) -> str:
    """Run virsh and return what it printed."""
    return run(["virsh", "-q", "-c", "qemu:///system", *words], timeout=120).stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the floor and bare Vagrant are given: labkit's own domains, seeds and Vagrantfile.

    Attributes:
        directory: Where it is kept.
        lab: The lab it is of.
        endpoints: How to reach its nodes.
    """

    directory: Path
    lab: ResolvedLab
    endpoints: tuple[ssh.Endpoint, ...]

    @property
    def network(self) -> str:
        """Return the name libvirt knows its network by."""
        return f"{self.lab.name}_lan"


@dataclass(slots=True)
class Bench:
    """Samples by name."""

    samples: dict[str, list[float]] = field(default_factory=dict)

    def take(self, name: str, work: Callable[[], float]) -> None:
        """Add one sample."""
        self.samples.setdefault(name, []).append(work())


def main(report: Path, rounds: int) -> None:
    """Measure and write the samples."""
    _require_sandbox()
    state = Path(os.environ["LABKIT_STATE_DIR"]) / "packstack"
    bench = Bench()
    # Not measured: fills the pool, Vagrant's box list and libvirt's caches for all three.
    labkit("up", "--box", "rehearsal")
    kept = keep(ROOT / "lab.yaml")
    labkit("destroy")
    for _ in range(rounds):
        bench.take("floor", lambda: floor(kept))
        bench.take("up", lambda: labkit_up(bench))
        while_up(bench, state)
        labkit("destroy")
        bench.take("vagrant up", lambda: bare_vagrant(kept))
    report.write_text(json.dumps(bench.samples), encoding="utf-8")


def _require_sandbox() -> None:
    if os.environ.get("LABKIT_SANDBOX") != "1":
        sys.exit("run it with 'make bench': it removes domains and volumes by name")


def labkit(*words: str) -> float:
    """Run labkit on the document's lab and return the seconds it took."""
    return run([LABKIT, *words], timeout=LIMIT_SECONDS, cwd=ROOT).seconds


def while_up(bench: Bench, state: Path) -> None:
    """Take what needs a running lab."""
    bench.take("up again", lambda: labkit("up"))
    root = state / "vagrant"
    for _ in range(3):
        # Vagrant first: right after `up again` the guests are still closing its SSH sessions, and
        # labkit asks them as well.
        bench.take(
            "vagrant status",
            lambda: (
                run(
                    ["vagrant", "status"], timeout=120, cwd=root, env=vagrant_by_hand(root)
                ).seconds
            ),
        )
        bench.take("status", lambda: labkit("status"))


def labkit_up(bench: Bench) -> float:
    """Bring the lab up as a user does, and watch labkit's own peak memory."""
    started = time.monotonic()
    with (
        ThreadPoolExecutor(max_workers=1) as beside,
        subprocess.Popen(
            [LABKIT, "up", "--box", "rehearsal"], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=2
        ) as child,
    ):
        ended = threading.Event()
        watched = beside.submit(highest_mib, child.pid, ended)
        try:
            child.wait()
            seconds = time.monotonic() - started
        finally:
            ended.set()
        peak = watched.result()
    if child.returncode != 0:
        sys.exit(f"labkit up failed with {child.returncode}")
    bench.take("peak memory", lambda: peak)
    return seconds


def highest_mib(pid: int, ended: threading.Event) -> float:
    """Return the highest mark a process reached before it ended."""
    peak = 0.0
    while not ended.wait(POLL_SECONDS):
        peak = max(peak, peak_mib(pid))
    return peak


def peak_mib(pid: int) -> float:
    """Return a process's high-water mark of resident memory, 0 when it has gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return next((int(ln.split()[1]) / 1024 for ln in text.splitlines() if "VmHWM" in ln), 0.0)


def keep(file: Path) -> Kept:
    """Copy what a running lab is made of, so that it can be started without labkit."""
    session = looking(file)
    state = session.directory.path
    directory = Path(os.environ["TMPDIR"]) / "kept" / session.lab.name
    directory.mkdir(parents=True)
    shutil.copytree(state / "keys", directory / "keys")
    shutil.copytree(
        state / "vagrant",
        directory / "vagrant",
        symlinks=True,
        ignore=shutil.ignore_patterns(".vagrant"),
    )
    endpoints = tuple(
        replace(
            session.endpoint(node),
            addresses=(node.nics[0].address.ip,),
            key_file=directory / "keys" / "id_rsa",
        )
        for node in session.lab.nodes
    )
    kept = Kept(directory=directory, lab=session.lab, endpoints=endpoints)
    (directory / "network.xml").write_text(virsh("net-dumpxml", kept.network), encoding="utf-8")
    for node in session.lab.nodes:
        shutil.copy(POOL / node.seed_volume, directory)
        xml = virsh("dumpxml", "--inactive", str(node.uuid)).replace(str(state), str(directory))
        (directory / f"{node.name}.xml").write_text(xml, encoding="utf-8")
    (directory / "logs").mkdir()
    vagrantfile = directory / "vagrant" / "Vagrantfile"
    text = vagrantfile.read_text(encoding="utf-8").replace(str(state), str(directory))
    vagrantfile.write_text(text, encoding="utf-8")
    return kept


def box_volume() -> Path:
    """Return the box's volume, which labkit left in the pool."""
    return next(POOL.glob("labkit-rehearsal-*_box.img"))


def give_seeds(kept: Kept) -> None:
    """Put the seeds where the domains expect them, and the lab's network up."""
    for node in kept.lab.nodes:
        shutil.copy(kept.directory / node.seed_volume, POOL)
        for log in ("console", "firstboot"):
            (kept.directory / "logs" / f"{node.name}.{log}.log").write_bytes(b"")
    virsh("net-define", str(kept.directory / "network.xml"))
    virsh("net-start", kept.network)


def floor(kept: Kept) -> float:
    """Overlay, define, start all domains by hand and wait until each answers SSH."""
    give_seeds(kept)
    started = time.monotonic()
    prefix = kept.lab.name
    for node in kept.lab.nodes:
        disk = POOL / f"{prefix}_{node.name}.img"
        base = ["-F", "qcow2", "-b", str(box_volume())]
        size = f"{node.disk_gib}G"
        run(["qemu-img", "create", "-q", "-f", "qcow2", *base, disk, size], timeout=60)
        virsh("define", str(kept.directory / f"{node.name}.xml"))
        virsh("start", str(node.uuid))
    answered(kept.endpoints, started)
    seconds = time.monotonic() - started
    for node in kept.lab.nodes:
        virsh("destroy", str(node.uuid))
        virsh("undefine", str(node.uuid))
        (POOL / f"{prefix}_{node.name}.img").unlink()
    take_seeds(kept)
    return seconds


def take_seeds(kept: Kept) -> None:
    """Remove the seeds and the network again."""
    virsh("net-destroy", kept.network)
    virsh("net-undefine", kept.network)
    for node in kept.lab.nodes:
        (POOL / node.seed_volume).unlink()
    virsh("pool-refresh", "default")


def bare_vagrant(kept: Kept) -> float:
    """Run `vagrant up` with the same Vagrantfile and box, waiting by itself."""
    give_seeds(kept)
    virsh("pool-refresh", "default")
    root = kept.directory / "vagrant"
    env = vagrant_by_hand(root)
    seconds = run(["vagrant", "up"], timeout=LIMIT_SECONDS, cwd=root, env=env).seconds
    run(["vagrant", "destroy", "-f"], timeout=LIMIT_SECONDS, cwd=root, env=env)
    take_seeds(kept)
    return seconds


def vagrant_by_hand(root: Path) -> dict[str, str]:
    """Return the environment of Vagrant called by hand in a lab's directory, as the docs say it."""
    return environment(
        VAGRANT_DEFAULT_PROVIDER="libvirt",
        VAGRANT_CHECKPOINT_DISABLE="1",
        VAGRANT_HOME=str(root / "home"),
    )


def answered(endpoints: Sequence[ssh.Endpoint], started: float) -> None:
    """Wait until every node runs a command over SSH: the judge labkit uses too."""

    def one(endpoint: ssh.Endpoint) -> None:
        while time.monotonic() - started < LIMIT_SECONDS:
            try:
                with Greetings(endpoint.addresses) as greetings:
                    greeted = greetings.wait(LIMIT_SECONDS)
                with ssh.connect(endpoint, greeted=greeted) as session:
                    if session.run("true", timeout=ssh.HANDSHAKE_SECONDS).returncode == 0:
                        return
            except ssh.NotReachableError:
                time.sleep(POLL_SECONDS)  # noqa: TID251 -- a stop-watch, not product code
        sys.exit(f"{endpoint.node} never answered")

    with ThreadPoolExecutor(max_workers=len(endpoints)) as pool:
        list(pool.map(one, endpoints))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
