"""How tests enter a sandbox of this checkout."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import labkit
from labkit.host import kvm, sandbox
from labkit.host.files import cache_root

if TYPE_CHECKING:
    from collections.abc import Sequence

# A background job of a shell ignores SIGINT, and whatever nohup starts SIGHUP; tests send both.
ENTER = (
    "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
    "from labkit.host.sandbox import enter; "
    "enter(sys.argv[3:], cache=Path(sys.argv[2]))"
)


def missing() -> str:
    """Return why no sandbox can be made here, and what to do; nothing where one can."""
    if os.geteuid() != 0:
        return "the sandbox needs root: run 'sudo make test'"
    tools = [tool for tool in (*sandbox.TOOLS, kvm.QEMU) if shutil.which(tool) is None]
    return f"not installed: {', '.join(tools)}; run 'make setup'" if tools else ""


def argv(command: Sequence[str | Path]) -> list[str]:
    """Return a command line that runs a command in a new sandbox."""
    checkout = Path(labkit.__file__).parent.parent
    return [sys.executable, "-c", ENTER, str(checkout), str(cache_root()), *map(str, command)]
