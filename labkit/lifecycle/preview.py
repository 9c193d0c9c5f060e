"""`render DIR`: everything `up` would use, as files, without touching anything else."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labkit.boxes import definition as boxes
from labkit.errors import UsageError
from labkit.host.inventory import POOL_PATH
from labkit.lab import answers, render, scenarios
from labkit.lifecycle import seed, vagrantfile
from labkit.packstack import passwords

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab
    from labkit.state.session import Session

log = logging.getLogger(__name__)

ANSWERS_FILE = "answers.cfg"
COMMAND_FILE = "packstack-command.txt"
KEYS = (
    "# 'labkit up' adds the SSH keys: authorized_keys of vagrant and root, root-only host keys, "
    "and on the controller root's own\n"
)


def write_preview(session: Session, directory: Path) -> int:
    """Write every rendered file and each node's manifest; return how many.

    Private files are not among them: what `up` would make stands as a placeholder, and secrets of
    the answer file are blacked out. The domain type is rendered as `qemu`, because probing for KVM
    starts a guest.

    Raises:
        UsageError: DIR exists and is not an empty directory, or cannot be written.
    """
    settings = vagrantfile.settings_for(
        session,
        _box_name(session.lab.box),
        boxes.BOX_VERSION,
        accelerated=False,
        pool=POOL_PATH,
    )
    files = dict(render.render_all(session.lab, settings))
    for node in session.lab.nodes:
        guest = [
            seed.SeedFile(
                path=PurePosixPath(item.path), content=item.content.encode(), mode=item.mode
            )
            for item in render.node_files(session.lab, node)
        ]
        files[f"{node.name}/manifest"] = seed.compose(node, guest).manifest + KEYS
    files |= packstack_files(session.lab)
    try:
        if directory.exists() and any(directory.iterdir()):
            message = f"'{directory}' is not empty; rendered files need a directory of their own."
            raise UsageError(message)
        for name, text in files.items():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as exc:
        message = f"'{directory}' cannot be written: {exc.strerror}."
        raise UsageError(message) from exc
    return len(files)


def packstack_files(lab: ResolvedLab) -> dict[str, str]:
    """Return the answer file, if there is one, and the command that `deploy` would use.

    A lab that was never meant to be deployed may not be fit for it; the reasons stand in the
    place of the command then.
    """
    reasons = scenarios.troubles(lab)
    if reasons:
        lines = [
            f"# {'.'.join(each.place)}: expected {each.expected}, found {each.found}"
            for each in reasons
        ]
        return {COMMAND_FILE: "\n".join(["# This lab cannot be deployed as it is:", *lines, ""])}
    made = passwords.complete({}, dict(lab.deployment.answers))
    call = scenarios.call(lab, dict.fromkeys(made, answers.MASK)).masked()
    files = {COMMAND_FILE: f"{call.command_line()}\n"}
    return files if call.answer_file is None else files | {ANSWERS_FILE: call.answer_file}


def _box_name(name: str) -> str:
    try:
        return boxes.vagrant_name(boxes.find_box(name))
    except UsageError as exc:
        # A lab file may name a box that this labkit cannot build; the files are the same.
        log.info("rendered for an unknown box: %s", exc.message)
        return f"labkit-{name}"
