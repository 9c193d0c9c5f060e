"""Nodes with Packstack in them, as far as `deploy` asks: one run at a time, told how it goes."""

from __future__ import annotations

import base64
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.host import ssh
from tests.fakes.guest import BOOT, FakeGuest, sample
from tests.support import transcripts

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab

SUCCESS = (
    b"Welcome to the Packstack setup utility\n\nInstalling:\nClean Up   [ DONE ]\n"
    b" **** Installation completed successfully ******\n\n"
)
FAILURE = (
    b"Installing:\nClean Up   [ DONE ]\nApplying Puppet manifests   [ ERROR ]\n\n"
    b"ERROR : Error appeared during Puppet run: 192.0.2.1_controller.pp\n"
)
REFUSED = ssh.ScriptResult(returncode=1, stdout=b"", stderr="the guest refuses\n")
FINE = ssh.ScriptResult(returncode=0, stdout=b"", stderr="")


class FakeClock(threading.Event):
    """An event and the time: whoever waits for it passes the time at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


@dataclass
class FakePackstack:
    """The run in the controller.

    Attributes:
        state: none, running, ended or lost.
        run_id: What its starter called it.
        output: What it printed.
        code: How it ended, or will when it is next looked at while `running`.
        ends: Whether it ends at the first look at its output.
        boot: The boot in which it was started.
    """

    state: str = "none"
    run_id: str = "-"
    output: bytes = b""
    code: int = 0
    ends: bool = True
    boot: str = BOOT
    started: list[str] = field(default_factory=list)

    def start(self, script: str) -> bytes:
        if self.state == "running":
            return b"running\n"
        (self.run_id,) = re.findall(r"^run_id=(\S+)$", script, re.MULTILINE)
        self.state, self.boot = "running", BOOT
        self.started.append(self.run_id)
        return b"started\n"

    def look(self, script: str) -> bytes:
        (offset,) = re.findall(r"^offset=(\d+)$", script, re.MULTILINE)
        if int(offset) < 2**62 and self.state == "running" and self.ends and self.started:
            self.state = "ended"
            self.output = self.output or (FAILURE if self.code else SUCCESS)
        return sample(
            self.output[int(offset) :],
            state=self.state,
            code=f"{self.code:03d}" if self.state == "ended" else "-",
            run_id=self.run_id,
            boot=self.boot,
            size=len(self.output),
        )

    def stop(self, _script: str) -> bytes:
        self.state = "lost"
        return b""


def nodes(lab: ResolvedLab, packstack: FakePackstack, clock: FakeClock) -> dict[str, FakeGuest]:
    """Return the nodes of a lab in which everything goes well; tests replace single answers."""
    outputs = transcripts.whole(lab)

    def verified(name: str) -> bytes:
        clock.now += 60.0
        return transcripts.packed(outputs[name]).encode()

    def node(name: str) -> FakeGuest:
        return FakeGuest(
            {
                "start labkit-packstack": packstack.start,
                "look at labkit-packstack": packstack.look,
                "stop labkit-packstack": packstack.stop,
                "start labkit-prepare": b"started\n",
                "look at labkit-prepare": sample(
                    b"labkit-step: start hosts\nlabkit-step: done hosts 0.1 changed\n",
                    state="ended",
                    code="000",
                ),
                "mark the beginning": FINE,
                "fetch the answer file": fetched("", "export OS_USERNAME=admin\n"),
                "look at Puppet's logs": f"boot {BOOT}\n".encode(),
                "nova-manage": FINE,
                "collect outputs": lambda _script: verified(name),
                "collect logs": REFUSED,
                "start labkit-mend": b"started\n",
                "look at labkit-mend": sample(state="ended", code="000"),
                "put the routes in order": FINE,
                "true": FINE,
            },
            name=name,
        )

    return {each.name: node(each.name) for each in lab.nodes}


def fetched(*contents: str) -> bytes:
    """Return what the script that fetches the controller's files prints."""
    return b"".join(b"file " + base64.b64encode(text.encode()) + b"\n" for text in contents)
