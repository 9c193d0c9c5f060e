"""A directory that plays a rehearsal guest to its stand-in scripts, with fakes of the tools around them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.host.process import run

if TYPE_CHECKING:
    from labkit.host.process import CommandResult

ROOTFS = Path(__file__).parents[2] / "boxes" / "rehearsal" / "rootfs"
FAKES = {
    "ip": 'echo "192.0.2.1 via 172.16.208.254 dev enp0s3 src 172.16.208.39 uid 0"\n',
    "su": "exit 0\n",
    # A host that has enp0s8 and whose Puppet says what `hosts/<address>` holds, if anything.
    "ssh": (
        "while [[ $1 == -o ]]; do shift 2; done\n"
        'host=${1#root@}\nread -r _ verb rest <<<"$2"\n'
        "case $verb in\n"
        "  discover) cat >/dev/null; [[ ! -f $LABKIT_ROOT/hosts/$host.refuses ]] || "
        '{ echo "Permission denied (publickey)." >&2; exit 255; }\n'
        '    printf "fqdn=host%s\\naddress enp0s8=10.0.0.%s\\n" "${host##*.}" "${host##*.}" ;;\n'
        '  apply) cat >"$LABKIT_ROOT/hosts/${rest##* }"; '
        'cat "$LABKIT_ROOT/hosts/$host" 2>/dev/null || echo "Notice: Applied catalog" ;;\n'
        "esac\n"
    ),
    "curl": "[[ ${*: -1} == *127.0.0.1* ]] || exit 6\n",
}


@dataclass(frozen=True, slots=True)
class FakeGuestRoot:
    """The root directory; its scripts are the box's own."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> FakeGuestRoot:
        """Make one in an empty directory."""
        shutil.copytree(ROOTFS, path, dirs_exist_ok=True)
        for name in ("proc/sys/kernel/random", "root/.ssh", "hosts", "etc/labkit-stand-in.d"):
            (path / name).mkdir(parents=True)
        (path / "proc/sys/kernel/hostname").write_text("controller.lab\n")
        (path / "proc/sys/kernel/random/boot_id").write_text("first\n")
        for name in ("id_rsa", "id_rsa.pub"):
            (path / "root/.ssh" / name).write_text(f"{name}\n")
        for name, script in FAKES.items():
            tool = path / "usr/bin" / name
            tool.write_text(f"#!/bin/bash\n{script}")
            tool.chmod(0o755)
        return cls(path)

    def run(self, script: str, *arguments: str, **variables: str) -> CommandResult:
        """Run one of its scripts to its end."""
        env = {"PATH": os.defpath, "LABKIT_ROOT": str(self.path), **variables}
        # Through a file, because a text pipe would turn its carriage returns into line ends.
        output = self.path / "stdout"
        redirect = 'exec >"$0"; exec bash "$@"'
        argv = ["bash", "-c", redirect, str(output), str(self.path / script), *arguments]
        result = run(argv, timeout=30, check=False, env=env)
        return replace(result, stdout=output.read_bytes().decode())

    def packstack(self, *arguments: str, switches: str = "", **variables: str) -> CommandResult:
        """Run packstack with what its switches file holds."""
        (self.path / "etc/labkit-stand-in.d/packstack.conf").write_text(switches)
        return self.run("usr/lib/labkit/packstack/packstack", *arguments, **variables)
