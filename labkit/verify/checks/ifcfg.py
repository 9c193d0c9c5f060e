"""Checks of the two ifcfg files that keep the external bridge over a reboot."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.verify.check import Judgement, Subject, check
from labkit.verify.checks.bridges import attached_nodes
from labkit.verify.outputs import Kind
from labkit.verify.parsers import ifcfg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.lab.topology import Deployment, ResolvedNic

EXTRA = "OVS_EXTRA"
# puppet-vswitch 8.4.0 (lib/puppetx/redhat/ifcfg.rb) takes over keys of letters and underscores
# alone, so none with a digit, and none of these.
_TAKEN_OVER = re.compile(r"[A-Za-z_]+")
_LEFT_BEHIND = re.compile(r"HWADDR|VLAN|PHYSDEV|MASTER|SLAVE|BONDING_.*")
# Further keys do no harm unless they give the bridge another address.
_OTHER_ADDRESS = re.compile(r"(IPADDR|PREFIX|NETMASK|GATEWAY)\d*|OVSDHCPINTERFACES|HWADDR|BRIDGE")


def port_keys(deployment: Deployment) -> dict[str, str]:
    """Return all keys of the external card's file, as puppet-vswitch writes it."""
    return {
        "DEVICE": deployment.external_nic,
        "NAME": deployment.external_nic,
        "DEVICETYPE": "ovs",
        "TYPE": "OVSPort",
        "OVS_BRIDGE": deployment.external_bridge,
        "ONBOOT": "yes",
        "BOOTPROTO": "none",
    }


def bridge_keys(deployment: Deployment, nic: ResolvedNic) -> dict[str, str]:
    """Return the keys the bridge's file has to have, as puppet-vswitch makes them of the card's.

    Args:
        deployment: What is installed.
        nic: The external card as labkit configured it.
    """
    kept = {
        key: value
        for key, value in nic.ifcfg
        if _TAKEN_OVER.fullmatch(key) and not _LEFT_BEHIND.fullmatch(key)
    }
    kept["OVSBOOTPROTO"] = kept.pop("BOOTPROTO", "static")
    return kept | {
        "DEVICE": deployment.external_bridge,
        "NAME": deployment.external_bridge,
        "DEVICETYPE": "ovs",
        "TYPE": "OVSBridge",
        EXTRA: f"set bridge {deployment.external_bridge} fail_mode=standalone",
    }


@check(
    id="ifcfg-port",
    summary="The external card's ifcfg file has exactly the seven keys of a bridge port.",
    nodes=attached_nodes,
    needs=(Kind.IFCFG_NIC,),
)
def port(subject: Subject) -> Judgement:
    """DEVICE, NAME, DEVICETYPE, TYPE, OVS_BRIDGE, ONBOOT, BOOTPROTO, and no address.

    Packstack leaves the file as it was when the port was there before it: then it has to be
    corrected.
    """
    seen = ifcfg.parse(subject.texts[Kind.IFCFG_NIC])
    expected = port_keys(subject.lab.deployment)
    return _compared(expected, seen, surplus=set(seen) - set(expected))


@check(
    id="ifcfg-bridge",
    summary="The external bridge's ifcfg file has the card's address and the keys of a bridge.",
    nodes=attached_nodes,
    needs=(Kind.IFCFG_BRIDGE,),
)
def bridge(subject: Subject) -> Judgement:
    """The card's keys of lab.yaml without those with a digit; BOOTPROTO becomes OVSBOOTPROTO.

    Then DEVICE, NAME, DEVICETYPE and TYPE of a bridge; and OVS_EXTRA, without which the bridge
    passes nothing after a reboot until neutron's agent runs. Further keys may be there, unless
    they give the bridge another address.
    """
    asked = subject.lab.deployment
    nic = next(nic for nic in subject.node.nics if nic.name == asked.external_nic)
    expected = bridge_keys(asked, nic)
    seen = ifcfg.parse(subject.texts[Kind.IFCFG_BRIDGE])
    surplus = {key for key in set(seen) - set(expected) if _OTHER_ADDRESS.fullmatch(key)}
    return _compared(expected, seen, surplus=surplus)


def _compared(
    expected: Mapping[str, str], seen: Mapping[str, str], *, surplus: set[str]
) -> Judgement:
    """Show only the keys that differ; all of them when none does."""
    wrong = [key for key, value in expected.items() if seen.get(key) != value]
    if not wrong and not surplus:
        return Judgement(ok=True, expected=_lines(expected), seen="the same")
    wanted = [f"{key}={expected[key]}" for key in wrong]
    wanted += [f"no {key}" for key in sorted(surplus)]
    found = [f"{key}={seen[key]}" if key in seen else f"no {key}" for key in wrong]
    found += [f"{key}={seen[key]}" for key in sorted(surplus)]
    return Judgement(ok=False, expected=", ".join(wanted), seen=", ".join(found))


def _lines(keys: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in keys.items())
