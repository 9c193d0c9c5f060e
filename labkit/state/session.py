"""One verb on one lab: its resolved file, its directory, its box, and who hears of progress."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from labkit.errors import OperationError, UsageError
from labkit.host import ssh
from labkit.lab.file import load
from labkit.lab.resolve import resolve
from labkit.state.directory import LabDirectory, LabState, lab_directory
from labkit.state.secrets import hidden, known_secrets
from labkit.state.tools import real_tools

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.state.progress import Progress
    from labkit.state.tools import Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What every verb works with.

    Attributes:
        lab: The resolved lab.
        lab_file: Where it was read from.
        directory: Its directory on disk.
        progress: Told of every stage.
        tools: libvirt, Vagrant, SSH and the clock.
        cancelled: Set when the user interrupts; every wait asks it.
    """

    lab: ResolvedLab
    lab_file: Path
    directory: LabDirectory
    progress: Progress
    tools: Tools
    cancelled: threading.Event = field(default_factory=threading.Event)

    def node(self, name: str) -> ResolvedNode:
        """Return a node of the lab.

        Raises:
            UsageError: The lab has no such node; names the ones it has.
        """
        node = self.lab.node(name)
        if node is None:
            known = ", ".join(f"'{node.name}'" for node in self.lab.nodes)
            message = f"The lab '{self.lab.name}' has no node '{name}'; it has {known}."
            raise UsageError(message)
        return node

    def state(self) -> LabState:
        """Return the recorded state."""
        return self.directory.load(self.lab.name)

    def hide(self, text: str) -> str:
        """Return a text without the secrets that the lab has by now."""
        return hidden(text, known_secrets(self.lab, self.directory))

    def endpoint(self, node: ResolvedNode) -> ssh.Endpoint:
        """Return how to reach a node.

        Raises:
            OperationError: Its host key was never made: it was never brought up.
        """
        public = host_key(self.directory, node.name)
        public = public.with_name(f"{public.name}.pub")
        try:
            key = public.read_text(encoding="utf-8")
        except FileNotFoundError as exc:
            message = f"The node '{node.name}' has no SSH host key yet."
            raise OperationError(message, hint="Run 'labkit up' first.") from exc
        return ssh.Endpoint(
            node=node.name,
            addresses=tuple(nic.address.ip for nic in node.nics),
            key_file=user_key(self.directory),
            host_key=" ".join(key.split()[:2]),
        )


def user_key(directory: LabDirectory) -> Path:
    """Return where the lab's private SSH key lies."""
    return directory.keys / "id_rsa"


def root_key(directory: LabDirectory) -> Path:
    """Return where the private SSH key of root lies, by which the controller reaches all nodes."""
    return directory.keys / "root_id_rsa"


def host_key(directory: LabDirectory, node: str) -> Path:
    """Return where a node's private SSH host key lies."""
    return directory.keys / f"{node}_host_ed25519"


def has_host_key(directory: LabDirectory, node: str) -> bool:
    """Return whether a node's SSH host key was made: whether it was ever brought up."""
    private = host_key(directory, node)
    return private.with_name(f"{private.name}.pub").exists()


def open_session(
    lab_file: Path, progress: Progress, *, box: str | None = None, tools: Tools | None = None
) -> Session:
    """Read the lab file and bring it together with what is recorded.

    Args:
        lab_file: The lab file.
        progress: Told of every stage.
        box: A box to use instead of lab.yaml's; remembered while the lab exists.
        tools: What to use of the world; this host's own when None.

    Raises:
        LabFileError: The file has problems; all of them are in the details.
    """
    wanted = load(lab_file)
    directory = lab_directory(lab_file, wanted.name, os.environ)
    state = directory.load(wanted.name)
    lab = resolve(wanted, lab_id=state.lab_id)
    override = box or state.box
    if override:
        lab = replace(lab, box=override)
    return Session(
        lab=lab,
        lab_file=lab_file,
        directory=directory,
        progress=progress,
        tools=tools or real_tools(),
    )
