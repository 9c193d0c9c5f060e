"""Whether this host can run the lab: one function per finding, each with what mends it."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.boxes.cache import cached
from labkit.boxes.definition import find_box
from labkit.boxes.file import DebianBoxFile, ImageBoxFile
from labkit.errors import LabFileError, LabkitError, UsageError
from labkit.host import kvm, process, vagrant, virt_customize
from labkit.host.inventory import Seen, look
from labkit.host.libvirt.xml import DomainState
from labkit.host.packages import how_to_install
from labkit.lifecycle.fit import pool_path
from labkit.lifecycle.plan import plan_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.boxes.definition import BoxDefinition
    from labkit.host.kvm import KvmProbe
    from labkit.lab.topology import ResolvedNode
    from labkit.state.session import Session

QEMU_CONF = Path("/etc/libvirt/qemu.conf")
KVM_DEVICE = kvm.DEVICE
MEMINFO = Path("/proc/meminfo")
# Whom libvirt's packages let QEMU run as: Debian's, then Fedora's.
QEMU_USERS = ("libvirt-qemu", "qemu")
TOOLS = (
    *("qemu-system-x86_64", "qemu-img", "vagrant", "ip", "setpriv", "unshare", "ssh"),
    "ssh-keygen",
)
# What builds a box of Debian packages; one of CentOS is installed from its ISO.
DEBIAN_TOOLS = ("mmdebstrap", "mke2fs")
# What a node writes at the least: the rehearsal needs less, Packstack's packages much more.
LEAST_GIB = 1
GIB = 2**30


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"  # the lab runs, but slower or not for long
    PROBLEM = "problem"  # the lab does not run


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        check: The check's name.
        level: How much it matters.
        found: One sentence.
        fix: The command or the key that mends it; empty when nothing has to be.
    """

    check: str
    level: Level
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the checks look at.

    Attributes:
        session: The lab.
        cache: labkit's cache directory.
        kvm: Whether guests run under KVM.
        seen: What libvirt has; None when it does not answer.
        pool_free: Bytes left where the nodes' disks go; None where no pool can take them.
        libvirt_error: Why libvirt does not answer.
        device: KVM's device.
        qemu_conf: libvirt's configuration of QEMU.
        meminfo: The kernel's account of memory.
    """

    session: Session
    cache: Path
    kvm: KvmProbe
    seen: Seen | None
    pool_free: int | None
    libvirt_error: LabkitError | None = None
    device: Path = KVM_DEVICE
    qemu_conf: Path = QEMU_CONF
    meminfo: Path = MEMINFO

    def missing_nodes(self) -> tuple[ResolvedNode, ...]:
        """Return the nodes that do not exist yet."""
        known = {domain.uuid for domain in self.seen.domains} if self.seen else set()
        return tuple(node for node in self.session.lab.nodes if node.uuid not in known)


def examine(session: Session, cache: Path) -> tuple[Finding, ...]:
    """Run every check and return what was found, in the order of CHECKS; changes nothing."""
    host = look_at(session, cache)
    with ThreadPoolExecutor(max_workers=len(CHECKS)) as pool:
        return tuple(pool.map(lambda check: run_check(check, host), CHECKS))


def run_check(check: Callable[[Host], Finding], host: Host) -> Finding:
    """Return what a check found; an error it met is a problem found."""
    try:
        return check(host)
    except LabkitError as exc:
        return problem(check.__name__, exc)


def problem(name: str, error: LabkitError) -> Finding:
    """Return an error as a finding."""
    found = "\n".join((error.message, *error.details))
    return Finding(check=name, level=Level.PROBLEM, found=found, fix=error.hint)


def look_at(session: Session, cache: Path, *, probe: Callable[..., KvmProbe] = kvm.probe) -> Host:
    """Return the host as the checks see it; changes nothing.

    Args:
        session: The lab.
        cache: labkit's cache directory.
        probe: Finds out whether guests run under KVM.
    """
    found = probe(cache=cache)
    try:
        with session.tools.connect() as hypervisor:
            seen = look(hypervisor, session.lab.pool, define_pool=False)
            path = pool_path(session.lab, seen)
            pool = seen.pool(session.lab.pool)
            free = None if path is None else shutil.disk_usage(_existing(path)).free
            if path is not None and pool is not None and pool.active:
                free = hypervisor.storage.pool_free_bytes(pool.name)
    except LabkitError as exc:
        return Host(
            session=session, cache=cache, kvm=found, seen=None, pool_free=None, libvirt_error=exc
        )
    return Host(session=session, cache=cache, kvm=found, seen=seen, pool_free=free)


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if os.access(place, os.F_OK))


def kvm_works(host: Host) -> Finding:
    """A test guest runs under KVM; without it labkit emulates, many times slower.

    That is enough for a stand-in box, and too slow for Puppet's time limits in a real one.
    """
    name = "kvm_works"
    if host.kvm.usable or not _is_real(host.session):
        level = Level.OK if host.kvm.usable else Level.NOTE
        return Finding(check=name, level=level, found=host.kvm.reason, fix=host.kvm.hint)
    found = f"{host.kvm.reason} 'labkit deploy' does not work on emulated nodes of a real box."
    fix = f"{host.kvm.hint} Or use '--box rehearsal'.".strip()
    return Finding(check=name, level=Level.PROBLEM, found=found, fix=fix)


def _is_real(session: Session) -> bool:
    """Return whether the box is no stand-in; of one that cannot be used another check tells."""
    try:
        return not _box(session).file.stand_in
    except (UsageError, LabFileError):
        return False


def _box(session: Session) -> BoxDefinition:
    return find_box(session.lab.box, beside=session.lab_file.parent)


def kvm_for_libvirt(host: Host) -> Finding:
    """The user libvirt runs QEMU as may open /dev/kvm; that labkit may proves nothing."""
    name = "kvm_for_libvirt"
    if not host.kvm.usable:
        return Finding(check=name, level=Level.OK, found="KVM is not used.")
    user = qemu_user(_readable(host.qemu_conf))
    if user is None:
        return Finding(
            check=name, level=Level.NOTE, found="The user libvirt runs QEMU as is not known.",
            fix=f"Set 'user' in '{host.qemu_conf}'.",
        )  # fmt: skip
    device = host.device.stat()
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    if may_open(device, uid=entry.pw_uid, groups=groups):
        return Finding(check=name, level=Level.OK, found=f"'{user}' may open '{host.device}'.")
    group = grp.getgrgid(device.st_gid).gr_name
    return Finding(
        check=name,
        level=Level.PROBLEM,
        found=f"libvirt runs QEMU as '{user}', who may not open '{host.device}'.",
        fix=f"Run 'sudo usermod -aG {group} {user}' and 'sudo systemctl restart libvirtd'.",
    )


def _readable(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # Debian keeps it from users; it names the package's default then, or root reads it.
        return ""


def qemu_user(conf: str) -> str | None:
    """Return whom libvirt runs QEMU as, by its qemu.conf or by what its packages made."""
    found = re.search(r'^[ \t]*user[ \t]*=[ \t]*"([^"]+)"', conf, re.MULTILINE)
    names = [found[1]] if found else QEMU_USERS
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in names if name in known), None)


def may_open(device: os.stat_result, *, uid: int, groups: list[int]) -> bool:
    """Return whether a user may read and write a device, by its mode alone."""
    if uid == 0:
        return True
    if device.st_uid == uid:
        wanted = stat.S_IRUSR | stat.S_IWUSR
    elif device.st_gid in groups:
        wanted = stat.S_IRGRP | stat.S_IWGRP
    else:
        wanted = stat.S_IROTH | stat.S_IWOTH
    return device.st_mode & wanted == wanted


def libvirt_answers(host: Host) -> Finding:
    """Whether libvirtd answers this user."""
    if host.libvirt_error is not None:
        raise host.libvirt_error
    return Finding(check="libvirt_answers", level=Level.OK, found="libvirtd answers.")


def vagrant_has_libvirt(_host: Host) -> Finding:
    """Whether Vagrant and its libvirt provider are there."""
    vagrant.require()
    return Finding(
        check="vagrant_has_libvirt",
        level=Level.OK,
        found="Vagrant and its plugin vagrant-libvirt are installed.",
    )


def tools_installed(host: Host) -> Finding:
    """Whether every other command is there that labkit calls for this lab."""
    path = process.environment()["PATH"]
    tools = (*TOOLS, *(DEBIAN_TOOLS if _to_be_made_of_debian(host) else ()))
    missing = [tool for tool in tools if shutil.which(tool, path=path) is None]
    if not missing:
        return Finding(check="tools_installed", level=Level.OK, found="All commands are there.")
    return Finding(
        check="tools_installed",
        level=Level.PROBLEM,
        found=f"Not installed: {', '.join(missing)}.",
        fix=how_to_install(*missing),
    )


def _to_be_made_of_debian(host: Host) -> bool:
    """Return whether the lab's box is made of Debian packages and not built; False for an unknown one."""
    try:
        box = _box(host.session)
    except (UsageError, LabFileError):
        return False
    return isinstance(box.file, DebianBoxFile) and cached(box, host.cache) is None


