"""The sandbox seen from outside: what a private libvirt host is made of, and the way into it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import labkit
from labkit.errors import HostError
from labkit.host import kvm, process
from labkit.host.files import home_directory
from labkit.host.inventory import POOL, POOL_PATH
from labkit.host.packages import how_to_install

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

VARIABLE: Final = "LABKIT_SANDBOX"
# Everything the sandbox writes is on one tmpfs, which the kernel frees with the last process.
PRIVATE: Final = Path("/run/labkit")
# The most memory it may take, as tmpfs takes it.
SIZE: Final = "75%"
MARKER: Final = PRIVATE / "sandbox"
LIBVIRTD_LOG: Final = Path("/var/log/libvirt/libvirtd.log")
TOOLS: Final = ("unshare", "setpriv", "mount", "ip", "virtlogd", "libvirtd", "virsh")
SYSTEM_PATHS: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")

# Sessions of the host's desktop and service manager: their sockets are not there inside.
HOST_SESSION: Final = frozenset(
    {
        "DBUS_SESSION_BUS_ADDRESS",
        "LIBVIRT_DEFAULT_URI",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "XDG_RUNTIME_DIR",
    }
)

LIBVIRT_DIRECTORIES: Final = (
    Path("/etc/libvirt"),
    Path("/var/lib/libvirt"),
    Path("/var/cache/libvirt"),
    Path("/var/log/libvirt"),
)

DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "console", "net/tun")
KVM_DEVICES: Final = ("kvm", "vhost-net")
DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}

LIBVIRTD_CONF: Final = f"""\
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:{LIBVIRTD_LOG}"
"""

# QEMU keeps root's rights and libvirt leaves owners alone: seeds and boxes may be files of the
# host, and a chown inside would be seen outside. Namespaces and cgroups are the sandbox's part.
QEMU_CONF: Final = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
clear_emulator_capabilities = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
"""

POOL_XML: Final = f"""\
<pool type='dir'>
  <name>{POOL}</name>
  <uuid>6c61626b-6974-4000-8000-64656661756c</uuid>
  <target><path>{POOL_PATH}</path></target>
</pool>
"""

