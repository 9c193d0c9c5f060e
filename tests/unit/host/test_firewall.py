from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labkit.host.firewall import Forwarding, forwarding

if TYPE_CHECKING:
    from pathlib import Path

RULES = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n"
# Answers as firewalld 1.3 does: by its exit code where it is asked whether, "no" otherwise.
FIREWALLD = """
case "$*" in
  --get-zone-of-interface=br0) echo public ;;
  --get-zone-of-interface=*) echo "no zone" >&2; exit 2 ;;
  --get-default-zone) echo trusted ;;
  "--zone=trusted --query-forward") echo yes ;;
  *) echo no; exit 1 ;;
esac
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the kernel's settings of a host that has no firewall commands but a test's own."""
    for name, text in {"ipv4/ip_forward": "1\n", "bridge/bridge-nf-call-iptables": "1\n"}.items():
        (tmp_path / "net" / name).parent.mkdir(parents=True)
        (tmp_path / "net" / name).write_text(text, encoding="ascii")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    command(tmp_path, "iptables", f"printf '%s' '{RULES}'")
    command(tmp_path, "firewall-cmd", FIREWALLD)
    return tmp_path


def command(host: Path, name: str, script: str) -> None:
    path = host / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def seen(host: Path) -> Forwarding:
    return forwarding(("br0", "br1"), sysctl=host / "net")


def test_case_19_forwarding_is_read_from_the_kernel_iptables_and_firewalld(host: Path) -> None:
    found = seen(host)
    assert (found.enabled, found.bridged, found.drops) == (True, True, True)
    assert found.rules == tuple(RULES.splitlines())
    # br1 is in no zone, which is the default one, and that forwards.
    assert found.closed == {"br0": "public"}


def test_case_19_forwarding_that_is_off_and_sees_no_bridges_asks_no_firewalld(host: Path) -> None:
    (host / "net/ipv4/ip_forward").write_text("0\n")
    (host / "net/bridge/bridge-nf-call-iptables").unlink()
    found = seen(host)
    assert (found.enabled, found.bridged, found.closed) == (False, False, {})


def test_case_19_rules_that_a_user_may_not_read_are_not_known(host: Path) -> None:
    command(host, "iptables", "echo 'you must be root' >&2; exit 4")
    assert (seen(host).rules, seen(host).drops) == (None, False)


def test_case_19_firewalld_that_does_not_run_closes_nothing(host: Path) -> None:
    command(host, "firewall-cmd", "echo 'FirewallD is not running' >&2; exit 252")
    assert seen(host).closed == {}
