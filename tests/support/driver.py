"""Drives labkit from outside, the way a person does, inside a sandbox: commands, kills, inventories."""

from __future__ import annotations

import contextlib
import json
import subprocess  # noqa: TID251 -- labkit itself is the child that has to be killed half-way
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.host import sandbox
from labkit.host.process import CommandResult, environment, run
from labkit.waiting import Deadline, NotYet, wait_until

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.terminal import Terminal

ROOT = Path(__file__).parents[2]
LABKIT = (sys.executable, "-m", "labkit")
POOL_PATH = Path("/var/lib/libvirt/images")
STATE = sandbox.PRIVATE / "state"
UP_SECONDS = 420.0
QUICK_SECONDS = 60.0

SMALL = """\
name: {name}
box: rehearsal
dns: {{servers: [192.0.2.53], domain: {name}.test}}
networks:
  lan: {network}
nodes:
  one:
    roles: [controller]
    cpus: {cpus}
    memory: 384 MiB
    disk: 4 GiB
    nics:
      enp0s3: {{network: lan, address: 10.77.{number}.11}}
"""

SECOND = """\
  two:
    roles: [compute]
    cpus: {cpus}
    memory: 384 MiB
    disk: 4 GiB
    nics:
      enp0s3: {{network: lan, address: 10.77.{number}.12}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Everything on the host a lab can add to or take from; equal when nothing changed."""

    domains: frozenset[str]
    networks: frozenset[str]
    volumes: frozenset[str]
    links: frozenset[str]
    files: frozenset[str]


def inventory() -> Inventory:
    """Look at the host, leaving out the box's own volume, which is meant to stay."""
    virsh("pool-refresh", "default")
    volumes = (line.split()[0] for line in virsh("vol-list", "default").splitlines()[2:] if line)
    links = json.loads(run(["ip", "-json", "link"], timeout=10).stdout)
    return Inventory(
        domains=frozenset(virsh("list", "--all", "--name").split()),
        networks=frozenset(virsh("net-list", "--all", "--name").split()),
        volumes=frozenset(name for name in volumes if "_vagrant_box_image_" not in name),
        links=frozenset(link["ifname"] for link in links),
        files=frozenset(str(path) for path in STATE.rglob("*") if path.name != ".gitignore"),
    )


def virsh(*arguments: str) -> str:
    """Run virsh and return its output."""
    return run(["virsh", *arguments], timeout=30).stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A lab file and the verbs on it."""

    file: Path
    name: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Return the lab's directory."""
        return STATE / self.name

    def run(self, *arguments: str, timeout: float = QUICK_SECONDS, code: int = 0) -> CommandResult:
        """Run a verb to its end and require its exit code."""
        result = self.attempt(*arguments, timeout=timeout)
        assert result.returncode == code, self.story(result)
        return result

    def attempt(self, *arguments: str, timeout: float = QUICK_SECONDS) -> CommandResult:
        """Run a verb to its end, however that ends."""
        return run(
            [*LABKIT, *arguments], timeout=timeout, check=False, env=self._environment(), cwd=ROOT
        )

    def up(self, *arguments: str, code: int = 0) -> CommandResult:
        """Bring it up."""
        return self.run("up", *arguments, timeout=UP_SECONDS, code=code)

    def status(self) -> list[dict[str, Any]]:
        """Return the nodes as `status --json` shows them."""
        nodes: list[dict[str, Any]] = json.loads(self.run("status", "--json").stdout)["nodes"]
        return nodes

    def boot_ids(self) -> dict[str, str]:
        """Return every node's boot id, as `up --json` on a running lab reports it."""
        nodes = json.loads(self.up("--json").stdout)["nodes"]
        return {node["name"]: node["boot_id"] for node in nodes}

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Started]:
        """Start a verb and leave it running; it is killed when the context ends."""
        child = subprocess.Popen(
            [*LABKIT, *arguments],
            env=self._environment(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield Started(child)
        finally:
            child.kill()
            child.communicate()

    @contextmanager
    def at(self, terminal: Terminal, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a verb at a terminal; it is killed when the context ends."""
        with subprocess.Popen(
            [*LABKIT, *arguments],
            env=self._environment(),
            cwd=ROOT,
            stdin=terminal.inner,
            stdout=terminal.inner,
            stderr=terminal.inner,
            start_new_session=True,
        ) as child:
            try:
                yield child
            finally:
                child.kill()

    def story(self, result: CommandResult) -> str:
        """Return all a failed assertion has to show."""
        logs = [
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted((self.directory / "logs").glob("*.log"))
        ]
        return "\n".join((f"exit {result.returncode}", result.stdout, result.stderr, *logs))

    def _environment(self) -> dict[str, str]:
        plain = {"LABKIT_LAB": str(self.file), "NO_COLOR": "1", **self.environment}
        return environment(**plain)


@dataclass(frozen=True, slots=True)
class Started:
    """A verb under way."""

    child: subprocess.Popen[str]

    def until(self, condition: Callable[[], object], what: str, seconds: float = 120) -> None:
        """Wait until something can be seen; fails when the verb ends before."""

        def check() -> None:
            if not condition():
                assert self.child.poll() is None, f"it ended before {what}: {self.output()}"
                raise NotYet(what)

        wait_until(check, what=what, deadline=Deadline.after(seconds))

    def kill(self) -> None:
        """Kill -9, and wait until the processes it started are gone as well."""
        self.child.kill()
        self.child.wait(timeout=10)
        wait_for_no("vagrant")

    def signal(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit code and the output."""
        self.child.send_signal(number)
        output = self.output()
        return self.child.returncode, output

    def output(self) -> str:
        """Wait for its end and return what it printed."""
        return self.child.communicate(timeout=QUICK_SECONDS)[0]


def processes(word: str) -> list[int]:
    """Return the processes of this sandbox whose command line has a word in its program or script."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if any(word == Path(part).name for part in line[:2]):
                found.append(int(entry.name))
    return found


def wait_for_no(word: str, seconds: float = 20) -> None:
    """Wait until no process of that name is left."""

    def check() -> None:
        if processes(word):
            msg = f"{word} still runs: {processes(word)}"
            raise NotYet(msg)

    wait_until(check, what=f"the end of {word}", deadline=Deadline.after(seconds))


def domain_state(name: str) -> str:
    """Return a domain's state, or nothing when there is no such domain."""
    result = run(["virsh", "domstate", name], timeout=10, check=False)
    return result.stdout.strip() if result.returncode == 0 else ""


def write_lab(
    directory: Path,
    name: str,
    number: int,
    *,
    network: str | None = None,
    cpus: int = 1,
    nodes: int = 1,
    **variables: str,
) -> Lab:
    """Write a lab of one small node, or two, on 10.77.<number>.0/24."""
    network = network or (f"{{mode: nat, cidr: 10.77.{number}.0/24, gateway: 10.77.{number}.254}}")
    file = directory / f"{name}.yaml"
    text = SMALL + (SECOND if nodes > 1 else "")
    file.write_text(text.format(name=name, number=number, network=network, cpus=cpus))
    return Lab(file=file, name=name, environment=variables)


def up_at_once(*labs: Lab) -> None:
    """Bring labs up side by side."""
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(lab.started("up")) for lab in labs]
        for lab, each in zip(labs, running, strict=True):
            output = each.child.communicate(timeout=UP_SECONDS)[0]
            assert each.child.returncode == 0, f"{lab.name}: {output}"
