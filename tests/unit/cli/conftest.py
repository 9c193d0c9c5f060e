from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest

from labkit.cli.app import main
from tests.support.commandline import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.commandline import Run


@pytest.fixture(autouse=True)
def _own_logger() -> Iterator[None]:
    logger = logging.getLogger("labkit")
    before, level = list(logger.handlers), logger.level
    yield
    for handler in logger.handlers[:]:
        if handler not in before:
            logger.removeHandler(handler)
            handler.close()
    logger.setLevel(level)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("LABKIT_LAB", "LABKIT_STATE_DIR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*arguments: str) -> Ended:
        with monkeypatch.context() as ours:
            ours.setattr(sys, "argv", ["labkit", *arguments])
            for name in ("stdout", "stderr"):
                # main() puts others in their place.
                ours.setattr(sys, name, getattr(sys, name))
            with pytest.raises(SystemExit) as ended:
                main()
        seen = capfd.readouterr()
        code = ended.value.code
        return Ended(code=code if isinstance(code, int) else 0, out=seen.out, err=seen.err)

    return run
