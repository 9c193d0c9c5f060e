"""Makes a stand-in for CentOS-7-x86_64-Minimal: the same layout, and an installer that only acts.

Kernel, static shell and drivers come out of the rehearsal box; `standin/init` is the installer.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pycdlib  # noqa: TID251 -- a boot record and hard links, which labkit itself never writes

from labkit.host.process import run
from tests.support.boxtree import box_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labkit.boxes.cache import CachedBox

LABEL = "CentOS 7 x86_64"
INIT = Path(__file__).with_name("standin") / "init"
PARTITION_BYTES = 2048 * 512  # where the rehearsal box's file system begins
WRITE_MIB = 8
FILLER = tuple(f"filler{number:02d}" for number in range(24))
TREEINFO = """\
[general]
name = CentOS-7
family = {family}
timestamp = 1525360800.0
variant =
version = 7
packagedir =
arch = x86_64

[stage2]
mainimage = LiveOS/squashfs.img

[images-x86_64]
kernel = images/pxeboot/vmlinuz
initrd = images/pxeboot/initrd.img
boot.iso = images/boot.iso
"""


class Failure(StrEnum):
    """How the installation goes."""

    NONE = "ok"
    NO_KICKSTART = "no-kickstart"
    MISSING_PACKAGE = "missing-package"
    POST_ERROR = "post-error"
    HANG = "hang"
    PANIC = "panic"
    POWEROFF_WITHOUT_OK = "poweroff-without-ok"
    REBOOT = "reboot"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFiles:
    """The installer's kernel and initial RAM disk, without the stand-in's init."""

    kernel: bytes
    initrd: bytes


def boot_files(box: CachedBox, cache: Path) -> BootFiles:
    """Take kernel and initrd out of the rehearsal box's disk; kept in the cache by its key."""
    kept = cache / "stand-in" / box.key[:16]
    names = ("vmlinuz", "initrd.img")
    if not all((kept / name).is_file() for name in names):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=kept.parent, prefix=".making-") as scratch:
            _dump(box, Path(scratch))
            made = Path(scratch, "made")
            made.mkdir()
            for name in names:
                Path(scratch, name).rename(made / name)
            if not kept.exists():
                made.rename(kept)
    kernel, initrd = ((kept / name).read_bytes() for name in names)
    return BootFiles(kernel=kernel, initrd=initrd)


def _dump(box: CachedBox, scratch: Path) -> None:
    raw = scratch / "disk.raw"
    run(["qemu-img", "convert", "-O", "raw", box_image(box), raw], timeout=120)
    for name in ("vmlinuz", "initrd.img"):
        target = run(
            ["debugfs", "-R", f"stat /{name}", f"{raw}?offset={PARTITION_BYTES}"], timeout=30
        ).stdout
        # /vmlinuz and /initrd.img are links, and debugfs does not follow them.
        link = target.partition("Fast link dest: ")[2].partition("\n")[0].strip('" ')
        command = f"dump /{link or 'boot/' + name} {scratch / name}"
        run(["debugfs", "-R", command, f"{raw}?offset={PARTITION_BYTES}"], timeout=30)
        assert (scratch / name).stat().st_size > 0, f"the rehearsal box has no /{link}"


