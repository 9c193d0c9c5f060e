"""What this host does with packets that are not its own: forwarded, or dropped by a firewall."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.host.process import environment, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """What becomes of packets from one device to another.

    Attributes:
        enabled: Whether the kernel forwards IPv4 (net.ipv4.ip_forward).
        bridged: Whether the firewall sees what a bridge passes on as well (br_netfilter).
        rules: The lines of `iptables -S FORWARD`; None where they cannot be read.
        closed: firewalld's zone of each device whose zone forwards nothing.
    """

    enabled: bool = True
    bridged: bool = False
    rules: tuple[str, ...] | None = ()
    closed: Mapping[str, str] = field(default_factory=dict)

    @property
    def drops(self) -> bool:
        """Return whether iptables drops what none of its rules accepts."""
        return bool({"-P FORWARD DROP", "-P FORWARD REJECT"} & set(self.rules or ()))


def forwarding(bridges: Iterable[str], *, sysctl: Path = Path("/proc/sys/net")) -> Forwarding:
    """Return what this host does with forwarded packets, as far as this user may know.

    Args:
        bridges: The devices whose firewalld zones are asked for.
        sysctl: Where the kernel shows its settings of networks.
    """
    bridged = _read(sysctl / "bridge/bridge-nf-call-iptables") == "1"
    rules = _ask("iptables", "-w", "2", "-S", "FORWARD")
    closed = {bridge: zone for bridge in bridges if bridged and (zone := _closed_zone(bridge))}
    return Forwarding(
        enabled=_read(sysctl / "ipv4/ip_forward") != "0",
        bridged=bridged,
        rules=None if rules is None else tuple(rules.splitlines()),
        closed=closed,
    )


def _closed_zone(bridge: str) -> str | None:
    """Return the device's firewalld zone if nothing is forwarded in it."""
    zone = _ask("firewall-cmd", f"--get-zone-of-interface={bridge}")
    zone = zone or _ask("firewall-cmd", "--get-default-zone")
    # It answers "no" by its exit code alone, as a daemon that is not running does.
    open_zone = not zone or _ask("firewall-cmd", f"--zone={zone}", "--query-forward") is not None
    return None if open_zone else zone


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _ask(*argv: str) -> str | None:
    """Return what a command prints; None where it is missing or refuses."""
    if shutil.which(argv[0], path=environment()["PATH"]) is None:
        return None
    answer = run(argv, timeout=10, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None
