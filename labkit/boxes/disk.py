"""Makes a BIOS-bootable disk image from a directory tree without root: ext4, MBR, GRUB, qcow2."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import HostError, OperationError
from labkit.host.packages import how_to_install
from labkit.host.process import environment, run

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTOR = 512
PARTITION_START = 2048  # sectors; 1 MiB is where every partitioning tool begins
BOOT_CODE_BYTES = 440  # then the disk signature and the partition table
PARTITION_ENTRY = 446
ACTIVE = 0x80
LINUX_TYPE = 0x83
GIB = 1024**3

TOOL_TIMEOUT = 300.0

GRUB_DIRECTORIES = (Path("/usr/lib/grub/i386-pc"), Path("/usr/share/grub2/i386-pc"))
GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "linux", "boot")
# Spelled out, because distributions' defaults differ and GRUB 2.06 cannot read all of them.
# No checksums over metadata: they cost a guest under TCG time and this disk is disposable.
MKE2FS_CONFIG = """\
[defaults]
base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
[fs_types]
ext4 = {
features = has_journal,extent,huge_file,flex_bg,64bit,dir_nlink,extra_isize
inode_size = 256
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootEntry:
    """What the boot loader starts.

    Attributes:
        kernel: Path inside the root file system.
        initrd: Likewise.
        arguments: The kernel command line, `root=` included.
    """

    kernel: str
    initrd: str
    arguments: tuple[str, ...]

    def grub_script(self) -> str:
        """Return GRUB's embedded configuration: no menu, no waiting, one entry."""
        return (
            "set root=(hd0,msdos1)\n"
            f"linux {self.kernel} {' '.join(self.arguments)}\n"
            f"initrd {self.initrd}\n"
            "boot\n"
        )


def master_boot_record(boot_image: bytes, *, sectors: int) -> bytes:
    """Return sector 0: GRUB's boot code and one active Linux partition.

    Args:
        boot_image: GRUB's boot.img, which loads core.img from sector 1 on.
        sectors: Size of the whole disk.
    """
    # CHS fields at their maximum say "use the LBA fields", which every BIOS since 1996 does.
    entry = struct.pack(
        "<B3sB3sII",
        ACTIVE,
        b"\xfe\xff\xff",
        LINUX_TYPE,
        b"\xfe\xff\xff",
        PARTITION_START,
        sectors - PARTITION_START,
    )
    code = boot_image[:BOOT_CODE_BYTES].ljust(PARTITION_ENTRY, b"\0")
    return code + entry + bytes(SECTOR - 2 - len(code) - len(entry)) + b"\x55\xaa"


def write_boot_loader(disk: Path, *, boot_image: bytes, core_image: bytes, sectors: int) -> None:
    """Write MBR and core.img in front of the partition of a raw disk.

    Raises:
        OperationError: core.img does not fit in front of the partition.
    """
    room = (PARTITION_START - 1) * SECTOR
    if len(core_image) > room:
        msg = f"GRUB's core image has {len(core_image)} bytes, and {room} bytes were expected."
        raise OperationError(msg)
    with disk.open("r+b") as stream:
        stream.write(master_boot_record(boot_image, sectors=sectors))
        stream.write(core_image)


def build_disk(
    tree_tar: Path,
    target: Path,
    *,
    gib: int,
    entry: BootEntry,
    root: bool,
) -> None:
    """Turn a root file system's tar into a bootable qcow2 disk.

    Everything is done beside `target`; nothing is mounted, so no privilege is needed: fakeroot
    remembers owners and device nodes between unpacking and `mke2fs -d`.

    Args:
        tree_tar: Tar of the root file system.
        target: The qcow2 file to write.
        gib: Virtual size of the disk.
        entry: What to boot.
        root: Whether this process is root; if not, fakeroot stands in.

    Raises:
        HostError: A tool is missing.
        CommandError: A tool failed.
    """
    work = target.parent
    tree, raw, config = work / "tree", work / "disk.raw", work / "mke2fs.conf"
    tree.mkdir()
    config.write_text(MKE2FS_CONFIG, encoding="utf-8")
    env = environment(MKE2FS_CONFIG=str(config))
    memory = work / "owners"
    save: list[str] = [] if root else ["fakeroot", "-s", str(memory), "--"]
    load: list[str] = [] if root else ["fakeroot", "-i", str(memory), "--"]
    unpack = ["tar", "--extract", "--numeric-owner", "--preserve-permissions"]
    _tool([*save, *unpack, "--file", str(tree_tar), "--directory", str(tree)], env)
    tree_tar.unlink()
    kib = gib * GIB // 1024 - PARTITION_START * SECTOR // 1024
    with raw.open("wb") as stream:
        stream.truncate(gib * GIB)
    extended = f"offset={PARTITION_START * SECTOR},lazy_itable_init=0,lazy_journal_init=0"
    make = ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-L", "labkit-root"]
    _tool([*load, *make, "-d", str(tree), "-E", extended, str(raw), f"{kib}k"], env)
    boot_image, core_image = _grub(work, entry, env)
    sectors = gib * GIB // SECTOR
    write_boot_loader(raw, boot_image=boot_image, core_image=core_image, sectors=sectors)
    _tool(["qemu-img", "convert", "-O", "qcow2", str(raw), str(target)], env)
    raw.unlink()


def _grub(work: Path, entry: BootEntry, env: dict[str, str]) -> tuple[bytes, bytes]:
    directory = next((d for d in GRUB_DIRECTORIES if (d / "boot.img").is_file()), None)
    if directory is None:
        msg = f"GRUB's BIOS files were expected in '{GRUB_DIRECTORIES[0]}' and are not there."
        raise HostError(msg, hint=how_to_install("grub-bios"))
    script, core = work / "grub.cfg", work / "core.img"
    script.write_text(entry.grub_script(), encoding="utf-8")
    # Fedora and its relatives call the same program grub2-mkimage.
    name = "grub-mkimage" if directory == GRUB_DIRECTORIES[0] else "grub2-mkimage"
    make = [name, "-O", "i386-pc", "-d", str(directory), "-p", "/boot/grub"]
    _tool([*make, "-c", str(script), "-o", str(core), *GRUB_MODULES], env)
    return (directory / "boot.img").read_bytes(), core.read_bytes()


def _tool(argv: Sequence[str], env: dict[str, str]) -> None:
    run(argv, timeout=TOOL_TIMEOUT, env=env)