def cpio(files: Mapping[str, bytes]) -> bytes:
    """Return a newc archive of executable files; the kernel unpacks several, one after the other."""
    archive = bytearray()
    for number, (name, content) in enumerate([*files.items(), ("TRAILER!!!", b"")], start=1):
        mode = 0o100755 if content else 0
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % value for value in fields)
        archive += name.encode() + b"\0"
        archive += bytes(-len(archive) % 4)
        archive += content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def make(
    target: Path,
    *,
    boot: BootFiles,
    packages: Sequence[str],
    failure: Failure = Failure.NONE,
    label: str = LABEL,
    family: str = "CentOS",
    write_mib: int = WRITE_MIB,
    log_kib: int = 0,
    stage2_bytes: int = 64 * 1024,
) -> None:
    """Write a stand-in ISO.

    Args:
        target: The file to write.
        boot: From `boot_files`.
        packages: Names the ISO is to have as RPMs, besides some fillers.
        failure: How an installation from it goes.
        label: Volume label.
        family: What `.treeinfo` says it is of.
        write_mib: MiB an installation writes to the disk.
        log_kib: KiB it logs besides.
        stage2_bytes: Size of the image anaconda would live in; makes the ISO as large as wanted.
    """
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, sys_ident="LINUX", vol_ident=label, joliet=3, rock_ridge="1.09")
    rpms = sorted({*packages, *FILLER})
    config = [f"failure={failure.value}", f"write_mib={write_mib}", f"log_kib={log_kib}"]
    config += [f"package={name}-1.0-1.el7.x86_64" for name in rpms]
    for directory in ("images", "images/pxeboot", "isolinux", "LiveOS", "Packages", "repodata"):
        iso.add_directory(
            iso_path=f"/{directory.upper()}",
            rr_name=directory.rpartition("/")[2],
            joliet_path=f"/{directory}",
        )
    contents = {
        ".discinfo": b"1525360800.0\n7.5\nx86_64\n1\n",
        ".treeinfo": TREEINFO.format(family=family).encode(),
        "standin.cfg": ("\n".join(config) + "\n").encode(),
        "images/pxeboot/vmlinuz": boot.kernel,
        "images/pxeboot/initrd.img": _initrd(boot),
        "isolinux/isolinux.bin": b"a stand-in, boots nothing".ljust(2048, b"\0"),
        "isolinux/isolinux.cfg": b"# a stand-in\n",
        "repodata/repomd.xml": b"<repomd/>\n",
        **{f"Packages/{name}-1.0-1.el7.x86_64.rpm": b"a stand-in\n" for name in rpms},
    }
    plain: dict[str, str] = {}
    for path, content in contents.items():
        _add(iso, plain, path, io.BytesIO(content))
    with TemporaryDirectory(dir=target.parent, prefix=".stage2-") as scratch:
        sparse = Path(scratch, "squashfs.img")
        with sparse.open("w+b") as stage2:
            stage2.truncate(stage2_bytes)
            _add(iso, plain, "LiveOS/squashfs.img", stage2)
            for name, short in (("vmlinuz", "VMLINUZ.;1"), ("initrd.img", "INITRD.IMG;1")):
                iso.add_hard_link(
                    iso_old_path=plain[f"images/pxeboot/{name}"],
                    iso_new_path=f"/ISOLINUX/{short}",
                    rr_name=name,
                )
            iso.add_eltorito(
                plain["isolinux/isolinux.bin"],
                bootcatfile="/ISOLINUX/BOOT.CAT;1",
                rr_bootcatname="boot.cat",
                joliet_bootcatfile="/isolinux/boot.cat",
                boot_info_table=True,
            )
            iso.write(str(target))
    iso.close()


def _initrd(boot: BootFiles) -> bytes:
    # Each archive begins at a multiple of four; a later file replaces an earlier one.
    return boot.initrd + bytes(-len(boot.initrd) % 4) + cpio({"init": INIT.read_bytes()})


def _add(
    iso: pycdlib.PyCdlib,
    plain: dict[str, str],
    path: str,
    content: io.BufferedRandom | io.BytesIO,
) -> None:
    directory, _, name = path.rpartition("/")
    parent = f"/{directory.upper()}" if directory else ""
    plain[path] = f"{parent}/F{len(plain):05d}.;1"
    length = content.seek(0, io.SEEK_END)
    content.seek(0)
    iso.add_fp(
        content,
        length,
        iso_path=plain[path],
        rr_name=name,
        joliet_path=f"/{path}",
        file_mode=0o100644,
    )
