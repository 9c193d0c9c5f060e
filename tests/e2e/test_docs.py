"""The pages that need guests, walked command by command in one sandbox."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labkit.host import process
from tests.support import documentation
from tests.support.documentation import NOT_RUN, ROOT, WALKED

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.host.process import CommandResult
    from tests.support.documentation import Command

pytestmark = pytest.mark.e2e

# Two guests boot under emulation once, and shut down.
SECONDS = 600


def script(walk: list[Command], directory: Path) -> str:
    """Return a shell script that runs each command in its page's directory, up to the first failure."""
    lines = ["set -u"]
    for number, command in enumerate(walk):
        page = directory / Path(command.page).stem
        lines += [
            f"cd {page}",
            f"{{ {command.text}\n}} </dev/null >{directory}/{number}.out 2>{directory}/{number}.err",
            f"code=$?; echo $code >{directory}/{number}.code; [ $code = 0 ] || exit 1",
        ]
    return "\n".join(lines) + "\n"


@pytest.mark.timeout(SECONDS + 60)
def test_pages_walked_in_a_sandbox_show_what_they_say(
    in_sandbox: Callable[..., CommandResult], tmp_path: Path
) -> None:
    walk = [
        command
        for page in WALKED
        for command in documentation.commands(page)
        if command.text not in NOT_RUN
    ]
    for page in WALKED:
        directory = tmp_path / Path(page).stem
        directory.mkdir()
        shutil.copy(ROOT / "lab.yaml", directory)
        for lab in documentation.labs(page):
            (directory / "lab.yaml").write_text(lab, encoding="utf-8")
    steps = tmp_path / "steps.sh"
    steps.write_text(script(walk, tmp_path), encoding="utf-8")
    search = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"

    result = in_sandbox(
        *("bash", steps), env=process.environment(PATH=search), timeout=SECONDS, check=False
    )

    wrong = [
        line for n, command in enumerate(walk) for line in problems(command, tmp_path / str(n))
    ]
    assert wrong == [], result.stderr
    assert result.returncode == 0, result.stderr


def problems(command: Command, stem: Path) -> list[str]:
    """Return what a page's command did otherwise than the page says."""
    try:
        code = int(stem.with_suffix(".code").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [f"{command.place}: not reached"]
    out, err = (
        stem.with_suffix(suffix).read_text(encoding="utf-8", errors="replace")
        for suffix in (".out", ".err")
    )
    if code != 0:
        return [f"{command.place}: exit code {code}", out, err]
    seen = documentation.shown(out, err)
    if command.output and seen != command.output:
        return [f"{command.place}: printed otherwise", *seen]
    return []
