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
    "setpriv": "exit 0\n",
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
        for name in ("proc/sys/kernel/random", "etc/labkit-stand-in.d"):
            (path / name).mkdir(parents=True)
        (path / "proc/sys/kernel/random/boot_id").write_text("first\n")
        for name, script in FAKES.items():
            tool = path / "usr/bin" / name
            tool.write_text(f"#!/bin/bash\n{script}")
            tool.chmod(0o755)
        # It writes down whom it was to tell what.
        (path / "usr/lib/labkit/ask-host").write_text(
            '#!/bin/bash\nprintf "%s\\n" "$*" >>"$LABKIT_ROOT/messages.log"\n'
        )
        return cls(path)

    def run(
        self, script: str, *arguments: str, stdin: str = "", **variables: str
    ) -> CommandResult:
        """Run one of its scripts to its end."""
        env = {"PATH": os.defpath, "LABKIT_ROOT": str(self.path), **variables}
        # Through a file, because a text pipe would turn its carriage returns into line ends.
        output = self.path / "stdout"
        redirect = 'exec >"$0"; exec bash "$@"'
        argv = ["bash", "-c", redirect, str(output), str(self.path / script), *arguments]
        result = run(argv, timeout=30, check=False, env=env, stdin=stdin)
        return replace(result, stdout=output.read_bytes().decode())
