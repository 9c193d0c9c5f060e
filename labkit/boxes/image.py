"""Makes a box from an image of a disk: find or fetch it, judge it, set it up, pack it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from labkit.boxes.disk import GIB
from labkit.boxes.file import ImageBoxFile
from labkit.boxes.kickstart import IMAGE_SCRIPTS
from labkit.boxes.pack import Packed, box_documents, package
from labkit.errors import HostError, LabFileError, OperationError
from labkit.host import download, kvm, qcow2, virt_customize
from labkit.host.files import file_sha256, read_beginning
from labkit.host.process import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labkit.boxes.definition import BoxDefinition

CREATE_TIMEOUT = 60.0
# How compressed files begin, and what unpacks them.
PACKED_BY = {
    b"\xfd7zXZ\0": "xz -d",
    b"\x1f\x8b": "gunzip",
    b"(\xb5/\xfd": "zstd -d",
    b"BZh": "bunzip2",
}


def make(
    definition: BoxDefinition,
    file: ImageBoxFile,
    work: Path,
    target: Path,
    *,
    cache: Path,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
) -> Packed:
    """Make the box and write it to `target`; the image itself is only read.

    Args:
        definition: The box.
        file: Its box.yaml.
        work: A directory for what is needed meanwhile.
        target: The box to write.
        cache: labkit's cache directory.
        progress: Told what happens, one short line each.
        cancelled: Asked now and then; True gives the build up.

    Raises:
        LabFileError: The image is missing, another one, or none that a box can be made from.
        HostError: virt-customize is missing, the image cannot be fetched, or space is short.
        CommandError: A step failed, or was cancelled.
    """
    adds = file.contract == "add"
    if adds:
        virt_customize.require()
    source = find(definition, file, cache=cache, progress=progress, cancelled=cancelled)
    progress(f"checking the image '{source}'")
    sha256 = _checked(definition, file, source)
    disk = work / "disk.qcow2"
    # A file in front of the image takes the changes: nothing is copied, the image stays as it is.
    create = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(source))
    run((*create, str(disk), str(file.disk_gib * GIB)), timeout=CREATE_TIMEOUT)
    if adds:
        progress("setting the image up by virt-customize, some minutes")
        scripts = []
        for name in IMAGE_SCRIPTS:
            script = work / name
            script.write_bytes(definition.sources[f"image/{name}"])
            scripts.append(script)
        emulated = not kvm.probe(cache=cache).usable
        virt_customize.customize(
            disk, scripts, log=work / "setup.log", emulated=emulated, cancelled=cancelled
        )
    progress("compressing the disk into the box")
    offset, length = package(
        disk, target, documents=box_documents(definition), cancelled=cancelled
    )
    disk.unlink()
    return Packed(image_offset=offset, image_length=length, image_sha256=sha256)


def find(
    definition: BoxDefinition,
    file: ImageBoxFile,
    *,
    cache: Path,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Return the box's image: the user's file, or the downloaded one.

    Raises:
        HostError: It cannot be fetched.
    """
    if definition.image is not None:
        return definition.image
    there = downloaded(definition, cache)
    size = file.size
    if size is None:
        size = download.length(_url(file)) if there is None else there.stat().st_size
    wanted = download.Wanted(
        name=_file_name(file),
        size=size,
        sha256=file.sha256 or "",
        sources=(_url(file),),
        instead=f"name its path as 'image' in '{definition.directory / 'box.yaml'}'",
    )
    return download.fetch(wanted, cache=cache, progress=progress, cancelled=cancelled)


def downloaded(definition: BoxDefinition, cache: Path) -> Path | None:
    """Return the downloaded image of a box; None when there is none or the box needs none."""
    file = definition.file
    if not isinstance(file, ImageBoxFile) or file.url is None or file.sha256 is None:
        return None
    path = download.kept_at(cache, sha256=file.sha256, name=_file_name(file))
    return path if path.is_file() else None


def _url(file: ImageBoxFile) -> str:
    return file.url or ""


def _file_name(file: ImageBoxFile) -> str:
    name = PurePosixPath(urlsplit(_url(file)).path).name
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".-")[:100] or "image"


def _checked(definition: BoxDefinition, file: ImageBoxFile, source: Path) -> str:
    """Return the image's sha256, when a box can be made from it.

    Raises:
        LabFileError: None can, or it is another one than box.yaml says.
        HostError: It cannot be read.
    """
    wanted_by = f"'image' of '{definition.directory / 'box.yaml'}'"
    try:
        beginning = read_beginning(source, qcow2.HEADER_BYTES)
        problem = fault(beginning, gib=file.disk_gib, path=source)
        if problem is not None:
            raise problem
        found = file_sha256(source)
    except FileNotFoundError as exc:
        msg = f"The image '{source}' does not exist."
        hint = f"{wanted_by} names it; a relative path begins where that file lies."
        raise LabFileError(msg, hint=hint) from exc
    except OSError as exc:
        msg = f"The image '{source}' cannot be read: {exc.strerror}."
        raise HostError(
            msg, hint=f"{wanted_by} names it; it has to be a file you may read."
        ) from exc
    if file.sha256 not in {None, found}:
        msg = f"The image '{source}' is another file: the sha256 {file.sha256} was expected, and it has {found}."
        if definition.image is None:
            # Checked when it came; it was changed in the cache.
            raise OperationError(msg, hint=f"Remove '{source}' and build again.")
        raise LabFileError(msg, hint="Get the file again, or mend 'sha256' in its box.yaml.")
    return found


def fault(beginning: bytes, *, gib: int, path: Path) -> LabFileError | None:
    """Return why no box can be made from an image, by its first bytes; None when one can.

    An image that names further files is refused: what it names would be read on this host, and
    would be in the box.

    Args:
        beginning: At least `qcow2.HEADER_BYTES` of it, fewer when it is shorter.
        gib: Virtual size of the box in GiB.
        path: Where it lies, for the message.
    """
    msg = f"No box can be made from the image '{path}': "
    for magic, tool in PACKED_BY.items():
        if beginning.startswith(magic):
            return LabFileError(f"{msg}it is compressed.", hint=f"Unpack it with '{tool}'.")
    try:
        found = qcow2.examine_header(beginning)
    except qcow2.DamagedImageError as exc:
        hint = "Convert another format with 'qemu-img convert -O qcow2 IMAGE NEW.qcow2'."
        return LabFileError(f"{msg}{exc}.", hint=hint)
    if found.needs:
        hint = "Make it whole with 'qemu-img convert -O qcow2 IMAGE NEW.qcow2', if you trust it."
        return LabFileError(f"{msg}it needs {found.needs}.", hint=hint)
    if found.virtual_bytes > gib * GIB:
        least = -(-found.virtual_bytes // GIB)
        return LabFileError(
            f"{msg}its disk has {found.virtual_bytes} bytes, more than 'disk_gib: {gib}' gives.",
            hint=f"Say 'disk_gib: {least}' or more in box.yaml.",
        )
    return None
