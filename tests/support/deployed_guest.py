"""What the tests of deployments ask and do in a guest, as root, over `labkit ssh`."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

from labkit.errors import CommandError
from labkit.waiting import NotYet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.driver import Lab

DEPLOY_SECONDS = 400.0
SCRIPTS = "/etc/sysconfig/network-scripts"
# A lab of one small node that Packstack can be run on.
ONE_NODE = """\
name: faulty
box: rehearsal
dns: {servers: [192.0.2.53], domain: faulty.test}
networks:
  lan: {mode: nat, cidr: 10.77.9.0/24, gateway: 10.77.9.254}
nodes:
  one:
    roles: [controller]
    cpus: 2
    memory: 512 MiB
    disk: 8 GiB
    nics:
      enp0s3: {network: lan, address: 10.77.9.11}
      enp0s8: {network: lan, address: 10.77.9.12}
deployment:
  scenario: external-network
  form: answer-file
  hung_minutes: 1
"""
PORT = """\
ovs-vsctl --may-exist add-port br-int probe -- set interface probe type=internal
ip address replace 10.99.0.{number}/24 dev probe
ip link set dev probe up
"""


def as_root(lab: Lab, node: str, script: str, *, code: int = 0) -> str:
    """Run a script and return what it printed."""
    return lab.run("ssh", node, f"sudo bash -c {shlex.quote(script)}", code=code).stdout


def ask(lab: Lab, node: str, script: str) -> str:
    """Run a script in a node that may be away for a moment.

    Raises:
        NotYet: It did not answer, or with an error.
    """
    try:
        result = lab.attempt("ssh", node, f"sudo bash -c {shlex.quote(script)}", timeout=20)
    except CommandError as exc:
        raise NotYet(exc.message) from exc
    if result.returncode != 0:
        msg = f"{result.stdout}{result.stderr}"
        raise NotYet(msg)
    return result.stdout


def set_switches(lab: Lab, node: str, switches: str) -> None:
    """Tell the node's stand-in for Puppet how to fail: `FAIL=hang`."""
    as_root(
        lab,
        node,
        f"mkdir -p /etc/labkit-stand-in.d; echo {shlex.quote(switches)} "
        ">/etc/labkit-stand-in.d/puppet.conf",
    )


def deploy(
    lab: Lab, *arguments: str, code: int = 0, seconds: float = DEPLOY_SECONDS
) -> dict[str, Any]:
    """Run `labkit deploy --json` to its end and return its document; where it failed, that has the error."""
    result = lab.run("deploy", "--json", *arguments, timeout=seconds, code=code)
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def passwords(lab: Lab) -> Mapping[str, str]:
    """Return the passwords of the answer file that was brought home."""
    text = (lab.directory / "packstack" / "answers.cfg").read_text(encoding="utf-8")
    return dict(re.findall(r"^(CONFIG_\w+_PW)=(\w{16})$", text, re.MULTILINE))