# -P: a directory called 'labkit' where the caller happens to stand must not be run as root.
START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from labkit.host.sandbox_init import main; sys.exit(main(sys.argv[1:]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the inside has to know.

    Attributes:
        kvm: Whether /dev/kvm is to be there.
        vagrant_home: The caller's Vagrant home; its installed plugins are used inside.
    """

    kvm: bool
    vagrant_home: str


def enter(command: Sequence[str], *, cache: Path | None = None) -> NoReturn:
    """Replace this process by `command` inside a new sandbox.

    The sandbox lives exactly as long as the command. The process id stays the caller's, signals
    sent to it reach the command, and it ends with the command's exit code (128 + n for signal n,
    3 when the sandbox could not be set up). Inside a sandbox the command is simply run.

    Args:
        command: The command and its arguments; the user's shell when empty.
        cache: The host's labkit cache, which stays in use inside; also keeps the KVM answer.

    Raises:
        HostError: Not root, a tool is missing, the kernel refuses namespaces, or the command or
            the current directory is out of reach inside.
    """
    wanted = tuple(command) or (os.environ.get("SHELL", "/bin/sh"),)
    if inside(os.environ):
        _replace(wanted, os.environ)
    environment = inner_environment(os.environ, cache=cache)
    require_root(os.geteuid())
    require_tools(environment["PATH"])
    require_visible(Path.cwd(), what="The current directory")
    _require_namespaces()
    probe = kvm.probe(cache=cache)
    setup = Setup(kvm=probe.usable, vagrant_home=vagrant_home(os.environ, home_directory()))
    package = Path(labkit.__file__).resolve().parent.parent
    argv = unshare_argv(wanted, setup=setup, python=sys.executable, package=package)
    _replace(argv, environment)


def inside(environment: Mapping[str, str], *, marker: Path = MARKER) -> bool:
    """Return whether this process runs in a sandbox already."""
    return environment.get(VARIABLE) == "1" and marker.exists()


def inner_environment(outer: Mapping[str, str], *, cache: Path | None) -> dict[str, str]:
    """Return the environment of everything inside, made from the caller's."""
    kept = {name: value for name, value in outer.items() if name not in HOST_SESSION}
    path = kept.get("PATH", os.defpath).split(os.pathsep)
    # A user's shell under 'su' may lack the directories of system tools.
    kept["PATH"] = os.pathsep.join([*path, *(each for each in SYSTEM_PATHS if each not in path)])
    kept.setdefault("LABKIT_STATE_DIR", str(PRIVATE / "state"))
    if cache is not None:
        kept["LABKIT_CACHE_DIR"] = str(cache.absolute())
    # Labs inside die with the sandbox, and so does the record of them.
    kept["XDG_STATE_HOME"] = str(PRIVATE / "xdg-state")
    kept["VAGRANT_HOME"] = str(PRIVATE / "vagrant.d")
    kept["TMPDIR"] = str(PRIVATE / "tmp")
    kept[VARIABLE] = "1"
    return kept


def vagrant_home(environment: Mapping[str, str], home: Path) -> str:
    """Return where the caller's Vagrant keeps its plugins."""
    return environment.get("VAGRANT_HOME") or str(home / ".vagrant.d")


def unshare_argv(
    command: Sequence[str], *, setup: Setup, python: str, package: Path
) -> tuple[str, ...]:
    """Return the command line that starts `sandbox_init` in its namespaces.

    Without --fork on purpose: unshare's own parent process blocks SIGTERM and SIGINT (util-linux
    2.38), so that a terminated sandbox would stay. `sandbox_init` forks by itself.
    """
    return (
        *("unshare", "--net", "--mount", "--pid", "--propagation", "private", "--"),
        *(python, "-P", "-c", START, str(package), json.dumps(asdict(setup))),
        *command,
    )


def require_root(uid: int) -> None:
    """Refuse a caller who may not make namespaces.

    Raises:
        HostError: The user id is not 0.
    """
    if uid != 0:
        msg = (
            f"The sandbox makes its own network and mounts, which needs root; this is user {uid}."
        )
        again = 'sudo -E "$(command -v labkit)" sandbox'
        raise HostError(msg, hint=f"Run it as '{again}'.")


def require_tools(path: str) -> None:
    """Refuse a host without the tools the sandbox is made with.

    Raises:
        HostError: Some are not on `path`; all of them are named.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    if missing:
        shown = ", ".join(f"'{tool}'" for tool in missing)
        msg = f"The sandbox needs commands that are not installed on this host: {shown}."
        raise HostError(msg, hint=how_to_install(*missing))


def require_visible(path: Path, *, what: str) -> None:
    """Refuse a path that a private mount of the sandbox would hide.

    Raises:
        HostError: It lies below such a mount.
    """
    for hidden in (Path("/run"), Path("/dev"), *LIBVIRT_DIRECTORIES):
        if path.resolve().is_relative_to(hidden.resolve()):
            msg = f"{what} '{path}' cannot be seen in the sandbox, which has its own '{hidden}'."
            raise HostError(msg, hint="Change to a directory elsewhere, such as your home.")


def host_mounts() -> tuple[tuple[str, ...], ...]:
    """Return the arguments for mount(8) of what comes first: the one tmpfs, and the kernel's views of the namespaces.

    /sys shows the network devices of the namespace that mounted it; libvirt sets bridges up there.
    """
    options = f"size={SIZE},mode=0755,nosuid"
    return (
        ("-t", "tmpfs", "-o", options, "labkit", "/run"),
        ("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc"),
        ("-t", "sysfs", "-o", "nosuid,nodev,noexec", "sys", "/sys"),
    )


def private_mounts(staging: Path) -> tuple[tuple[str, ...], ...]:
    """Return the arguments for mount(8) of what follows once `staging` (a /dev) and the private directories exist.

    The host's pseudo-terminals stay, because the command's own terminal is one of them.
    """
    return (
        *(("--bind", str(private_directory(path)), str(path)) for path in LIBVIRT_DIRECTORIES),
        ("--bind", "/dev/pts", str(staging / "pts")),
        ("--bind", str(PRIVATE / "shm"), str(staging / "shm")),
        ("--move", str(staging), "/dev"),
    )


def private_directory(path: Path) -> Path:
    """Return the directory inside the tmpfs that stands for a host's one."""
    return PRIVATE / "libvirt" / "-".join(path.parts[1:])


def devices(*, with_kvm: bool) -> tuple[str, ...]:
    """Return the names below /dev that exist inside, where the host has them.

    A /dev/kvm that does not work is worse than none: libvirt then probes QEMU again at every
    call, 7 s each instead of 0.02 s (seen with libvirt 9.0).
    """
    return (*DEVICES, *KVM_DEVICES) if with_kvm else DEVICES


def libvirt_files() -> dict[Path, str]:
    """Return the configuration of the private libvirt: path to text."""
    etc = Path("/etc/libvirt")
    return {
        etc / "libvirtd.conf": LIBVIRTD_CONF,
        etc / "qemu.conf": QEMU_CONF,
        etc / "storage" / f"{POOL}.xml": POOL_XML,
    }


def unstartable(command: str, reason: OSError) -> HostError:
    """Return the error for a command that cannot be run."""
    msg = f"The command '{command}' does not start: {reason.strerror}."
    return HostError(msg, hint="Check its name, its rights, and PATH.")


def _replace(argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    # Python ignores SIGPIPE, which a command would inherit; 'yes | head' would then complain.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], list(argv), environment)  # noqa: S606 -- becoming the command is the point
    except OSError as exc:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        raise unstartable(argv[0], exc) from exc


def _require_namespaces() -> None:
    # exec replaces labkit, so a refusal by the kernel must be found out beforehand.
    tried = process.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"], timeout=10, check=False
    )
    if tried.returncode != 0:
        msg = "The kernel does not let root make network, mount and process namespaces here."
        hint = "In a container: start it with '--privileged', or with the capability SYS_ADMIN."
        raise HostError(msg, details=tried.tail(), hint=hint)
