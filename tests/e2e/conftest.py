"""Fixtures that run commands in a sandbox of their own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import labkit
from labkit.boxes import build as box_build
from labkit.boxes.definition import find_box
from labkit.host import kvm, process, sandbox
from labkit.host.files import cache_root

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from labkit.host.process import CommandResult

# A background job of a shell ignores SIGINT, and whatever nohup starts SIGHUP; tests send both.
ENTER = (
    "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
    "from labkit.host.sandbox import SandboxOptions, enter; "
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


@pytest.fixture(scope="session")
def rehearsal_box(
    sandbox_argv: Callable[[Sequence[str | Path]], list[str]],  # noqa: ARG001 -- its skips come first
) -> None:
    """Build the rehearsal box outside the sandbox, which has no way to its packages."""
    box_build.build(find_box("rehearsal"), cache_root(), progress=lambda _line: None)


@pytest.fixture
def passes_inside(
    sandbox_argv: Callable[[Sequence[str | Path]], list[str]],
    rehearsal_box: None,  # noqa: ARG001 -- it has to be there
) -> Callable[..., None]:
    """Run a file of tests in a sandbox and require that every one passes, none skipped."""

    def check(name: str, *, seconds: float = 880) -> None:
        file = Path(__file__).with_name(name)
        inner = [sys.executable, "-m", "pytest", "-m", "e2e", "-p", "no:cacheprovider"]
        result = process.run(
            sandbox_argv([*inner, "--durations=5", file]),
            cwd=file.parents[2],
            timeout=seconds,
            check=False,
        )
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
        assert " passed" in result.stdout
        assert " skipped" not in result.stdout

    return check
