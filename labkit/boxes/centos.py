"""Makes a box from an installation ISO: find the ISO, install by kickstart, pack the disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from labkit import __version__
from labkit.boxes.anaconda.domain import install_domain_xml
from labkit.boxes.anaconda.install import InstallJob, install
from labkit.boxes.anaconda.log import LogSource
from labkit.boxes.anaconda.watch import LOGS
from labkit.boxes.definition import BUILDER_VERSION, KICKSTART, known_boxes
from labkit.boxes.file import KickstartBoxFile
from labkit.boxes.pack import Packed, box_documents, package
from labkit.errors import HostError, UsageError
from labkit.host import download, kvm
from labkit.host.files import cache_root, file_sha256, utf8
from labkit.host.libvirt.connection import connect

if TYPE_CHECKING:
    from typing import Literal

    from labkit.boxes.definition import BoxDefinition

ISO_VARIABLE = "LABKIT_ISO"
# Beside the builds of the box, so that 'box remove' frees it; holds the last build's logs.
INSTALL_DIRECTORY = "install"
PACKAGE_LINE = "PACKAGE "


# Leaves an installed system on the job's disk; `labkit.boxes.anaconda.install.install` is the one.
Installer = Callable[[InstallJob, Callable[[str], None], Callable[[], bool] | None], None]


def make(
    definition: BoxDefinition,
    file: KickstartBoxFile,
    target: Path,
    *,
    cache: Path,
    own_iso: Path | None,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
    installer: Installer | None = None,
) -> Packed:
    """Install the box and write it to `target`; only for the holder of the box's lock.

    The logs stay in `boxes/<name>/install/logs` of the cache until the next build; the rest of
    what the installation needed is removed however it ends.

    Raises:
        UsageError: The user's ISO is missing or another file.
        HostError: No source has the ISO, libvirtd does not answer, or space is short.
        OperationError: The ISO is not as the box expects, or the installation failed.
    """
    image = find_iso(file, cache=cache, own_iso=own_iso, progress=progress, cancelled=cancelled)
    work = cache / "boxes" / definition.name / INSTALL_DIRECTORY
    # A killed build may have left a whole disk here.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    job = InstallJob(
        name=definition.name,
        box=file,
        iso=image,
        work=work,
        kickstart=definition.sources[KICKSTART].decode(),
        # Finding out asks libvirt and runs a guest, which another installer may do without.
        domain_type=domain_type(cache) if installer is None else "qemu",
    )
    try:
        (installer or install)(job, progress, cancelled)
        told = (job.logs / LOGS[LogSource.RESULT]).read_text(encoding="utf-8", errors="replace")
        packages = packages_told(told)
        for line in unexpected_versions(file, packages):
            progress(line)
        progress("compressing the disk into the box")
        documents = box_documents(definition)
        documents["provenance.json"] = provenance_text(definition, file, packages)
        offset, length = package(job.disk, target, documents=documents, cancelled=cancelled)
    finally:
        _keep_logs_only(job)
    return Packed(
        image_offset=offset,
        image_length=length,
        iso_sha256=file.iso.sha256,
        kickstart_sha256=_kickstart_sha256(definition),
        packages=packages,
    )


def find_iso(
    file: KickstartBoxFile,
    *,
    cache: Path,
    own_iso: Path | None,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Return the box's ISO, its checksum verified: the user's own, or the downloaded one.

    Raises:
        UsageError: The user's is missing or another file.
        HostError: There is none of the user's, and no source has it or can be reached.
    """
    wanted = wanted_iso(file)
    own = own_iso
    if own is None and os.environ.get(ISO_VARIABLE):
        own = Path(os.environ[ISO_VARIABLE])
    if own is not None:
        progress(f"checking the ISO '{own}'")
        return own_copy(own, wanted)
    return download.fetch(wanted, cache=cache, progress=progress, cancelled=cancelled)


def own_copy(path: Path, wanted: download.Wanted) -> Path:
    """Check that a file of the user's is the wanted one and return its absolute path.

    Raises:
        UsageError: It is missing or another file, or its path is no UTF-8.
        HostError: It cannot be read.
    """
    path = utf8(path.absolute())
    hint = f"Give the file '{wanted.name}' with the sha256 {wanted.sha256}."
    try:
        size = path.stat().st_size
        if not path.is_file():
            msg = f"'{path}' was expected to be an ISO file and is none."
            raise UsageError(msg, hint=hint)
        other = _other_box(path.name, size, wanted)
        if other:
            hint = f"It looks like the ISO of the box '{other}'; build that one. {hint}"
        if size != wanted.size:
            how = "is cut short" if not other and size < wanted.size else "is another file"
            msg = (
                f"The ISO '{path}' {how}: '{wanted.name}' was expected to have {wanted.size} bytes, "
                f"and it has {size}."
            )
            raise UsageError(msg, hint=hint)
        found = file_sha256(path)
    except FileNotFoundError as exc:
        msg = f"The ISO '{path}' does not exist."
        raise UsageError(msg, hint=f"Give the path of '{wanted.name}' with --iso.") from exc
    except OSError as exc:
        msg = f"The ISO '{path}' cannot be read: {exc.strerror}."
        raise HostError(msg, hint="Copy it to a file of yours, and name that by --iso.") from exc
    if found != wanted.sha256:
        msg = (
            f"The ISO '{path}' is another file: the sha256 {wanted.sha256} was expected, "
            f"and it has {found}."
        )
        raise UsageError(msg, hint=hint)
    return path


