"""Guests that cost nothing: real SSH with a latency, scripts run in bash on this host.

They stand in for guests under KVM, whose own work is not what is measured. Every path a script
names below /var/lib/labkit is moved into a directory of the guest's own.
"""

from __future__ import annotations

import subprocess  # noqa: TID251 -- what a guest's sshd would start
import time
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko  # noqa: TID251 -- the server side of what labkit.host.ssh talks to

from labkit.host.process import environment
from tests.fakes.ssh_server import FakeSshServer

if TYPE_CHECKING:
    from ipaddress import IPv4Address

ROOT = Path(__file__).resolve().parents[2]
FAKE_SYSTEMD = ROOT / "tests" / "fakes" / "systemd"
# Between two machines of one host, generously.
LATENCY_SECONDS = 0.005
# What starting the openstack client costs on a real controller, by experience with Queens.
CLIENT_SECONDS = 2.0
COMMANDS = {
    "openstack": f"sleep {CLIENT_SECONDS}; echo '[]'",
    "nova-manage": f"sleep {CLIENT_SECONDS}",
    "su": f"sleep {CLIENT_SECONDS}",
    "curl": "sleep 0.1; printf 200",
    "ovs-vsctl": "sleep 0.05",
    "packstack": """\
echo 'Welcome to the Packstack setup utility'; echo; echo Installing:
for step in 'Clean Up' 'Discovering ip protocol version' 'Setting up ssh keys' 'Finalizing'; do
  sleep "$PACKSTACK_STEP"; echo "$step   [ DONE ]"
done
printf '\\n **** Installation completed successfully ******\\n\\n'
printf '[general]\\nCONFIG_CONTROLLER_HOST=172.16.208.39\\n' >@STATE@/answers.cfg
echo 'Additional information:'""",
}


class LoopbackGuest(FakeSshServer):
    """Runs what it is asked in a bash of this host."""

    def __init__(
        self, address: IPv4Address, directory: Path, *, packstack_step: float = 1.0
    ) -> None:
        self._address = address
        self._directory = directory
        self._tools = directory / "bin"
        self._tools.mkdir(parents=True)
        (directory / "state").mkdir()
        for name, body in COMMANDS.items():
            tool = self._tools / name
            script = body.replace("@STATE@", str(directory / "state"))
            tool.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
            tool.chmod(0o755)
        self._environment = environment(
            PATH=f"{self._tools}:{FAKE_SYSTEMD}:{environment()['PATH']}",
            FAKE_SYSTEMD=str(directory),
            PACKSTACK_STEP=str(packstack_step),
        )
        super().__init__(paramiko.Ed25519Key.from_private_key_file(str(host_key(directory))))

    def address(self) -> tuple[str, int]:
        """Return where it listens."""
        return str(self._address), 22

    def _answer(self, command: str, channel: paramiko.Channel) -> None:
        self.commands.append(command)
        self._confirmed(channel)
        time.sleep(LATENCY_SECONDS)  # noqa: TID251 -- the latency that is simulated
        stdin = channel.makefile("rb").read() if command.endswith("bash -s") else b""
        script = stdin.decode() if stdin else command
        script = script.replace("/var/lib/labkit", str(self._directory / "state"))
        script = script.replace("PATH=/usr/", f"PATH={self._tools}:/usr/")
        script = script.replace(". /root/keystonerc_admin", "true")
        done = subprocess.run(
            ["bash", "-s"],
            input=script.encode(),
            capture_output=True,
            check=False,
            env=self._environment,
        )
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        channel.send_exit_status(done.returncode)
        channel.close()


def host_key(directory: Path) -> Path:
    """Return where a guest's host key lies."""
    return directory / "host_key"
