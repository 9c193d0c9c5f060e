"""`render DIR`: everything `up` would use, as files, without touching anything else."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from labkit import boxes, render, seed
from labkit.bringup import vagrant_settings
from labkit.errors import UsageError

if TYPE_CHECKING:
    from labkit.session import Session

log = logging.getLogger(__name__)

POOL_PATH = Path("/var/lib/libvirt/images")
KEYS = (
    "# 'labkit up' adds the SSH keys: authorized_keys of vagrant and root, root-only host keys, "
    "and on the controller root's own\n"
)


def write_preview(session: Session, directory: Path) -> int:
    """Write every rendered file and each node's manifest; return how many.

    Private files are not among them: what `up` would make stands as a placeholder. The domain
    type is rendered as `qemu`, because probing for KVM starts a guest.

    Raises:
        UsageError: DIR exists and is not an empty directory, or cannot be written.
    """
    settings = vagrant_settings(
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


def _box_name(name: str) -> str:
    try:
        return boxes.vagrant_name(boxes.find_box(name))
    except UsageError as exc:
        # A lab file may name a box that this labkit cannot build; the files are the same.
        log.info("rendered for an unknown box: %s", exc.message)
        return f"labkit-{name}"
