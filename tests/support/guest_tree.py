"""A directory that plays a freshly installed CentOS 7 guest for labkit-prepare."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.host.process import run
from labkit.packstack.prepare_script import PreparationView, advance

if TYPE_CHECKING:
    from labkit.host.process import CommandResult

TOOLS = Path(__file__).parents[1] / "fakes" / "guest"
BASE_REPO = """\
# CentOS-Base.repo

[base]
name=CentOS-$releasever - Base
mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=os&infra=$infra
#baseurl=http://mirror.centos.org/centos/$releasever/os/$basearch/
gpgcheck=1

[centosplus]
mirrorlist=http://mirrorlist.centos.org/?release=$releasever&repo=centosplus
enabled = 0
"""
EPEL_REPO = """\
[epel]
baseurl=http://10.0.0.1/epel/7/
Enabled = 1
failovermethod=priority
[more]
metalink=https://mirrors.fedoraproject.org/metalink?repo=epel-7
"""
OWN_REPO = """\
[own]
baseurl=http://10.0.0.1/own/
gpgkey=https://www.centos.org/keys/RPM-GPG-KEY-CentOS-7
enabled=1
[copied]
baseurl = http://10.0.0.1/a/
    http://mirror.centos.org/centos/7/os/x86_64/
enabled=True
"""
FILES = {
    "etc/environment": "",
    "etc/hosts": "127.0.0.1 localhost localhost.localdomain\n",
    "etc/hostname": "controller.lab.example\n",
    "proc/sys/kernel/hostname": "controller.lab.example\n",
    "etc/yum/vars/contentdir": "altarch\n",
    "etc/yum.repos.d/CentOS-Base.repo": BASE_REPO,
    "etc/yum.repos.d/epel.repo": EPEL_REPO,
    "etc/yum.repos.d/own.repo": OWN_REPO,
    "var/cache/yum/x86_64/7/labkit-base/cachecookie": "",
    "root/.ssh/authorized_keys": "ssh-rsa AAAA root\n",
    "root/.ssh/id_rsa": "private\n",
    "fake/packages": "bash 4.2\n",
    "fake/kernels": "kernel 3.10.0-862.el7.x86_64\n",
    "fake/updates": "glibc 2.17\nkernel 3.10.0-1160.el7.x86_64\n",
    "fake/running": "3.10.0-862.el7.x86_64\n",
    "fake/active": "firewalld\nNetworkManager\n",
    "fake/enabled": "firewalld\nNetworkManager\nNetworkManager-dispatcher\n",
    "fake/addresses": (
        "2: enp0s3    inet 172.16.208.13/24 brd 172.16.208.255 scope global enp0s3\n"
        "3: enp0s8    inet 172.16.208.18/24 brd 172.16.208.255 scope global enp0s8\n"
    ),
    "fake/closed": "",
    "fake/free": "62914560\n",
}


@dataclass
class Guest:
    """The directory, and what its last preparation printed."""

    root: Path
    view: PreparationView = field(default_factory=PreparationView)

    def install(self) -> None:
        for path, text in FILES.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Return mode and content of every file that is the guest's own."""
        return {
            path.relative_to(self.root).as_posix(): (path.stat().st_mode, path.read_bytes())
            for path in self.root.rglob("*")
            if path.is_file() and "fake" not in path.relative_to(self.root).parts
        }

    def prepare(self, script: str) -> CommandResult:
        path = self.root / "fake" / "script"
        path.write_text(script)
        env = {"LABKIT_ROOT": str(self.root), "PATH": f"{TOOLS}:/usr/sbin:/usr/bin:/sbin:/bin"}
        result = run(["bash", path], timeout=100, check=False, env=env)
        self.view = advance(PreparationView(), result.stdout)
        return result

    def changed(self) -> set[str]:
        return {event.step for event in self.view.done if event.changed}

    def reason(self) -> str:
        assert self.view.failed is not None
        return f"{self.view.failed.step}: {self.view.failed.reason}"
