"""Builds a box from its definition and publishes it in the cache, whole or not at all."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import tarfile
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from labkit import __version__
from labkit.boxes import centos, image, wheels
from labkit.boxes.cache import (
    BOX_FILE,
    PROVENANCE,
    CachedBox,
    Provenance,
    build_lock,
    cache_directory,
    cached,
)
from labkit.boxes.definition import BUILDER_VERSION, key_inputs
from labkit.boxes.disk import GIB, BootEntry, build_disk
from labkit.boxes.file import DebianBoxFile, ImageBoxFile, KickstartBoxFile
from labkit.boxes.pack import MAKE_ROOM, NO_SPACE, Packed, box_documents, disk_full, write_box
from labkit.errors import CommandError, HostError, OperationError, UsageError
from labkit.host.files import file_sha256, flush
from labkit.host.mounts import remove_tree
from labkit.host.process import environment, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labkit.boxes.centos import Installer
    from labkit.boxes.definition import BoxDefinition

# Packages, the unpacked tree twice, the raw disk and the box: seen to peak at 2.6 GiB.
SPACE_NEEDED = 4 * GIB
DOWNLOAD_TIMEOUT = 1800.0
MIRROR_VARIABLE = "LABKIT_DEBIAN_MIRROR"
STAGING = "labkit-build"  # directory in the guest's root that exists during the build alone
TAIL_LINES = 15
CACHE_MARK = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by labkit; may be deleted.\n"
ROOT_DEVICE = "root=/dev/vda1"

UNREACHABLE = re.compile(
    r"could not resolve|temporary failure resolving|could not connect|unable to connect"
    r"|connection (timed out|refused|failed)|network is unreachable|failed to fetch|no route to host",
    re.IGNORECASE,
)


def build(
    definition: BoxDefinition,
    cache: Path,
    progress: Callable[[str], None],
    *,
    own_iso: Path | None = None,
    cancelled: Callable[[], bool] | None = None,
    installer: Installer | None = None,
) -> CachedBox:
    """Return the box from the cache, built first when the cache has not got it.

    Of two builds at once the second waits and takes what the first made. A build that fails or
    is killed publishes nothing; what it leaves aside is removed by the next one.

    Args:
        definition: What to build.
        cache: labkit's cache directory.
        progress: Told what happens, one short line each.
        own_iso: The installation ISO, for a box that is made from one; LABKIT_ISO or a download
            when not given.
        cancelled: Asked now and then; True gives the build up.
        installer: What installs a kickstart box to its disk; anaconda under libvirt when not given.

    Raises:
        UsageError: `own_iso` is not the ISO the box is made from.
        LabFileError: The image that box.yaml names is missing, or none to make a box from.
        HostError: A tool is missing, the packages cannot be fetched, or space is short.
        CommandError: A step of the build failed.
    """
    if own_iso is not None and not isinstance(definition.file, KickstartBoxFile):
        msg = f"The box '{definition.name}' is not made from an ISO."
        raise UsageError(msg, hint="Leave --iso out.")
    known = cached(definition, cache)
    if known is not None:
        progress(f"box '{definition.name}' is cached")
        return known
    with build_lock(definition.name, cache, progress=progress, cancelled=cancelled):
        found = cached(definition, cache)
        if found is not None:
            return found
        make = partial(
            _make,
            definition,
            cache=cache,
            own_iso=own_iso,
            progress=progress,
            cancelled=cancelled,
            installer=installer,
        )
        return _build_locked(definition, cache, progress, make)


def overlay_tar(sources: Mapping[str, bytes], target: Path) -> None:
    """Write the files a box adds to its packages, as a tar to unpack over the guest's root.

    Owners and modes are set here and not taken from the checkout, which may be anybody's.

    Args:
        sources: The files by their path in the build, as `BoxDefinition.sources` has them.
        target: The tar to write.
    """
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        made: set[str] = set()
        for path, content in sorted(sources.items()):
            place = guest_path(path)
            for parent in list(Path(place).parents)[-2::-1]:
                if str(parent) not in made:
                    made.add(str(parent))
                    directory = tarfile.TarInfo(str(parent))
                    directory.type, directory.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(directory)
            member = tarfile.TarInfo(place)
            member.size = len(content)
            member.mode = 0o755 if content.startswith(b"#!") else 0o644
            archive.addfile(member, io.BytesIO(content))


def guest_path(source: str) -> str:
    """Return where a source file of a box goes, relative to the guest's root."""
    if source.startswith("rootfs/"):
        # lib and sbin are links into usr; a tar directory of that name would replace the link.
        return source.removeprefix("rootfs/")
    if source == "firstboot/labkit-firstboot":
        return "usr/sbin/labkit-firstboot"
    if source == "firstboot/labkit-firstboot.service":
        return "etc/systemd/system/labkit-firstboot.service"
    return f"{STAGING}/{source}"


