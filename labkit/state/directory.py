"""The lab's directory on disk: state.json, and where everything else of a lab lies."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import AwareDatetime, ValidationError

from labkit.errors import OperationError
from labkit.host.files import utf8, write_atomically
from labkit.lab.topology import Release
from labkit.lab.types import Edge

E = TypeVar("E", bound=Edge)
STATE_DIR_VARIABLE = "LABKIT_STATE_DIR"
IGNORE = ".gitignore"


class NodeState(Edge):
    """What neither libvirt nor Vagrant can say about a node.

    Attributes:
        created: Vagrant finished creating it; False means a half-made domain to be remade.
        spec: Digest of the hardware it was created with, to notice a changed lab.yaml.
        seed: Id of the seed its firstboot has to report.
    """

    created: bool = False
    spec: str = ""
    seed: str = ""


class DeploymentState(Edge):
    """What is known of a lab's deployment.

    Attributes:
        prepared: Whether its nodes were made ready for Packstack.
        release: Of OpenStack, for which they were; None when that was not written down.
        run_id: Of the last Packstack run that labkit started; empty before the first.
        nodes: The nodes that run installs.
        handled: Whether its end was seen and dealt with, however it ended.
        deployed: The nodes of the last run that ended well; empty before one did.
        answers: sha256 of the answer file on the controller as the last run left it.
    """

    prepared: bool = False
    release: Release | None = None
    run_id: str = ""
    nodes: tuple[str, ...] = ()
    handled: bool = True
    deployed: tuple[str, ...] = ()
    answers: str = ""


class LabState(Edge):
    """The content of state.json.

    Attributes:
        version: Format of this file.
        lab: The lab's name.
        lab_id: Every UUID of the lab is derived from it.
        box: Name of the box the nodes are created from, when it is not lab.yaml's.
        pool: The storage pool its volumes are in.
        nodes: Per node name; also names that lab.yaml no longer has, until destroyed.
        networks: Names, as in lab.yaml, of the networks the lab has claimed.
        volumes: Names in the storage pool the lab has claimed, written before they are made.
        deployment: What is known of its deployment.
        expires: When `sweep` may remove the lab; None for never.
    """

    version: Literal[1] = 1
    lab: str
    lab_id: UUID
    box: str = ""
    pool: str = "default"
    nodes: Mapping[str, NodeState] = {}
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    deployment: DeploymentState = DeploymentState()
    expires: AwareDatetime | None = None

    @property
    def stage(self) -> str:
        """Return how far the lab has come: created, prepared, deploying or deployed; or ""."""
        known = self.deployment
        if not known.handled:
            return "deploying"
        if known.deployed:
            return "deployed"
        return "prepared" if known.prepared else "created" if self.nodes else ""

    def with_node(self, name: str, node: NodeState) -> LabState:
        """Return a copy in which one node's state is replaced."""
        return self.model_copy(update={"nodes": {**self.nodes, name: node}})


def read_kept(kind: type[E], file: Path, *, hint: str) -> E:
    """Return what labkit wrote into a file.

    Args:
        kind: What was written.
        file: The file.
        hint: What to do about a damaged one.

    Raises:
        OperationError: It is damaged or of another format.
        OSError: It is not there, or cannot be read.
    """
    try:
        return kind.model_validate_json(file.read_bytes())
    except ValidationError as exc:
        details = tuple(f"{each['loc']}: {each['msg']}" for each in exc.errors())
        message = f"The file '{file}' cannot be read."
        raise OperationError(message, details=details, hint=hint) from exc


