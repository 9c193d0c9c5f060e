"""Fixtures that run commands in a sandbox of their own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import labkit
from labkit import kvm, process, sandbox
from labkit.boxes import cache_root

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from labkit.process import CommandResult

ENTER = (
    "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
    "from labkit.sandbox import SandboxOptions, enter; "
    "enter(sys.argv[3:], options=SandboxOptions(cache=Path(sys.argv[2])))"
)


@pytest.fixture(scope="session")
def sandbox_argv() -> Callable[[Sequence[str | Path]], list[str]]:
    """Return what turns a command into one that runs in a sandbox; skip where none can be."""
    if os.geteuid() != 0:
        pytest.skip("the sandbox needs root: run 'sudo make test'")
    missing = [tool for tool in (*sandbox.TOOLS, kvm.QEMU) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; run 'make setup'")

    def argv(command: Sequence[str | Path]) -> list[str]:
        checkout = Path(labkit.__file__).parent.parent
        return [
            *(sys.executable, "-c", ENTER, str(checkout), str(cache_root())),
            *map(str, command),
        ]

    return argv


@pytest.fixture
def in_sandbox(
    sandbox_argv: Callable[[Sequence[str | Path]], list[str]],
) -> Callable[..., CommandResult]:
    """Run a command in a new sandbox, to its end: `in_sandbox("virsh", "version")`."""

    def run(
        *command: str | Path,
        timeout: float = 60,
        check: bool = True,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        environment = {**process.environment(), **(env or {})}
        return process.run(
            sandbox_argv(command), timeout=timeout, check=check, cwd=cwd, env=environment
        )

    return run