def memory_suffices(host: Host) -> Finding:
    """Whether the nodes that do not run yet fit into the host's memory."""
    running = {
        domain.uuid
        for domain in (host.seen.domains if host.seen else ())
        if domain.state is DomainState.RUNNING
    }
    needed = sum(n.memory_mib for n in host.session.lab.nodes if n.uuid not in running)
    total, available = memory_mib(host.meminfo.read_text(encoding="ascii"))
    return memory_finding(needed=needed, total=total, available=available)


def memory_finding(*, needed: int, total: int, available: int) -> Finding:
    """Judge the memory of the nodes still to be started, all in MiB."""
    level = Level.OK
    if needed > total:
        level = Level.PROBLEM
    elif needed > available:
        level = Level.NOTE
    return Finding(
        check="memory_suffices",
        level=level,
        found=f"The lab needs {needed} MiB more; {available} of {total} MiB are free.",
        fix="" if level is Level.OK else "Free memory, or lower 'memory' of nodes in lab.yaml.",
    )


def memory_mib(meminfo: str) -> tuple[int, int]:
    """Return the host's whole and its available memory in MiB, by /proc/meminfo."""
    found = dict(re.findall(r"^(\w+): +(\d+) kB$", meminfo, re.MULTILINE))
    return int(found["MemTotal"]) // 1024, int(found["MemAvailable"]) // 1024


