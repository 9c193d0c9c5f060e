"""Packs an installed disk into a Vagrant box in one pass: the tar is the converter's target."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import CommandError, HostError
from labkit.host.process import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from labkit.boxes.definition import BoxDefinition

BLOCK = tarfile.BLOCKSIZE
IMAGE_NAME = "box.img"
VAGRANTFILE = """\
Vagrant.configure("2") do |config|
  config.vm.synced_folder ".", "/vagrant", disabled: true
end
"""
CONVERT_TIMEOUT = 3600.0
QUERY_TIMEOUT = 60.0
# Measured with QEMU 7.2 on two cores and 1.1 GiB of programs: zlib 31 s alone and 19 s with 16
# coroutines out of order, zstd 6.7 s and 3.5 s; 415 and 407 MB. More coroutines change nothing.
COROUTINES = 16
NO_SPACE = re.compile(r"no space left on device", re.IGNORECASE)
MAKE_ROOM = "Free some space, or set LABKIT_CACHE_DIR to another disk."


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A labkit.box that was written.

    Attributes:
        image_offset: Where box.img begins in it, bytes.
        image_length: Length of box.img, bytes.
        iso_sha256: Of the ISO it was installed from; empty for other builders.
        kickstart_sha256: Of the rendered kickstart; likewise.
        image_sha256: Of the image it was made from; likewise.
        packages: What `rpm -qa` said in the installed guest.
    """

    image_offset: int
    image_length: int
    iso_sha256: str = ""
    kickstart_sha256: str = ""
    image_sha256: str = ""
    packages: tuple[str, ...] = ()


def disk_full(box: str, details: tuple[str, ...]) -> HostError:
    """Return the error for a disk that ran full while a box was being built."""
    return HostError(
        f"The disk ran full while the box '{box}' was being built.", details, MAKE_ROOM
    )


def box_documents(definition: BoxDefinition) -> dict[str, str]:
    """Return the documents of a Vagrant box by name.

    The metadata has the v1 form, of one disk called box.img, which every vagrant-libvirt takes.
    """
    file = definition.file
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": file.disk_gib}
    info = {"description": file.description, "labkit-content-key": definition.key}
    return {
        "metadata.json": json.dumps(metadata) + "\n",
        "Vagrantfile": VAGRANTFILE,
        "info.json": json.dumps(info, indent=2) + "\n",
    }


def package(
    disk: Path,
    target: Path,
    *,
    documents: Mapping[str, str],
    cancelled: Callable[[], bool] | None = None,
) -> tuple[int, int]:
    """Write a Vagrant box: a plain tar of small documents and, last, the disk compressed.

    qemu-img writes the qcow2 to its place inside the tar, so the image is never copied; the
    member's header is filled in when its length is known.

    Args:
        disk: The installed disk, a qcow2 file without a backing file.
        target: The box to write; replaced when it exists.
        documents: Texts by name, e.g. `metadata.json`.
        cancelled: Asked twice a second; True ends the conversion.

    Returns:
        Offset and length in bytes of box.img inside the tar.

    Raises:
        HostError: The disk of the host ran full, or qemu-img is missing.
        CommandError: qemu-img failed, or was cancelled.
    """
    head = _documents_tar(documents)
    offset = len(head) + BLOCK
    empty = target.with_name(f"{target.name}.empty")
    try:
        _create_empty(empty, virtual_size(disk))
        with target.open("wb") as box:
            box.write(head)
            box.write(bytes(BLOCK))
            with empty.open("rb") as stream:
                shutil.copyfileobj(stream, box)
    finally:
        empty.unlink(missing_ok=True)
    _convert(convert_command(disk, target, offset=offset), target, cancelled)
    length = target.stat().st_size - offset
    with target.open("r+b") as box:
        box.seek(len(head))
        box.write(_member(IMAGE_NAME, length).tobuf(tarfile.GNU_FORMAT))
        # A tar ends with two empty blocks, after the last member is filled up to a whole one.
        box.truncate(offset + -(-length // BLOCK) * BLOCK + 2 * BLOCK)
    return offset, length


def write_box(target: Path, *, image: Path, documents: Mapping[str, str]) -> tuple[int, int]:
    """Write a Vagrant box: a plain tar of small documents and, last, the image as it is.

    Not compressed: qcow2 leaves little to gain, and the image can be streamed out of it.

    Returns:
        Offset and length in bytes of box.img inside the tar.
    """
    length = image.stat().st_size
    head = _documents_tar(documents) + _member(IMAGE_NAME, length).tobuf(tarfile.GNU_FORMAT)
    with target.open("wb") as box, image.open("rb") as stream:
        box.write(head)
        shutil.copyfileobj(stream, box)
        box.write(bytes(-length % BLOCK + 2 * BLOCK))
    return len(head), length


def convert_command(disk: Path, target: Path, *, offset: int) -> tuple[str, ...]:
    """Return the command that compresses a disk into an empty qcow2 at an offset of a file.

    --target-is-zero came with QEMU 5.0, a raw driver with an offset long before.
    """
    # In this syntax a comma in a value is doubled.
    name = str(target).replace(",", ",,")
    file = f"file.driver=raw,file.offset={offset},file.file.driver=file,file.file.filename={name}"
    # The empty image is all zero: without --target-is-zero every hole would be written.
    how = ("-c", "-m", str(COROUTINES), "-W", "-n", "--target-is-zero")
    source = ("-f", "qcow2", str(disk))
    return ("qemu-img", "convert", *how, *source, "--target-image-opts", f"driver=qcow2,{file}")


def virtual_size(disk: Path) -> int:
    """Return the virtual size of an image in bytes."""
    asked = run(
        ["qemu-img", "info", "--output=json", "-f", "qcow2", str(disk)], timeout=QUERY_TIMEOUT
    )
    size = json.loads(asked.stdout)["virtual-size"]
    return int(size)


def _documents_tar(documents: Mapping[str, str]) -> bytes:
    parts = []
    for name, text in documents.items():
        content = text.encode()
        parts.append(_member(name, len(content)).tobuf(tarfile.GNU_FORMAT))
        parts.append(content + bytes(-len(content) % BLOCK))
    return b"".join(parts)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    # GNU_FORMAT alone can say that a member is 8 GiB or larger.
    member.size, member.mode = size, 0o644
    return member


def _create_empty(image: Path, size: int) -> None:
    """Create an empty qcow2 whose clusters will be compressed by the best this QEMU has.

    zstd needs QEMU 5.1 or newer, built with it, to write and to read: four times as fast as zlib
    and a little smaller. Boxes are built on the host that uses them, so a QEMU that cannot read
    zstd cannot have written it: that one refuses the option, and zlib is taken, the default.
    """
    create = ["qemu-img", "create", "-q", "-f", "qcow2"]
    wanted = [*create, "-o", "compression_type=zstd", str(image), str(size)]
    if run(wanted, timeout=QUERY_TIMEOUT, check=False).returncode != 0:
        run([*create, str(image), str(size)], timeout=QUERY_TIMEOUT)


def _convert(command: tuple[str, ...], target: Path, cancelled: Callable[[], bool] | None) -> None:
    try:
        run(command, timeout=CONVERT_TIMEOUT, cancelled=cancelled)
    except CommandError as exc:
        if not NO_SPACE.search("\n".join(exc.details)):
            raise
        msg = f"The disk that holds '{target.parent}' ran full while the box was being packed."
        hint = "Free some space, or set LABKIT_CACHE_DIR to another disk."
        raise HostError(msg, exc.details, hint) from exc
