"""Waiting for a node by evidence, layer by layer, so that a timeout can name the one that failed."""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labkit.errors import LabkitError, OperationError, UsageError
from labkit.host import ssh
from labkit.host.libvirt.xml import DomainState
from labkit.lifecycle.guest_logs import console_tail, last_report, settled_report
from labkit.state.progress import Progress, stage
from labkit.waiting import (
    BOOT,
    REPORT,
    SSH_CONNECT,
    SSH_SERVER,
    Deadline,
    NotYet,
    Policy,
    WaitCancelled,
    WaitTimeout,
    boot_seconds,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Address
    from pathlib import Path

    from labkit.host.greetings import Greetings
    from labkit.state.tools import Connect

BOOT_SECONDS_VARIABLE = "LABKIT_BOOT_SECONDS"
# Between two looks at whether the domain still runs; the connections are kept meanwhile.
GREETING_SECONDS = 1.0
# One remote loop instead of many SSH commands: each would make the guest start a process.
SETTLE_SECONDS = 20
# Waiting for the guest's own report costs it nothing; asking makes it start five processes.
REPORT_SECONDS = 5.0

# systemd 219, CentOS 7's, has no `is-system-running --wait`. Every process costs an emulated guest
# a quarter of a second: the shell itself reads the boot id, and "running" means no unit failed.
_SETTLE = (
    "sudo sh -c '"
    "read -r up rest </proc/uptime; "
    f"end=$((${{up%%.*}} + {SETTLE_SECONDS})); "
    "while s=$(systemctl is-system-running); read -r up rest </proc/uptime; "
    "case $s in initializing|starting) [ ${up%%.*} -lt $end ];; *) false;; esac; "
    "do sleep 0.25; done; "
    "echo $s; cat /proc/sys/kernel/random/boot_id; "
    "[ $s = running ] || systemctl --failed --no-legend --plain'"
)

# The shell reads it by itself, for the same reason.
_BOOT_ID = "read -r id </proc/sys/kernel/random/boot_id && echo $id"

# What firstboot writes down of the seed it took (kickstart/labkit-firstboot).
_APPLIED = "sudo cat /var/lib/labkit/applied"
# virtlogd makes the logs of a guest's ports anew, for root alone.
_UNREADABLE = "its report is for root alone, the guest is asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is needed to wait for one node.

    Attributes:
        endpoint: How to reach it over SSH.
        seed_id: The id its firstboot has to report; empty when a report is not expected.
        firstboot_log: File its firstboot port is written to.
        console_log: File its serial console is written to.
        state: Asks libvirt for the domain's state; None while the domain does not exist yet.
        started: Whether its start has been asked for and done; off then means it stopped.
        deadline: When to give up.
        cancelled: True gives up at once.
        progress: Told of every layer.
        connect: Opens an SSH session.
        greet: Waits for its SSH server's greeting.
        booted: Told when the guest is through its first boot, so that another may start.
        report_seconds: How long its own report is waited for before it is asked.
    """

    endpoint: ssh.Endpoint
    seed_id: str
    firstboot_log: Path
    console_log: Path
    state: Callable[[], DomainState | None]
    started: Callable[[], bool]
    deadline: Deadline
    cancelled: Callable[[], bool]
    progress: Progress
    connect: Connect
    greet: Callable[[tuple[IPv4Address, ...], int], Greetings]
    booted: Callable[[], None]
    report_seconds: float = REPORT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The evidence that a node is ready.

    Attributes:
        node: Its name.
        address: The address that took the SSH session.
        boot_id: The guest kernel's boot id; changes with every boot and with nothing else.
        failed_units: systemd units that failed; empty when the system is "running".
        seconds: Seconds per layer, in the order they were reached.
        evidence: What showed that it took its seed: `report`, its own on the firstboot port;
            `asked`, over SSH, because this user may not read that; empty where it did not boot.
    """

    node: str
    address: str
    boot_id: str
    failed_units: tuple[str, ...]
    seconds: tuple[tuple[str, float], ...]
    evidence: str = ""


def wait_ready(waiting: Waiting) -> Ready:
    """Wait until a node runs, took its seed, takes SSH with its own host key and has settled.

    Raises:
        OperationError: A layer did not come in time or failed; details hold the last lines of
            the serial console.
    """
    taken: list[tuple[str, float]] = []
    greeted: list[ssh.Greeting] = []

    def timed(name: str, check: Callable[[], str]) -> str:
        started = time.monotonic()
        with stage(waiting.progress, waiting.endpoint.node, name) as current:
            result = check()
            current.note = result
        taken.append((name, time.monotonic() - started))
        return result

    evidence = ""
    try:
        timed("booting", lambda: _running(waiting))
        if waiting.seed_id:
            report = timed("first boot", lambda: _firstboot(waiting))
            evidence = "asked" if report == _UNREADABLE else "report"
            waiting.booted()
            # A guest that has been up answers at once; asking twice would cost it a process.
            timed("SSH server", lambda: _greeted(waiting, greeted))
        settled: list[Ready] = []
        ask = evidence == "asked"
        timed("system", lambda: _settled(waiting, greeted, settled, ask_seed=ask))
    except (ssh.WrongHostKeyError, WaitCancelled):
        raise
    except OperationError as exc:
        raise _explained(exc, waiting) from exc
    finally:
        for left in greeted:
            left.connection.close()
    return replace(settled[0], seconds=tuple(taken), evidence=evidence)


def _require_alive(waiting: Waiting) -> None:
    state = waiting.state()
    if state in {DomainState.SHUTOFF, DomainState.CRASHED}:
        raise _stopped(waiting, state)
    if state is not DomainState.RUNNING:
        raise NotYet(f"the domain is {state or 'not there yet'}")  # noqa: EM102 -- an answer


def _stopped(waiting: Waiting, state: DomainState | None) -> OperationError:
    message = f"The domain of node '{waiting.endpoint.node}' stopped while it was starting."
    return OperationError(message, details=(f"libvirt says: {state or 'no such domain'}",))


def _running(waiting: Waiting) -> str:
    def check() -> str:
        # Asked before the state: a domain is off, or not there, until its start is done.
        started = waiting.started()
        state = waiting.state()
        if state is DomainState.RUNNING:
            return ""
        if started and state in {None, DomainState.SHUTOFF, DomainState.CRASHED}:
            raise _stopped(waiting, state)
        raise NotYet(f"the domain is {state or 'not there yet'}")  # noqa: EM102 -- an answer

    return _wait(waiting, "its domain to run", check)


def _firstboot(waiting: Waiting) -> str:
    node = waiting.endpoint.node

    def check() -> str:
        try:
            report = last_report(waiting.firstboot_log)
        except PermissionError:
            return _UNREADABLE
        if report is None:
            _require_alive(waiting)
            msg = "no line on the firstboot port yet"
            raise NotYet(msg)
        verdict, rest = report
        if verdict == "failed":
            message = f"labkit-firstboot failed in node '{node}': {rest}."
            raise OperationError(message)
        if rest != waiting.seed_id:
            raise NotYet(f"the guest reported another seed: {rest[:12]}")  # noqa: EM102 -- an answer
        return verdict

    return _wait(waiting, "its first boot's report", check)


def _greeted(waiting: Waiting, greeted: list[ssh.Greeting]) -> str:
    endpoint = waiting.endpoint
    with waiting.greet(endpoint.addresses, endpoint.port) as greetings:

        def check() -> str:
            try:
                greeted.append(greetings.wait(GREETING_SECONDS))
            except ssh.NotReachableError as exc:
                _require_alive(waiting)
                raise NotYet("; ".join(exc.details)) from exc
            return str(greeted[0].address)

        return _wait(waiting, "its SSH server", check, policy=SSH_SERVER)


def _settled(
    waiting: Waiting, greeted: list[ssh.Greeting], settled: list[Ready], *, ask_seed: bool
) -> str:
    def check() -> str:
        # Good for one try: what is refused on it is tried again on a connection of its own.
        first = greeted.pop() if greeted else None
        with waiting.connect(waiting.endpoint, greeted=first) as session:
            if ask_seed:
                _require_seed(waiting, session)
            boot_id, units = _told(waiting, session) or _asked(session)
            settled.append(
                Ready(
                    node=waiting.endpoint.node,
                    address=str(session.address),
                    boot_id=boot_id,
                    failed_units=units,
                    seconds=(),
                )
            )
            return f"degraded: {', '.join(units)}" if units else "running"

    return _wait(
        waiting,
        "its system to settle",
        check,
        policy=SSH_CONNECT,
        retry_on=(NotYet, ssh.NotReachableError),
    )


def _require_seed(waiting: Waiting, session: ssh.Connection) -> None:
    applied = session.run(_APPLIED, timeout=ssh.ANSWER_SECONDS)
    found = applied.stdout.strip()
    if found != waiting.seed_id:
        node = waiting.endpoint.node
        message = f"The node '{node}' has not taken its seed."
        raise OperationError(
            message,
            details=(f"expected {waiting.seed_id}, found {found or applied.stderr.strip()}",),
            hint=f"'labkit ssh {node} sudo journalctl -u labkit-firstboot' says why.",
        )


def _told(waiting: Waiting, session: ssh.Connection) -> tuple[str, tuple[str, ...]] | None:
    """Take the guest's own report, if it is of this very boot and says that all is well."""
    known = settled_report(waiting.firstboot_log)
    if known is not None and known[0] != "running":
        return None
    boot_id = session.run(_BOOT_ID, timeout=ssh.ANSWER_SECONDS).stdout.strip()
    # A guest that has only now started its SSH server is about to say so by itself.
    reported = _awaited_report(waiting) if waiting.seed_id else known
    return (boot_id, ()) if reported == ("running", boot_id) else None


def _awaited_report(waiting: Waiting) -> tuple[str, str] | None:
    def check() -> tuple[str, str]:
        report = settled_report(waiting.firstboot_log)
        if report is None:
            msg = "its system has not settled yet"
            raise NotYet(msg)
        return report

    if not _has_reported(waiting.firstboot_log):
        return None
    try:
        return wait_until(
            check,
            what="its own report",
            deadline=waiting.deadline.within(waiting.report_seconds),
            policy=REPORT,
            cancelled=waiting.cancelled,
        )
    except WaitTimeout:
        return None


def _has_reported(log: Path) -> bool:
    # A log that only root may read tells nothing; the guest is asked instead.
    try:
        return last_report(log) is not None
    except PermissionError:
        return False


def _asked(session: ssh.Connection) -> tuple[str, tuple[str, ...]]:
    result = session.run(_SETTLE, timeout=SETTLE_SECONDS + ssh.ANSWER_SECONDS)
    lines = result.stdout.splitlines()
    if len(lines) < 2 or lines[0] not in {"running", "degraded"}:  # noqa: PLR2004 -- see _SETTLE
        raise NotYet(f"systemd says: {' '.join(lines[:1]) or result.stderr}")  # noqa: EM102 -- an answer
    return lines[1], tuple(line.split()[0] for line in lines[2:] if line.strip())


def _wait(
    waiting: Waiting,
    what: str,
    check: Callable[[], str],
    *,
    policy: Policy = BOOT,
    retry_on: tuple[type[Exception], ...] = (NotYet,),
) -> str:
    return wait_until(
        check,
        what=f"node '{waiting.endpoint.node}': {what}",
        deadline=waiting.deadline,
        policy=policy,
        retry_on=retry_on,
        cancelled=waiting.cancelled,
    )


def _explained(error: LabkitError, waiting: Waiting) -> OperationError:
    hint = f"Its whole console is in '{waiting.console_log}'."
    shown: tuple[str, ...] = ()
    try:
        lines = console_tail(waiting.console_log)
        shown = ("Last lines of its console:", *(f"  {line}" for line in lines)) if lines else ()
    except PermissionError:
        path = shlex.quote(str(waiting.console_log))
        hint = f"Its console is a file of root's: 'sudo tail -n 50 {path}' shows its end."
    kind = type(error) if isinstance(error, WaitTimeout) else OperationError
    return kind(error.message, details=(*error.details, *shown), hint=error.hint or hint)


def boot_budget(
    environment: Mapping[str, str], *, accelerated: bool, guests: int, cpus: int
) -> float:
    """Return the seconds a node is given from power-on to ready, as `waiting.boot_seconds` does.

    `LABKIT_BOOT_SECONDS` overrides labkit's own figure, on a host slower than it expects.

    Raises:
        UsageError: The variable is not a number of seconds above 0.
    """
    wanted = environment.get(BOOT_SECONDS_VARIABLE, "")
    if not wanted:
        return boot_seconds(accelerated=accelerated, guests=guests, cpus=cpus)
    try:
        seconds = float(wanted)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        message = f"{BOOT_SECONDS_VARIABLE} is '{wanted}'; expected seconds, such as '900'."
        raise UsageError(message)
    return seconds
