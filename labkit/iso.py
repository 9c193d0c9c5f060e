"""ISO images, written and read back by pycdlib."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pycdlib  # noqa: TID251 -- this module is the one allowed to

if TYPE_CHECKING:
    from collections.abc import Sequence

# ISO 9660 level 3 with Joliet: longer labels are refused by the format.
MAX_LABEL = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoFile:
    """A file in an image.

    Attributes:
        path: Absolute path inside the image, in Rock Ridge names.
        content: Its bytes.
        mode: Permission bits.
    """

    path: PurePosixPath
    content: bytes
    mode: int


def write(target: Path, label: str, files: Sequence[IsoFile]) -> None:
    """Write an image with Rock Ridge and Joliet names, readable by its owner alone.

    Rock Ridge carries the long names and modes Linux uses; the plain ISO 9660 names
    are numbered, because that name space knows neither lower case nor long names.

    Args:
        target: The file to write; replaced when it exists.
        label: Volume label, at most 16 ASCII characters.
        files: What goes in; directories are made as needed.
    """
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident=label, joliet=3, rock_ridge="1.09")
    try:
        plain: dict[PurePosixPath, str] = {PurePosixPath("/"): ""}
        for file in files:
            _add_directories(iso, file.path.parent, plain)
            name = f"{plain[file.path.parent]}/F{len(plain):05d}.;1"
            plain[file.path] = name
            iso.add_fp(
                io.BytesIO(file.content),
                len(file.content),
                iso_path=name,
                rr_name=file.path.name,
                joliet_path=str(file.path),
                file_mode=0o100000 | file.mode,
            )
        target.unlink(missing_ok=True)
        target.touch(mode=0o600)
        with target.open("r+b") as sink:
            iso.write_fp(sink)
    finally:
        iso.close()


def _add_directories(
    iso: pycdlib.PyCdlib, directory: PurePosixPath, plain: dict[PurePosixPath, str]
) -> None:
    if directory in plain:
        return
    _add_directories(iso, directory.parent, plain)
    name = f"{plain[directory.parent]}/D{len(plain):05d}"
    plain[directory] = name
    iso.add_directory(
        iso_path=name, rr_name=directory.name, joliet_path=str(directory), file_mode=0o040700
    )


def label(image: Path) -> str:
    """Return an image's volume label without its padding."""
    iso = pycdlib.PyCdlib()
    iso.open(str(image))
    try:
        identifier: bytes = iso.pvd.volume_identifier
        return identifier.decode("ascii", "replace").rstrip()
    finally:
        iso.close()


def read(image: Path, path: PurePosixPath) -> bytes:
    """Return one file of an image, named by its Rock Ridge path."""
    iso = pycdlib.PyCdlib()
    iso.open(str(image))
    try:
        sink = io.BytesIO()
        iso.get_file_from_iso_fp(sink, rr_path=str(path))
        return sink.getvalue()
    finally:
        iso.close()
