"""Where boxes lie: labkit's own, and the user's in the directory `boxes` beside the lab file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labkit import resources

if TYPE_CHECKING:
    from collections.abc import Mapping

BOX_FILE_NAME = "box.yaml"
# A box's name stands in those of Vagrant, of volumes and of directories.
BOX_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
_NAME_RULE = "lower-case letters, digits and '-', a letter first, at most 30 characters"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxPlaces:
    """The directories that hold a box.yaml.

    Attributes:
        own: labkit's own by their names.
        beside: Those beside the lab file by their names.
        boxes: The directory beside the lab file that has them; None where nobody looked.
        obstacles: Why some of it could not be looked at or is no box, one sentence each.
    """

    own: Mapping[str, Path]
    beside: Mapping[str, Path] = field(default_factory=dict)
    boxes: Path | None = None
    obstacles: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all of them, sorted."""
        return tuple(sorted({*self.own, *self.beside}))

    def obstacles_of(self, name: str) -> tuple[str, ...]:
        """Return what may keep a box from being found by its name, one sentence each."""
        if self.boxes is None or not BOX_NAME.fullmatch(name):
            return self.obstacles
        place = self.boxes / name
        try:
            lacks = place.is_dir() and not (place / BOX_FILE_NAME).is_file()
        except OSError:
            lacks = False  # told with the obstacles
        return (*self.obstacles, *([f"'{place}' has no {BOX_FILE_NAME}."] if lacks else []))


def box_places(beside: Path | None = None, root: Path | None = None) -> BoxPlaces:
    """Return where the boxes lie; what cannot be read is told, and stops nobody.

    Args:
        beside: The directory of the lab file; None where there is no lab file.
        root: Directory that holds labkit's own `boxes`; that of this installation when not given.

    Raises:
        HostError: The installation carries no boxes.
    """
    # A wheel is always unpacked when labkit runs: its tools need real paths.
    own_boxes = (Path(str(resources.root())) if root is None else root) / "boxes"
    own, _ = _scan(own_boxes)
    if beside is None or _is_labkits(beside, own_boxes):
        return BoxPlaces(own=own)
    found, obstacles = _scan(beside / "boxes")
    return BoxPlaces(own=own, beside=found, boxes=beside / "boxes", obstacles=tuple(obstacles))


def box_names(beside: Path | None = None) -> tuple[str, ...]:
    """Return the names of the boxes there are, sorted.

    Args:
        beside: The directory of the lab file; None where there is no lab file.
    """
    return box_places(beside).names


def _is_labkits(beside: Path, own_boxes: Path) -> bool:
    """Return whether a lab file lies in labkit's own tree: this one, or a clone of another version."""
    try:
        if resources.is_root(beside) and (beside / "kickstart" / "labkit-firstboot").is_file():
            return True
        return (beside / "boxes").samefile(own_boxes)
    except OSError:
        return False


def _scan(boxes: Path) -> tuple[dict[str, Path], list[str]]:
    try:
        entries = sorted(boxes.iterdir())
    except FileNotFoundError:
        return {}, []
    except NotADirectoryError:
        return {}, [f"'{boxes}' is a file; a directory of that name would hold boxes."]
    except OSError as exc:
        return {}, [f"'{boxes}' cannot be read: {exc.strerror}."]
    found: dict[str, Path] = {}
    obstacles = []
    for entry in entries:
        try:
            is_box = (entry / BOX_FILE_NAME).is_file()
        except OSError as exc:
            obstacles.append(f"'{entry}' cannot be read: {exc.strerror}.")
            continue
        if is_box and BOX_NAME.fullmatch(entry.name):
            found[entry.name] = entry
        elif is_box:
            obstacles.append(f"{str(entry)!r} is no box by its name; expected {_NAME_RULE}.")
    return found, obstacles
