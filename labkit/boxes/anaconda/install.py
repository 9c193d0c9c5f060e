"""Runs an unattended installation from an ISO in a domain of its own."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from labkit.boxes.anaconda.domain import InstallDomain, install_domain_xml
from labkit.boxes.anaconda.log import LogSource
from labkit.boxes.anaconda.watch import LOGS, Patience, Watch
from labkit.boxes.kickstart import KICKSTART_PATH, kernel_line, missing_packages
from labkit.errors import HostError, OperationError
from labkit.host import iso
from labkit.host.libvirt.connection import connect
from labkit.host.process import run
from labkit.waiting import Deadline, WaitTimeout, stretched, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal
    from uuid import UUID

    from labkit.boxes.file import KickstartBoxFile
    from labkit.host.libvirt.connection import Hypervisor

KICKSTART_LABEL = "LABKIT-KS"
DISK = "disk.qcow2"
# After a failure anaconda takes 10 s to leave, and the kickstart's %onerror says why by then.
LAST_WORDS_SECONDS = 15.0
TOOL_SECONDS = 60.0

_MARK = re.compile(r"labkit builds a box: process (\d+), started at tick (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallJob:
    """One installation.

    Attributes:
        name: The box's name.
        box: Its description.
        iso: The installation image, its checksum already verified.
        work: A private directory; everything written goes below it.
        kickstart: The rendered kickstart.
        domain_type: `kvm`, or `qemu` for emulation, which stretches both times.
        last_words: Seconds a failed installer is given to say more before it is powered off.
    """

    name: str
    box: KickstartBoxFile
    iso: Path
    work: Path
    kickstart: str
    domain_type: Literal["kvm", "qemu"]
    last_words: float = LAST_WORDS_SECONDS

    @property
    def disk(self) -> Path:
        """Return the disk that is installed to, a qcow2 image."""
        return self.work / DISK

    @property
    def logs(self) -> Path:
        """Return the directory of all logs, the domain's XML and the kickstart."""
        return self.work / "logs"

    def domain(
        self, label: str, *, name: str, identity: UUID, description: str = ""
    ) -> InstallDomain:
        """Return the machine that installs.

        Args:
            label: Volume label of the installation ISO.
            name: Its name in libvirt.
            identity: Its UUID.
            description: What libvirt keeps with it.

        Raises:
            OperationError: The label cannot be written on a kernel command line.
        """
        return InstallDomain(
            name=name,
            uuid=identity,
            domain_type=self.domain_type,
            cpus=self.box.cpus,
            memory_mib=self.box.memory_mib,
            disk=self.disk,
            iso=self.iso,
            kickstart_iso=self.work / "kickstart.iso",
            kernel=self.work / "vmlinuz",
            initrd=self.work / "initrd.img",
            cmdline=kernel_line(stage2_label=label, kickstart_label=KICKSTART_LABEL),
            serial_log=self.logs / LOGS[LogSource.SERIAL],
            anaconda_log=self.logs / LOGS[LogSource.LOG],
            result_log=self.logs / LOGS[LogSource.RESULT],
            description=description,
        )


