"""A sandbox is a working libvirt host, sees nothing of the real one, and leaves nothing on it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess  # noqa: TID251 -- these tests need a running sandbox's process id, to kill it
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from labkit.host import kvm, process
from labkit.host.files import cache_root
from labkit.host.process import CommandResult
from labkit.waiting import Deadline, NotYet, wait_until

pytestmark = pytest.mark.e2e

InSandbox = Callable[..., CommandResult]
SandboxArgv = Callable[[Sequence[str | Path]], list[str]]

NETWORK = """\
<network>
  <name>lab</name>
  <forward mode='nat'/>
  <bridge name='br-lab' stp='off' delay='0'/>
  <dns enable='no'/>
  <ip address='172.16.208.254' prefix='24'/>
</network>
"""
DOMAIN = """\
<domain type='qemu'>
  <name>tiny</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <disk type='file'>
      <driver name='qemu' type='raw'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'><source bridge='br-lab'/></interface>
  </devices>
</domain>
"""
LAB = """\
set -e
virsh -q net-define {directory}/network.xml
virsh -q net-start lab
virsh -q create {directory}/domain.xml
"""


def write_lab(directory: Path) -> str:
    """Write a network and a tiny domain; return the shell text that starts them."""
    disk = directory / "disk.raw"
    disk.write_bytes(kvm.boot_sector())
    os.chown(disk, 12345, 12345)
    disk.chmod(0o600)
    (directory / "network.xml").write_text(NETWORK, encoding="utf-8")
    (directory / "domain.xml").write_text(DOMAIN.format(disk=disk), encoding="utf-8")
    return LAB.format(directory=directory)


def host_state() -> dict[str, object]:
    """Return everything of the host a sandbox could leave something in."""
    places = ("/run", "/dev", "/dev/shm", "/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt")  # noqa: S108 -- only listed
    names = sorted(
        str(path)
        for place in (*places, "/var/cache/libvirt", "/sys/fs/cgroup")
        for path in (
            Path(place).glob("*") if place in {"/run", "/dev"} else Path(place).rglob("*")
        )
        if not path.name.isdigit()
    )
    links = process.run(["ip", "-o", "link"], timeout=10).stdout
    addresses = process.run(["ip", "-o", "addr"], timeout=10).stdout
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    return {"names": names, "links": links, "addresses": addresses, "mounts": mounts}


def processes_in(network: str) -> dict[int, str]:
    """Return the processes of a network namespace: id to name."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if os.readlink(entry / "ns" / "net") == network:  # noqa: PTH115 -- not a path
                    found[int(entry.name)] = (entry / "comm").read_text().strip()
    return found


def wait_for_end(networks: set[str]) -> None:
    """Wait until no process is left in the given network namespaces."""

    def check() -> None:
        left = {pid: name for each in networks for pid, name in processes_in(each).items()}
        if left:
            raise NotYet(str(left))

    wait_until(check, what="the sandbox's processes to end", deadline=Deadline.after(10))


class Running:
    """A sandbox that runs until something ends it."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.outer = subprocess.Popen(
            argv, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.outer.stdout is not None
        self.first_line = self.outer.stdout.readline().strip()
        (child,) = self.children(self.outer.pid)
        self.first_process = child
        self.network = os.readlink(f"/proc/{child}/ns/net")  # noqa: PTH115 -- not a path

    @staticmethod
    def children(pid: int) -> list[int]:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(each) for each in text.split()]

    def command(self) -> int:
        (found,) = (pid for pid in self.children(self.first_process) if pid in self._named("sh"))
        return found

    def _named(self, name: str) -> set[int]:
        return {pid for pid, comm in processes_in(self.network).items() if comm == name}

    def ended(self) -> int:
        """Wait for the end of it all; return the outer process's exit code."""
        code = self.outer.wait(timeout=10)
        wait_for_end({self.network})
        assert self.outer.stdout is not None
        self.outer.stdout.close()
        return code


@pytest.fixture
def running(sandbox_argv: SandboxArgv) -> Iterator[Callable[[str], Running]]:
    started: list[Running] = []

    def start(script: str) -> Running:
        started.append(Running(sandbox_argv(["sh", "-c", script])))
        return started[-1]

    yield start
    for each in started:
        if each.outer.poll() is None:
            each.outer.kill()
            each.ended()