def mmdebstrap_command(
    file: DebianBoxFile,
    sources: Mapping[str, bytes],
    *,
    overlay: Path,
    target: Path,
    mirror: str | None,
) -> list[str]:
    """Return the command that makes the guest's root file system as a tar."""
    paths = [
        *(f"path-exclude={path}" for trim in file.trims.values() for path in trim.exclude_paths),
        *(f"path-include={path}" for trim in file.trims.values() for path in trim.include_paths),
    ]
    scripts = [name for name in file.trims if f"trims/{name}" in sources]
    customize = shlex.join(["bash", f"/{STAGING}/customize", *scripts])
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join((*file.packages, *file.more_packages))}",
        *(f"--dpkgopt={path}" for path in paths),
        f"--customize-hook=tar-in {shlex.quote(str(overlay))} /",
        f'--customize-hook=chroot "$1" {customize}',
        f'--customize-hook=rm -rf "$1/{STAGING}"',
        file.suite,
        str(target),
        *([mirror] if mirror else []),
    ]


def kernel_arguments(file: DebianBoxFile) -> tuple[str, ...]:
    """Return the guest's kernel command line."""
    extra = [argument for trim in file.trims.values() for argument in trim.kernel_args]
    return (ROOT_DEVICE, *file.kernel_args, *extra)


def explain_failure(name: str, log: str, error: CommandError) -> HostError | CommandError:
    """Return the error for a root file system that could not be made, by what its log says."""
    tail = tuple(log.strip().splitlines()[-TAIL_LINES:])
    if NO_SPACE.search(log):
        return disk_full(name, tail)
    if UNREACHABLE.search(log):
        msg = f"The packages of the box '{name}' could not be downloaded."
        hint = (
            f"Check the network and the proxy settings of this host, or set {MIRROR_VARIABLE} "
            "to the URL of a Debian mirror that it can reach."
        )
        return HostError(msg, tail, hint)
    return CommandError(
        f"Building the box '{name}' failed: {error.message}", tail or error.details
    )


def check_space(directory: Path, name: str, *, needed: int = SPACE_NEEDED) -> None:
    """Check that the directory's disk has room for a build of `needed` bytes.

    Raises:
        HostError: It has not.
    """
    free = shutil.disk_usage(directory).free
    if free < needed:
        msg = (
            f"Building the box '{name}' needs {needed / GIB:.0f} GiB in '{directory}', "
            f"and {free / GIB:.1f} GiB are free."
        )
        raise HostError(msg, hint=MAKE_ROOM)


def _build_locked(
    definition: BoxDefinition,
    cache: Path,
    progress: Callable[[str], None],
    make: Callable[[Path], Packed],
) -> CachedBox:
    final = cache_directory(definition, cache)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        mark = cache / "CACHEDIR.TAG"
        if not mark.exists():
            mark.write_text(CACHE_MARK, encoding="ascii")
        remove_leftovers(final.parent)
        check_space(final.parent, definition.name)
        work = final.parent / f".building-{os.getpid()}"
        work.mkdir()
        try:
            parts = work / "publish"
            parts.mkdir()
            packed = make(work)
            _write_published(definition, parts, packed)
            _publish(parts, final)
        except BaseException:
            # What it leaves is removed by the next build; why it failed must not be lost to that.
            with suppress(OSError, HostError):
                remove_tree(work)
            raise
        remove_tree(work)
    except OSError as exc:
        msg = f"The box '{definition.name}' could not be written to '{final}': {exc.strerror}."
        hint = "Free some space, or set LABKIT_CACHE_DIR to a directory of yours."
        raise HostError(msg, hint=hint) from exc
    found = cached(definition, cache)
    if found is None:
        msg = f"The box '{definition.name}' was built, and '{final}' cannot be read back."
        raise OperationError(msg, hint=f"Run 'labkit box build {definition.name}' again.")
    progress(f"box '{definition.name}' is built")
    return found