@dataclass(frozen=True, slots=True)
class LabDirectory:
    """Paths of one lab; `path` is `.labkit/<lab>` beside its lab.yaml."""

    path: Path

    @property
    def state_file(self) -> Path:
        """Return where state.json lies."""
        return self.path / "state.json"

    @property
    def lock(self) -> Path:
        """Return the file that the one labkit holds which changes the lab."""
        return self.path / "lock"

    @property
    def vagrant(self) -> Path:
        """Return the directory with the Vagrantfile; Vagrant keeps its own data there too."""
        return self.path / "vagrant"

    @property
    def gate(self) -> Path:
        """Return the file whose appearance lets a waiting Vagrant go on."""
        return self.vagrant / "gate"

    @property
    def turns(self) -> Path:
        """Return the directory in which a machine's file lets Vagrant start it."""
        return self.vagrant / "turns"

    @property
    def rendered(self) -> Path:
        """Return the directory with every rendered file, for reading; safe to delete."""
        return self.path / "rendered"

    @property
    def seeds(self) -> Path:
        """Return the directory with the seed ISO of each node."""
        return self.path / "seeds"

    @property
    def keys(self) -> Path:
        """Return the directory with the lab's SSH keys."""
        return self.path / "keys"

    @property
    def packstack(self) -> Path:
        """Return the directory with the answer file and credentials brought home."""
        return self.path / "packstack"

    @property
    def credentials(self) -> Path:
        """Return the administrator's credentials that a deployment brought home."""
        return self.packstack / "keystonerc_admin"

    @property
    def logs(self) -> Path:
        """Return the directory with labkit's, Vagrant's and the nodes' logs."""
        return self.path / "logs"

    @property
    def snapshots(self) -> Path:
        """Return the directory with a directory per snapshot, and the note of one under way."""
        return self.path / "snapshots"

    def console_log(self, node: str) -> Path:
        """Return the file a node's serial console is written to."""
        return self.logs / f"{node}.console.log"

    def firstboot_log(self, node: str) -> Path:
        """Return the file labkit-firstboot's virtio port is written to."""
        return self.logs / f"{node}.firstboot.log"

    def make(self) -> None:
        """Make the lab's directory, which git is to ignore.

        Raises:
            FileNotFoundError: Another labkit removed `.labkit` meanwhile, with its last lab.
            OSError: The file system refuses.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._ignore()

    def create(self) -> None:
        """Make all of the lab's directories; keys are for the owner alone.

        Raises:
            OSError: The file system refuses.
        """
        self.make()
        for directory in (self.vagrant, self.rendered, self.seeds, self.logs):
            directory.mkdir(exist_ok=True)
        for private in (self.keys, self.packstack):
            private.mkdir(mode=0o700, exist_ok=True)

    def load(self, lab: str) -> LabState:
        """Return the recorded state, or a fresh one when nothing is recorded yet.

        A fresh state's lab id comes from the directory's path, so a lab whose state.json was
        lost still recognises its own domains and networks.

        Raises:
            OperationError: state.json is damaged or of another format.
        """
        hint = f"Remove '{self.state_file}'; labkit finds the lab's machines again by their UUIDs."
        try:
            return read_kept(LabState, self.state_file, hint=hint)
        except (FileNotFoundError, NotADirectoryError):
            return LabState(lab=lab, lab_id=path_lab_id(self.path))

    def save(self, state: LabState) -> None:
        """Write state.json so that a crash leaves either the old or the new one.

        Raises:
            OSError: The file system refuses.
        """
        write_atomically(self.state_file, state.model_dump_json(indent=2) + "\n")

    def clear(self) -> None:
        """Delete everything of the lab; the lock stays, for whoever holds it.

        Raises:
            OSError: Of the first thing that could not be deleted; the others are.
        """
        first: OSError | None = None
        for each in sorted(self._content() - {self.lock}):
            try:
                if each.is_dir() and not each.is_symlink():
                    shutil.rmtree(each)
                else:
                    each.unlink()
            except FileNotFoundError:
                continue
            except OSError as exc:
                first = first or exc
        if first is not None:
            raise first

    def remove_if_bare(self) -> None:
        """Remove the directory when only the lock is left, and `.labkit` after the last lab.

        The caller holds the lock. Only what is empty is removed: another labkit may be making its
        lab in here at this moment.
        """
        if self._content() - {self.lock}:
            return
        with suppress(OSError):
            self.lock.unlink(missing_ok=True)
            self.path.rmdir()
            if self._ignored and {p.name for p in self.path.parent.iterdir()} <= {IGNORE}:
                (self.path.parent / IGNORE).unlink(missing_ok=True)
                self.path.parent.rmdir()
        with suppress(OSError):
            self._ignore()

    @property
    def _ignored(self) -> bool:
        # Not any other directory: LABKIT_STATE_DIR may name one with files of its own.
        return self.path.parent.name == ".labkit"

    def _ignore(self) -> None:
        ignore = self.path.parent / IGNORE
        if self._ignored and self.path.parent.is_dir() and not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")

    def _content(self) -> set[Path]:
        try:
            return set(self.path.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return set()


def lab_directory(lab_file: Path, lab: str, environment: Mapping[str, str]) -> LabDirectory:
    """Return where a lab's state belongs: beside its lab.yaml, or below LABKIT_STATE_DIR.

    Raises:
        UsageError: The path is no UTF-8, which libvirt and Vagrant need.
    """
    override = environment.get(STATE_DIR_VARIABLE)
    parent = Path(override) if override else lab_file.resolve().parent / ".labkit"
    return LabDirectory(utf8(parent.absolute() / lab))


def path_lab_id(directory: Path) -> UUID:
    """Return the id a lab has by the place of its directory."""
    return uuid5(NAMESPACE_URL, f"labkit:{directory}")