def test_sandbox_libvirt_answers_and_has_a_pool(in_sandbox: InSandbox) -> None:
    script = "virsh version && virsh -q pool-list --name && echo $LABKIT_SANDBOX"
    done = in_sandbox("sh", "-c", script)
    assert re.search(r"Running hypervisor: QEMU \d", done.stdout)
    assert done.stdout.split()[-2:] == ["default", "1"]


def test_sandbox_kvm_is_offered_only_where_it_works(in_sandbox: InSandbox) -> None:
    usable = kvm.probe(cache=cache_root()).usable
    script = "test -e /dev/kvm; echo $?; virsh domcapabilities | grep '<domain>'"
    done = in_sandbox("sh", "-c", script)
    words = ("0", "kvm") if usable else ("1", "qemu")
    assert done.stdout.split() == [words[0], f"<domain>{words[1]}</domain>"]


def test_sandbox_domain_capabilities_stay_cached(in_sandbox: InSandbox) -> None:
    script = (
        "from labkit.host import process\n"
        "for _ in range(2):\n"
        "    print(process.run(['virsh', 'domcapabilities'], timeout=30).seconds)\n"
    )
    done = in_sandbox(sys.executable, "-c", script)
    first, second = map(float, done.stdout.split())
    assert first < 3
    assert second < 1


def test_sandbox_network_reaches_only_its_own_side(in_sandbox: InSandbox, tmp_path: Path) -> None:
    script = write_lab(tmp_path) + (
        "echo ROUTES; ip -o route; echo LINKS; ls /sys/class/net; echo NAT; iptables -t nat -S\n"
        "echo FORWARD; cat /proc/sys/net/ipv4/ip_forward; echo END"
    )
    text = in_sandbox("sh", "-c", script).stdout
    parts = re.split(r"^(?:ROUTES|LINKS|NAT|FORWARD|END)$", text, flags=re.MULTILINE)
    _, routes, links, nat, forward, _ = parts
    assert [line.split()[:3] for line in routes.strip().splitlines()] == [
        ["172.16.208.0/24", "dev", "br-lab"]
    ]
    assert {re.sub(r"\d+$", "", name) for name in links.split()} == {"lo", "br-lab", "vnet"}
    assert "172.16.208.0/24" in nat
    assert "MASQUERADE" in nat
    assert forward.strip() == "1"


def test_sandbox_ip_forward_inside_leaves_the_hosts_alone(in_sandbox: InSandbox) -> None:
    host = Path("/proc/sys/net/ipv4/ip_forward")
    before = host.read_text(encoding="ascii")
    other = "0" if before.strip() == "1" else "1"
    script = f"echo {other} > {host}; cat {host}"
    assert in_sandbox("sh", "-c", script).stdout.strip() == other
    assert host.read_text(encoding="ascii") == before


def test_sandbox_guest_runs_and_its_disk_keeps_its_owner(
    in_sandbox: InSandbox, tmp_path: Path
) -> None:
    ask = "virsh qemu-monitor-command --hmp tiny 'info registers'"
    # The boot sector ends in a halt loop in 64-bit mode, at 0x7c62.
    script = write_lab(tmp_path) + (
        f"i=0; until {ask} | grep -q 'RIP=0*7c6[0-9a-f].*HLT=1' || test $i = 50\n"
        f"do i=$((i + 1)); sleep 0.1; done; {ask} | grep -o 'RIP=[0-9a-f]*'; virsh domstate tiny"
    )
    rip, state = in_sandbox("sh", "-c", script).stdout.split()
    assert int(rip.removeprefix("RIP="), 16) in range(0x7C62, 0x7C65)
    assert state == "running"
    assert (tmp_path / "disk.raw").stat().st_uid == 12345


