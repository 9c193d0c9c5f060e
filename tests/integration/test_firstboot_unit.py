"""systemd's own view of labkit-firstboot.service among the units of a guest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from labkit.host.process import environment, run

pytestmark = pytest.mark.integration

UNIT = Path(__file__).parents[2] / "kickstart/labkit-firstboot.service"
SERVICE = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
OTHERS = {
    "ssh.socket": "[Socket]\nListenStream=22\n[Install]\nWantedBy=sockets.target\n",
    "sshd.socket": "[Socket]\nListenStream=22\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
    "sshd@.service": SERVICE,
    "sshd.service": f"[Unit]\nWants=sshd-keygen.target\nAfter=sshd-keygen.target\n{SERVICE}",
    "sshd-keygen.target": "[Unit]\n"
    + "".join(f"Wants=sshd-keygen@{kind}.service\n" for kind in ("rsa", "ecdsa", "ed25519")),
    "sshd-keygen@.service": SERVICE,
    "sshd-keygen.service": SERVICE,
    "ssh.service": SERVICE,
    "network.service": SERVICE,
}


def test_unit_beside_every_way_sshd_is_started_makes_no_circle(tmp_path: Path) -> None:
    """systemd breaks a circle by leaving a unit out, and that may be this one."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("not installed: systemd-analyze")
    text = UNIT.read_text().replace("/usr/sbin/labkit-firstboot", "/bin/true")
    (tmp_path / UNIT.name).write_text(text)
    for name, content in OTHERS.items():
        (tmp_path / name).write_text(content)
    for target, names in (
        ("sockets", ("ssh.socket", "sshd.socket")),
        ("multi-user", (UNIT.name, "sshd.service", "sshd-keygen.service", "network.service")),
    ):
        wants = tmp_path / f"{target}.target.wants"
        wants.mkdir()
        for name in names:
            (wants / name).symlink_to(tmp_path / name)
    env = environment(SYSTEMD_UNIT_PATH=f"{tmp_path}:/lib/systemd/system:/usr/lib/systemd/system")
    argv = ["systemd-analyze", "verify", "multi-user.target"]
    done = run(argv, timeout=60, env=env, check=False)
    told = [line for line in done.stderr.splitlines() if "cycle" in line or UNIT.name in line]
    assert told == []
