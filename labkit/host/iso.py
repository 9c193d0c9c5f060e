"""ISO images, written and read back by pycdlib."""

from __future__ import annotations

import io
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pycdlib  # noqa: TID251 -- this module is the one allowed to
from pycdlib.pycdlibexception import (  # noqa: TID251 -- likewise
    PyCdlibException,
    PyCdlibInvalidInput,
)

from labkit.errors import OperationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

COPY_BYTES = 1 << 20
INCOMPLETE_HINT = "Compare its size and sha256 with those of the original, and copy it again."
# What pycdlib lets through from an image that ends early or is something else.
_DAMAGED = (PyCdlibException, struct.error, IndexError, UnicodeDecodeError)


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


@dataclass(frozen=True, slots=True)
class Image:
    """An image opened for reading by `opened`; paths are Rock Ridge paths."""

    _path: Path
    _iso: pycdlib.PyCdlib

    def label(self) -> str:
        """Return the volume label without its padding."""
        identifier: bytes = self._iso.pvd.volume_identifier
        return identifier.decode("ascii", "replace").rstrip()

    def names(self, directory: PurePosixPath) -> tuple[str, ...]:
        """Return the names of everything in a directory.

        Raises:
            OperationError: The image has no such directory, or is damaged.
        """
        with self._reading(directory):
            children = list(self._iso.list_children(rr_path=str(directory)))
            found = [
                child.rock_ridge.name()
                for child in children
                if not child.is_dot() and not child.is_dotdot()
            ]
        return tuple(sorted(name.decode("utf-8", "replace") for name in found))

    def read(self, path: PurePosixPath) -> bytes:
        """Return a file's content, which memory has to have room for.

        Raises:
            OperationError: The image has no such file, or is damaged.
        """
        sink = io.BytesIO()
        self._copy(path, sink)
        return sink.getvalue()

    def extract(self, path: PurePosixPath, target: Path) -> None:
        """Copy a file out of the image, a mebibyte at a time.

        Raises:
            OperationError: The image has no such file, or is damaged.
        """
        with target.open("wb") as sink:
            self._copy(path, sink)

    def _copy(self, path: PurePosixPath, sink: BinaryIO) -> None:
        with self._reading(path):
            self._iso.get_file_from_iso_fp(sink, rr_path=str(path), blocksize=COPY_BYTES)

    @contextmanager
    def _reading(self, path: PurePosixPath) -> Iterator[None]:
        try:
            yield
        except PyCdlibInvalidInput as exc:
            msg = f"The image '{self._path}' was expected to hold '{path}', which is not there."
            raise OperationError(msg, details=(str(exc),)) from exc
        except _DAMAGED as exc:
            msg = f"'{path}' cannot be read from the image '{self._path}', which is damaged."
            raise OperationError(msg, details=(repr(exc),), hint=INCOMPLETE_HINT) from exc


@contextmanager
def opened(image: Path) -> Iterator[Image]:
    """Open an image for reading; its directories are read once, its files when asked for.

    Raises:
        OperationError: There is no such file, or it is no whole ISO 9660 image.
    """
    iso = pycdlib.PyCdlib()
    try:
        iso.open(str(image))
    except OSError as exc:
        msg = f"The image '{image}' cannot be opened: {exc.strerror}."
        raise OperationError(msg) from exc
    except _DAMAGED as exc:
        msg = f"'{image}' was expected to be an ISO 9660 image and is none, or is not whole."
        raise OperationError(msg, details=(repr(exc),), hint=INCOMPLETE_HINT) from exc
    try:
        _check_length(image, iso)
        yield Image(image, iso)
    finally:
        iso.close()


def _check_length(image: Path, iso: pycdlib.PyCdlib) -> None:
    # pycdlib takes the end of the image for the end of whatever file is there.
    expected = iso.pvd.space_size * iso.pvd.logical_block_size()
    found = image.stat().st_size
    if found < expected:
        msg = f"The image '{image}' ends early: {expected} bytes were expected, {found} are there."
        raise OperationError(msg, hint=INCOMPLETE_HINT)