def test_sandbox_two_at_once_do_not_see_each_other(
    in_sandbox: InSandbox, running: Callable[[str], Running], tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    running(write_lab(first) + "echo up; sleep 100")
    inside = in_sandbox(
        "sh", "-c", "virsh -q list --all; virsh -q net-list --all; ls /sys/class/net"
    )
    assert inside.stdout.split() == ["lo"]
    # The same names and the same address range again, at the same time.
    again = in_sandbox("sh", "-c", write_lab(second) + "virsh -q list --name")
    assert again.stdout.split() == ["tiny"]


@pytest.mark.parametrize(
    ("victim", "number", "code"),
    [
        ("outer", signal.SIGKILL, -signal.SIGKILL),
        ("first process", signal.SIGKILL, 128 + signal.SIGKILL),
        ("command", signal.SIGKILL, 128 + signal.SIGKILL),
        ("outer", signal.SIGTERM, 128 + signal.SIGTERM),
        ("outer", signal.SIGHUP, 128 + signal.SIGHUP),
        ("outer", signal.SIGINT, 128 + signal.SIGINT),
    ],
)
def test_sandbox_killed_in_any_way_leaves_nothing(
    running: Callable[[str], Running],
    tmp_path: Path,
    victim: str,
    number: signal.Signals,
    code: int,
) -> None:
    script = write_lab(tmp_path) + "echo up; while :; do sleep 0.1; done"
    before = host_state()
    sandbox = running(script)
    assert sandbox.first_line == "up"
    names = set(processes_in(sandbox.network).values())
    assert {"libvirtd", "virtlogd", "qemu-system-x86"} <= names
    pid = {
        "outer": sandbox.outer.pid,
        "first process": sandbox.first_process,
        "command": sandbox.command(),
    }[victim]
    os.kill(pid, number)
    assert sandbox.ended() == code
    assert host_state() == before
    assert (tmp_path / "disk.raw").read_bytes() == kvm.boot_sector()


def test_sandbox_killed_while_it_is_set_up_leaves_nothing(sandbox_argv: SandboxArgv) -> None:
    before = host_state()
    for pause in (0.1, 0.15, 0.2, 0.25, 0.3):
        outer = subprocess.Popen(sandbox_argv(["sleep", "100"]), start_new_session=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            outer.wait(timeout=pause)
        networks = {
            os.readlink(f"/proc/{child}/ns/net")  # noqa: PTH115 -- not a path
            for child in Running.children(outer.pid)
        } - {os.readlink("/proc/self/ns/net")}  # noqa: PTH115 -- not a path
        outer.kill()
        outer.wait()
        wait_for_end(networks)
    assert host_state() == before


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_sandbox_exit_code_is_the_commands(in_sandbox: InSandbox, script: str, code: int) -> None:
    before = host_state()
    # What the command leaves running in the background ends too.
    done = in_sandbox("sh", "-c", f"sleep 300 >/dev/null 2>&1 & {script}", check=False)
    assert done.returncode == code
    assert host_state() == before


def test_sandbox_orphans_are_reaped(in_sandbox: InSandbox) -> None:
    script = "for i in 1 2 3; do (sleep 0.1 &) ; done; sleep 0.6; ps -o stat= -e | grep -c Z"
    assert in_sandbox("sh", "-c", script, check=False).stdout.strip() == "0"


def test_sandbox_passes_standard_streams_and_directory(
    sandbox_argv: SandboxArgv, tmp_path: Path
) -> None:
    argv = sandbox_argv(["sh", "-c", "cat; pwd; echo problem >&2"])
    done = process.run(argv, timeout=30, cwd=tmp_path, stdin="line\n", env=process.environment())
    assert done.stdout.splitlines() == ["line", str(tmp_path)]
    assert done.stderr.splitlines() == ["problem"]


@pytest.mark.usefixtures("sandbox_argv")  # skips where no sandbox can be
@pytest.mark.parametrize(
    ("chosen", "seen"), [({}, []), ({"PYDANTIC_DISABLE_PLUGINS": "x"}, ["x"])]
)
def test_sandbox_command_gets_the_callers_pydantic_setting_and_not_labkits(
    chosen: dict[str, str], seen: list[str]
) -> None:
    callers = {
        name: value for name, value in process.environment().items() if "PYDANTIC" not in name
    }
    argv = [sys.executable, "-m", "labkit", "sandbox", "--", "env"]
    done = process.run(argv, timeout=60, env={**callers, **chosen})
    assert "LABKIT_SANDBOX=1" in done.stdout.splitlines()
    assert re.findall(r"(?m)^PYDANTIC\w+=(.*)$", done.stdout) == seen


def test_sandbox_unknown_command_says_so_and_ends_with_127(in_sandbox: InSandbox) -> None:
    done = in_sandbox("no-such-command", check=False)
    assert done.returncode == 127
    assert done.stderr.splitlines() == [
        "labkit sandbox: The command 'no-such-command' does not start: No such file or directory.",
        "  Hint: Check its name, its rights, and PATH.",
    ]


def test_sandbox_libvirtd_that_fails_is_reported_with_exit_code_3(
    in_sandbox: InSandbox, tmp_path: Path
) -> None:
    broken = tmp_path / "libvirtd"
    broken.write_text("#!/bin/sh\necho broken on purpose >&2\nexit 9\n", encoding="utf-8")
    broken.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = in_sandbox("true", check=False, env={"PATH": path})
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "labkit sandbox: The sandbox's 'libvirtd' ended with 9 instead of starting.",
        "  broken on purpose",
    ]


def test_sandbox_in_a_sandbox_runs_the_command_in_the_same_one(
    in_sandbox: InSandbox, sandbox_argv: SandboxArgv
) -> None:
    inner = sandbox_argv(["readlink", "/proc/self/ns/net"])
    first, second = in_sandbox(
        "sh", "-c", 'readlink /proc/self/ns/net; exec "$@"', "sh", *inner
    ).stdout.split()
    assert first == second
    assert first != os.readlink("/proc/self/ns/net")  # noqa: PTH115 -- not a path


def test_sandbox_start_up_is_quick(in_sandbox: InSandbox) -> None:
    in_sandbox("true")
    assert min(in_sandbox("true").seconds for _ in range(3)) < 2


def test_sandbox_interactive_shell_has_job_control(sandbox_argv: SandboxArgv) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        argv = sandbox_argv(["sh", "-i"])
        os.execv(argv[0], argv)  # noqa: S606 -- the child of a terminal of its own
    talk(terminal, "", until="# ")
    assert "/dev/pts/" in talk(terminal, "tty\n", until="pts/")
    talk(terminal, "sh -c 'echo sle\"\"eping; exec sleep 100'\n", until="sleeping")
    # Ctrl-C ends what the shell runs, not the shell and not the sandbox.
    talk(terminal, "\x03", until="# ")
    assert "after 130" in talk(terminal, "echo after $?\n", until="after 1")
    talk(terminal, "exit 5\n", until="")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 5


def test_sandbox_terminal_closed_ends_everything(sandbox_argv: SandboxArgv) -> None:
    before = host_state()
    pid, terminal = pty.fork()
    if pid == 0:
        argv = sandbox_argv(["sh", "-i"])
        os.execv(argv[0], argv)  # noqa: S606 -- the child of a terminal of its own
    talk(terminal, "", until="# ")
    (child,) = Running.children(pid)
    network = os.readlink(f"/proc/{child}/ns/net")  # noqa: PTH115 -- not a path
    os.close(terminal)
    wait_for_end({network})
    os.waitpid(pid, 0)
    assert host_state() == before


def test_sandbox_terminal_interrupt_reaches_a_plain_command_once(
    sandbox_argv: SandboxArgv,
) -> None:
    count = "trap 'echo inter''rupted' INT; echo rea''dy; sleep 1; sleep 1; exit 4"
    pid, terminal = pty.fork()
    if pid == 0:
        argv = sandbox_argv(["sh", "-c", count])
        os.execv(argv[0], argv)  # noqa: S606 -- the child of a terminal of its own
    talk(terminal, "", until="ready")
    seen = talk(terminal, "\x03", until="")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert seen.count("interrupted") == 1
    assert os.waitstatus_to_exitcode(status) == 4


def talk(terminal: int, text: str, *, until: str) -> str:
    """Type into a terminal; return what it showed until a text, or until its end."""
    os.write(terminal, text.encode())
    seen = ""
    deadline = Deadline.after(20)
    while not (until and until in seen):
        if not select.select([terminal], [], [], deadline.left())[0]:
            pytest.fail(f"the terminal did not show {until!r}: {seen!r}")
        try:
            seen += os.read(terminal, 4096).decode()
        except OSError:  # the other side closed it
            break
    return seen
