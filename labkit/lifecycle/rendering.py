"""The lab's rendered files, and where they are written: for Vagrant by `up`, for reading by `render`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from labkit.boxes.cache import BOX_VERSION, CachedBox
from labkit.boxes.definition import find_box, vagrant_name
from labkit.errors import UsageError
from labkit.host import vagrant
from labkit.host.files import write_atomically
from labkit.host.inventory import POOL_PATH
from labkit.lab import answers, render, scenarios
from labkit.lifecycle import seed
from labkit.packstack import passwords
from labkit.state.session import user_key

if TYPE_CHECKING:
    from collections.abc import Mapping
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


def write(
    session: Session,
    texts: render.LabTexts,
    box: CachedBox,
    *,
    pool: Path,
    accelerated: bool,
) -> None:
    """Write the Vagrantfile where Vagrant runs, and every rendered file for reading.

    Args:
        session: The lab.
        texts: What was rendered of it.
        box: The box of its nodes.
        pool: The storage pool's directory.
        accelerated: Whether guests run under KVM.

    Raises:
        HostError: A path cannot be passed to libvirt.
    """
    settings = _settings(
        session, box.vagrant_name, box.vagrant_version, accelerated=accelerated, pool=pool
    )
    text = render.vagrantfile(session.lab, settings)
    # Only read by people: not worth flushing each to disk while Vagrant waits to be started.
    _write_files(session.directory.rendered, {"Vagrantfile": text, **texts.files()})
    vagrant.provide_box(
        session.directory.vagrant,
        name=box.vagrant_name,
        version=box.vagrant_version,
        virtual_size_gib=box.virtual_size_gib,
    )
    write_atomically(session.directory.vagrant / "Vagrantfile", text)


def _write_files(directory: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def _settings(
    session: Session,
    box_name: str,
    box_version: str,
    *,
    accelerated: bool,
    pool: Path,
) -> render.VagrantSettings:
    """Return what the Vagrantfile needs beside the lab itself."""
    nodes = session.lab.nodes
    return render.VagrantSettings(
        box_name=box_name,
        box_version=box_version,
        domain_type="kvm" if accelerated else "qemu",
        storage_pool=session.lab.pool,
        seed_paths={node.name: pool / node.seed_volume for node in nodes},
        console_paths={node.name: session.directory.console_log(node.name) for node in nodes},
        firstboot_paths={node.name: session.directory.firstboot_log(node.name) for node in nodes},
        private_key_path=user_key(session.directory),
    )


def write_preview(session: Session, directory: Path) -> int:
    """Write every rendered file and each node's manifest, and touch nothing else; return how many.

    Private files are not among them: what `up` would make stands as a placeholder, and secrets of
    the answer file are blacked out. The domain type is rendered as `qemu`, because probing for KVM
    starts a guest.

    Raises:
        UsageError: DIR exists and is not an empty directory, or cannot be written.
    """
    settings = _settings(
        session,
        _box_name(session),
        BOX_VERSION,
        accelerated=False,
        pool=POOL_PATH,
    )
    texts = render.lab_texts(session.lab)
    files = {"Vagrantfile": render.vagrantfile(session.lab, settings), **texts.files()}
    for node in session.lab.nodes:
        guest = seed.as_seed_files(texts.guest[node.name])
        files[f"{node.name}/manifest"] = seed.compose(node, guest).manifest + KEYS
    files |= packstack_files(session.lab)
    try:
        if directory.exists() and any(directory.iterdir()):
            message = f"'{directory}' is not empty; rendered files need a directory of their own."
            raise UsageError(message)
        _write_files(directory, files)
    except OSError as exc:
        message = f"'{directory}' cannot be written: {exc.strerror}."
        raise UsageError(message) from exc
    return len(files)


def packstack_files(lab: ResolvedLab) -> dict[str, str]:
    """Return the answer file, if there is one, and the command that `deploy` would use.

    A lab that was never meant to be deployed may not be fit for it; the reasons stand in the
    place of the command then.
    """
    if lab.obstacles:
        lines = [
            f"# {'.'.join(map(str, each.place))}: expected {each.expected}, found {each.found}"
            for each in lab.obstacles
        ]
        return {COMMAND_FILE: "\n".join(["# This lab cannot be deployed as it is:", *lines, ""])}
    made = passwords.complete({}, dict(lab.deployment.answers))
    call = scenarios.call(lab, dict.fromkeys(made, answers.MASK)).masked()
    files = {COMMAND_FILE: f"{call.command_line()}\n"}
    return files if call.answer_file is None else files | {ANSWERS_FILE: call.answer_file}


def _box_name(session: Session) -> str:
    name = session.lab.box
    try:
        return vagrant_name(find_box(name, beside=session.lab_file.parent))
    except UsageError as exc:
        # A lab file may name a box that this labkit cannot build; the files are the same.
        log.info("rendered for an unknown box: %s", exc.message)
        return f"labkit-{name}"