def _other_box(name: str, size: int, wanted: download.Wanted) -> str:
    """Return the box that an ISO of this name or size belongs to, if it is another one's."""
    isos = {b.name: b.file.iso for b in known_boxes() if isinstance(b.file, KickstartBoxFile)}
    others = {box: iso for box, iso in isos.items() if iso.sha256 != wanted.sha256}
    by_size = (box for box, iso in others.items() if iso.size == size != wanted.size)
    by_name = (box for box, iso in others.items() if iso.name == name)
    return next(by_size, next(by_name, ""))


def wanted_iso(file: KickstartBoxFile) -> download.Wanted:
    """Return the ISO of a box as something to fetch."""
    iso = file.iso
    return download.Wanted(name=iso.name, size=iso.size, sha256=iso.sha256, sources=iso.sources)


def downloaded_iso(definition: BoxDefinition, cache: Path) -> Path | None:
    """Return the downloaded ISO of a box; None when there is none or the box needs none."""
    if not isinstance(definition.file, KickstartBoxFile):
        return None
    path = download.cached_path(wanted_iso(definition.file), cache)
    return path if path.is_file() else None


def packages_told(result_log: str) -> tuple[str, ...]:
    """Return the packages the installed guest named on its result port, sorted."""
    lines = (line.strip() for line in result_log.splitlines())
    return tuple(sorted(x.removeprefix(PACKAGE_LINE) for x in lines if x.startswith(PACKAGE_LINE)))


def unexpected_versions(file: KickstartBoxFile, packages: tuple[str, ...]) -> tuple[str, ...]:
    """Return one sentence for each package whose version box.yaml expects to be another."""
    lines = []
    for name, version in file.guest.items():
        if any(item.startswith(f"{name}-{version}.") for item in packages):
            continue
        # A name that goes on after the dash is another package: openssh-server-... of openssh.
        found = [item for item in packages if re.fullmatch(f"{re.escape(name)}-[^-]+-[^-]+", item)]
        lines.append(
            f"the guest was expected to have {name}-{version} and has {', '.join(found) or 'none'}"
        )
    return tuple(lines)


def provenance_text(
    definition: BoxDefinition, file: KickstartBoxFile, packages: tuple[str, ...]
) -> str:
    """Return what is kept inside the box about where it came from, as JSON."""
    known = {
        "box": definition.name,
        "key": definition.key,
        "builder_version": BUILDER_VERSION,
        "labkit_version": __version__,
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "iso": file.iso.name,
        "iso_sha256": file.iso.sha256,
        "kickstart_sha256": _kickstart_sha256(definition),
        "packages": packages,
    }
    return json.dumps(known, indent=2) + "\n"


def domain_type(cache: Path) -> Literal["kvm", "qemu"]:
    """Return how the installing machine runs: KVM where libvirt offers it and a guest ran."""
    with connect() as host:
        offered = host.offers_kvm()
    return "kvm" if offered and kvm.probe(cache=cache).usable else "qemu"


def render(definition: BoxDefinition, directory: Path) -> tuple[str, ...]:
    """Write what a build would install from into an empty directory; return the files' names.

    The domain is rendered for emulation, because probing for KVM starts a guest, and with the
    ISO's expected label, because the ISO need not be there.

    Raises:
        UsageError: The box is made without a kickstart, or the directory cannot be used.
    """
    file = definition.file
    if not isinstance(file, KickstartBoxFile):
        msg = f"The box '{definition.name}' is made by {file.builder}, without a kickstart."
        raise UsageError(msg, hint="'labkit box list' shows all boxes.")
    cache = cache_root()
    job = InstallJob(
        name=definition.name,
        box=file,
        iso=download.cached_path(wanted_iso(file), cache),
        work=cache / "boxes" / definition.name / INSTALL_DIRECTORY,
        kickstart=definition.sources[KICKSTART].decode(),
        domain_type="qemu",
    )
    # A build takes a name and a UUID of its own every time.
    name, identity = f"labkit-build-{definition.name}", uuid.UUID(definition.key[:32])
    domain = job.domain(file.iso.label, name=name, identity=identity)
    texts = {
        "ks.cfg": job.kickstart,
        "domain.xml": install_domain_xml(domain),
        "cmdline.txt": f"{domain.cmdline}\n",
    }
    try:
        if directory.exists() and any(directory.iterdir()):
            msg = f"'{directory}' is not empty; rendered files need a directory of their own."
            raise UsageError(msg)
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as exc:
        msg = f"The files cannot be written to '{directory}': {exc.strerror}."
        raise UsageError(msg, hint="Name a directory of yours.") from exc
    return tuple(texts)


def _kickstart_sha256(definition: BoxDefinition) -> str:
    return hashlib.sha256(definition.sources[KICKSTART]).hexdigest()


def _keep_logs_only(job: InstallJob) -> None:
    # What cannot be removed now is by the next build; why this one failed must not be lost to it.
    with suppress(OSError):
        for path in job.work.iterdir():
            if path != job.logs:
                path.unlink()