def space_suffices(host: Host) -> Finding:
    """Whether the disks of the nodes that do not exist yet have room."""
    if host.seen is None or host.pool_free is None:
        lacking = "libvirt" if host.seen is None else "a storage pool"
        return Finding(
            check="space_suffices", level=Level.NOTE, found=f"Unknown without {lacking}."
        )
    missing = host.missing_nodes()
    return space_finding(
        pool=host.session.lab.pool,
        free=host.pool_free // GIB,
        least=LEAST_GIB * len(missing),
        most=sum(node.disk_gib for node in missing),
    )


def space_finding(*, pool: str, free: int, least: int, most: int) -> Finding:
    """Judge the room for the disks still to be made, all in GiB; they grow as they are written."""
    level = Level.OK
    if free < least:
        level = Level.PROBLEM
    elif free < most:
        level = Level.NOTE
    return Finding(
        check="space_suffices",
        level=level,
        found=f"The pool '{pool}' has {free} GiB free; full disks would take {most} GiB.",
        fix="" if level is Level.OK else f"Free space where the pool '{pool}' is.",
    )


def lab_fits(host: Host) -> Finding:
    """Whether pool, bridges, address ranges and names on this host suit the lab."""
    if host.seen is None:
        return Finding(check="lab_fits", level=Level.NOTE, found="Unknown without libvirt.")
    plan = plan_up(host.session.lab, host.session.state(), host.seen, seeds={})
    if plan.notes:
        return Finding(check="lab_fits", level=Level.NOTE, found="\n".join(plan.notes))
    return Finding(
        check="lab_fits",
        level=Level.OK,
        found=f"Nothing is in the way of the lab '{host.session.lab.name}'.",
    )


def box_built(host: Host) -> Finding:
    """Whether the lab's box is in the cache; 'up' builds it otherwise."""
    name = host.session.lab.box
    definition = _box(host.session)
    if cached(definition, host.cache) is not None:
        return Finding(check="box_built", level=Level.OK, found=f"The box '{name}' is built.")
    if isinstance(definition.file, ImageBoxFile) and definition.file.contract == "add":
        virt_customize.require()
    return Finding(
        check="box_built",
        level=Level.NOTE,
        found=f"The box '{name}' is not built; 'labkit up' begins with that.",
        fix=f"Run 'labkit box build {name}'.",
    )


CHECKS: tuple[Callable[[Host], Finding], ...] = (
    tools_installed,
    libvirt_answers,
    vagrant_has_libvirt,
    kvm_works,
    kvm_for_libvirt,
    memory_suffices,
    space_suffices,
    box_built,
    lab_fits,
)