def install(
    job: InstallJob,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Install to `job.disk` and return when the machine is off and reported success.

    Whatever happens, the domain is off and unknown to libvirt afterwards: it is transient and
    bound to this connection, so not even a killed labkit leaves it. The logs stay.

    Args:
        job: What to install, from what and where.
        progress: Told what happens, one short line each, only when it changes.
        cancelled: Asked several times a second; True gives the installation up.

    Raises:
        HostError: libvirtd does not answer, QEMU cannot reach the files, a tool is missing.
        OperationError: The ISO is not what the box expects, or the installation failed; the
            details have the last lines of every log.
        WaitCancelled: `cancelled` said so.
    """
    progress("reading the ISO")
    job.logs.mkdir(parents=True, exist_ok=True)
    domain = prepare(job)
    xml = install_domain_xml(domain)
    (job.logs / "domain.xml").write_text(xml, encoding="utf-8")
    with connect() as host:
        remove_leftovers(host, progress)
        progress("starting the installation")
        _start(host, xml, job)
        try:
            _follow(host, job, domain.uuid, progress=progress, cancelled=cancelled)
        finally:
            host.power_off(domain.uuid)


def prepare(job: InstallJob) -> InstallDomain:
    """Write everything the domain needs below `job.work` and return its description.

    Raises:
        OperationError: The ISO is not what the box expects.
    """
    identity = uuid.uuid4()
    name = f"labkit-build-{job.name}-{identity.hex[:8]}"
    with iso.opened(job.iso) as image:
        kernel, initrd = check_iso(image, job)
        mark = owner_mark(os.getpid())
        domain = job.domain(image.label(), name=name, identity=identity, description=mark)
        image.extract(kernel, domain.kernel)
        image.extract(initrd, domain.initrd)
    text = job.kickstart.encode()
    (job.logs / KICKSTART_PATH).write_bytes(text)
    file = iso.IsoFile(path=PurePosixPath("/", KICKSTART_PATH), content=text, mode=0o644)
    iso.write(domain.kickstart_iso, KICKSTART_LABEL, [file])
    size = f"{job.box.disk_gib}G"
    run(["qemu-img", "create", "-q", "-f", "qcow2", job.disk, size], timeout=TOOL_SECONDS)
    for log in LOGS.values():
        # Made here and appended to by libvirt, they belong to this user, who has to read them.
        (job.logs / log).write_bytes(b"")
    return domain


def check_iso(image: iso.Image, job: InstallJob) -> tuple[PurePosixPath, PurePosixPath]:
    """Check that an ISO is the one the box wants; return where its kernel and initrd are.

    Raises:
        OperationError: It has another label, is of another system, or lacks packages.
    """
    box = job.box
    if image.label() != box.iso.label:
        msg = (
            f"The ISO '{job.iso}' was expected to have the label '{box.iso.label}' and has "
            f"'{image.label()}'."
        )
        raise OperationError(msg, hint=f"The box '{job.name}' is made from '{box.iso.name}'.")
    tree = configparser.ConfigParser(interpolation=None)
    try:
        tree.read_string(image.read(PurePosixPath("/.treeinfo")).decode("utf-8", "replace"))
        found = tuple(tree["general"][key] for key in ("family", "version", "arch"))
        paths = tuple(tree["images-x86_64"][key] for key in ("kernel", "initrd"))
    except (configparser.Error, KeyError) as exc:
        msg = f"The '.treeinfo' of the ISO '{job.iso}' was expected to name kernel and initrd."
        raise OperationError(msg, details=(f"missing: {exc}",)) from exc
    expected = ("CentOS", box.kickstart_version.removeprefix("RHEL"), "x86_64")
    if found != expected:
        msg = (
            f"The ISO '{job.iso}' was expected to be of {' '.join(expected)} and is of "
            f"{' '.join(found)}."
        )
        raise OperationError(msg, hint=f"The box '{job.name}' is made from '{box.iso.name}'.")
    missing = missing_packages(box, image.names(PurePosixPath("/Packages")))
    if missing:
        msg = f"The ISO '{job.iso}' lacks {len(missing)} package(s) of the box '{job.name}'."
        hint = "Name only packages of the ISO under 'packages' in the box.yaml."
        raise OperationError(msg, details=missing, hint=hint)
    return PurePosixPath("/", paths[0]), PurePosixPath("/", paths[1])


def owner_mark(pid: int) -> str:
    """Return the text in a domain's description that says which process it belongs to."""
    return f"labkit builds a box: process {pid}, started at tick {_start_tick(pid)}"


def remove_leftovers(host: Hypervisor, progress: Callable[[str], None]) -> None:
    """Power off and undefine the domains of builds whose labkit is gone.

    libvirt does that by itself unless libvirtd was restarted meanwhile.
    """
    for domain in host.domains():
        mark = _MARK.search(domain.description)
        if mark and _start_tick(int(mark[1])) != int(mark[2]):
            progress(f"removing '{domain.name}', which a killed labkit left")
            host.power_off(domain.uuid)
            host.undefine(domain.uuid)


def _start(host: Hypervisor, xml: str, job: InstallJob) -> None:
    try:
        host.run_while_connected(xml)
    except OperationError as exc:
        if any("Permission denied" in line for line in exc.details):
            msg = (
                f"QEMU runs as another user, who cannot reach '{job.iso}' or the files in "
                f"'{job.work}'."
            )
            hint = (
                "Set LABKIT_CACHE_DIR to a directory every user may enter, or allow it for the "
                "directories above with 'chmod o+x'."
            )
            raise HostError(msg, details=exc.details, hint=hint) from exc
        raise


def _follow(
    host: Hypervisor,
    job: InstallJob,
    identity: UUID,
    *,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool] | None,
) -> None:
    accelerated = job.domain_type == "kvm"
    silence = stretched(job.box.timeouts.silence, accelerated=accelerated)
    watch = Watch(
        logs=job.logs,
        disk=job.disk,
        patience=Patience(silence=silence, last_words=job.last_words),
        machine=lambda: host.domain_state(identity),
        progress=progress,
    )
    progress(watch.state.progress())
    seconds = stretched(job.box.timeouts.install, accelerated=accelerated)
    try:
        found = wait_until(
            watch.look,
            what=f"the installation of the box '{job.name}'",
            deadline=Deadline.after(seconds),
            cancelled=cancelled,
        )
    except WaitTimeout as exc:
        raise _failed(job, watch, f"it did not end within {seconds:.0f} s") from exc
    finally:
        watch.close()
    if found.paused:
        free = shutil.disk_usage(job.work).free >> 20
        msg = (
            f"Installing the box '{job.name}' stopped at the stage '{watch.state.progress()}': "
            f"QEMU could not write to '{job.disk}', whose disk has {free} MiB free."
        )
        raise HostError(msg, hint="Free some space, or set LABKIT_CACHE_DIR to another disk.")
    if found.reason:
        raise _failed(job, watch, found.reason)


def _failed(job: InstallJob, watch: Watch, reason: str) -> OperationError:
    stage = watch.state.progress()
    return OperationError(
        f"Installing the box '{job.name}' failed at the stage '{stage}': {reason}.",
        details=watch.last_lines(),
        hint=f"All logs are in '{job.logs}'.",
    )


def _start_tick(pid: int) -> int:
    """Return when a process was started, in clock ticks since boot; -1 when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    # The second field, the program's name, may hold spaces and parentheses; proc(5), field 22.
    return int(text.rpartition(")")[2].split()[19])