def _make(
    definition: BoxDefinition,
    work: Path,
    *,
    cache: Path,
    own_iso: Path | None,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None,
    installer: Installer | None,
) -> Packed:
    """Make the box by the way its box.yaml names, and write it to `publish` in `work`."""
    file, target = definition.file, work / "publish" / BOX_FILE
    if isinstance(file, DebianBoxFile):
        return _debian(definition, file, work, target, progress, cancelled=cancelled)
    if isinstance(file, ImageBoxFile):
        return image.make(
            definition, file, work, target, cache=cache, progress=progress, cancelled=cancelled
        )
    return centos.make(
        definition,
        file,
        target,
        cache=cache,
        own_iso=own_iso,
        progress=progress,
        cancelled=cancelled,
        installer=installer,
    )


def _debian(
    definition: BoxDefinition,
    file: DebianBoxFile,
    work: Path,
    target: Path,
    progress: Callable[[str], None],
    *,
    cancelled: Callable[[], bool] | None,
) -> Packed:
    overlay, tree, image = work / "overlay.tar", work / "tree.tar", work / "box.img"
    sources = definition.sources
    if file.wheels is not None:
        progress("fetching Python packages")
        pinned = sources[file.wheels]
        fetched = wheels.fetch(definition.name, pinned, work / "pip", cancelled=cancelled)
        sources = {**sources, **{f"wheels/{name}": wheel for name, wheel in fetched.items()}}
    overlay_tar(sources, overlay)
    progress("fetching and unpacking packages, about a minute")
    _make_tree(definition, file, work, overlay=overlay, tree=tree, cancelled=cancelled)
    progress("making the disk image")
    arguments = kernel_arguments(file)
    entry = BootEntry(kernel="/boot/vmlinuz", initrd="/boot/initrd.img", arguments=arguments)
    build_disk(tree, image, gib=file.disk_gib, entry=entry, root=os.geteuid() == 0)
    progress("writing the box")
    offset, length = write_box(target, image=image, documents=box_documents(definition))
    image.unlink()
    return Packed(image_offset=offset, image_length=length)


def _make_tree(
    definition: BoxDefinition,
    file: DebianBoxFile,
    work: Path,
    *,
    overlay: Path,
    tree: Path,
    cancelled: Callable[[], bool] | None,
) -> None:
    """Let mmdebstrap make the guest's root file system as a tar."""
    log = work / "build.log"
    env = environment()
    if os.geteuid() == 0:
        # Without root mmdebstrap works as another user, who cannot enter our directory.
        env["TMPDIR"] = str(work)
    mirror = os.environ.get(MIRROR_VARIABLE)
    command = mmdebstrap_command(
        file, definition.sources, overlay=overlay, target=tree, mirror=mirror
    )
    try:
        run(command, timeout=DOWNLOAD_TIMEOUT, env=env, output=log, cancelled=cancelled)
    except CommandError as exc:
        if cancelled is not None and cancelled():
            raise
        text = log.read_text(encoding="utf-8", errors="replace")
        raise explain_failure(definition.name, text, exc) from exc


def _write_published(definition: BoxDefinition, parts: Path, packed: Packed) -> None:
    box_file = parts / BOX_FILE
    provenance = Provenance(
        box=definition.name,
        key=definition.key,
        builder_version=BUILDER_VERSION,
        sha256=file_sha256(box_file),
        size=box_file.stat().st_size,
        virtual_size_gib=definition.file.disk_gib,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        labkit_version=__version__,
        inputs=dict(key_inputs(definition)),
        **asdict(packed),
    )
    text = provenance.model_dump_json(indent=2) + "\n"
    (parts / PROVENANCE).write_text(text, encoding="utf-8")


def _publish(parts: Path, final: Path) -> None:
    for path in (*parts.iterdir(), parts):
        flush(path)
    if final.exists():
        # Not whole, else it would have been used: somebody changed it by hand.
        remove_tree(final)
    parts.rename(final)
    flush(final.parent)


def remove_leftovers(directory: Path) -> None:
    """Remove what killed builds of a box left; only for the holder of its lock.

    Raises:
        HostError: Something is still mounted in it.
    """
    for path in directory.glob(".building-*"):
        remove_tree(path)
