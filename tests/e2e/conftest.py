"""Fixtures that run commands in a sandbox of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.boxes.build import build
from labkit.boxes.definition import find_box
from labkit.host import process
from labkit.host.files import cache_root
from tests.support import sandboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from labkit.host.process import CommandResult


@pytest.fixture(scope="session")
def sandbox_argv() -> Callable[[Sequence[str | Path]], list[str]]:
    """Return what turns a command into one that runs in a sandbox; skip where none can be."""
    if missing := sandboxes.missing():
        pytest.skip(missing)
    return sandboxes.argv


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
    build(find_box("rehearsal"), cache_root(), progress=lambda _line: None)
