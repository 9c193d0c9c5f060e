"""Checks of the two ifcfg files that keep the external bridge over a reboot."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv4Network
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
# Further keys do no harm, among them further addresses of the bridge, unless they contradict.
CONTRADICTS_PORT = r"(IPADDR|PREFIX|NETMASK|GATEWAY)[0-9]*|BRIDGE|MASTER|BOOTPROTO"
CONTRADICTS_BRIDGE = (
    r"GATEWAY[0-9]*|(OVS)?BOOTPROTO|OVSDHCPINTERFACES|HWADDR|BRIDGE|MASTER|OVS_BRIDGE"
)
# Names for people and for NetworkManager, which initscripts do not read.
_FREE = frozenset({"NAME", "UUID"})


def port_keys(deployment: Deployment, nic: ResolvedNic) -> dict[str, str]:
    """Return all keys of the external card's file, as puppet-vswitch writes it, and its MTU.

    puppet-vswitch moves MTU to the bridge. Without one of its own the card has 1500 bytes after a
    reboot, and Open vSwitch then gives the bridge no more (update_mtu_ofproto of ofproto/ofproto.c).

    Args:
        deployment: What is installed.
        nic: The external card as labkit configured it.
    """
    mtu = {} if nic.network.mtu is None else {"MTU": str(nic.network.mtu)}
    return {
        "DEVICE": deployment.external_nic,
        "NAME": deployment.external_nic,
        "DEVICETYPE": "ovs",
        "TYPE": "OVSPort",
        "OVS_BRIDGE": deployment.external_bridge,
        "ONBOOT": "yes",
        "BOOTPROTO": "none",
        **mtu,
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
    summary="The external card's ifcfg file has the keys of a bridge port and no address.",
    nodes=attached_nodes,
    needs=(Kind.IFCFG_NIC,),
)
def port(subject: Subject) -> Judgement:
    """DEVICE, DEVICETYPE, TYPE, OVS_BRIDGE, ONBOOT, BOOTPROTO, MTU if the network has one.

    NAME may be any, and further keys may be there, in any order and with any quotes, unless they
    give the card an address or another bridge. Packstack leaves the file as it was when the port
    was there before it, and writes no MTU into it: then it has to be corrected.
    """
    seen = ifcfg.parse(subject.texts[Kind.IFCFG_NIC])
    expected = port_keys(subject.lab.deployment, _external_nic(subject))
    return _compared(expected, seen, contradicts=CONTRADICTS_PORT)


@check(
    id="ifcfg-bridge",
    summary="The external bridge's ifcfg file has the card's address and the keys of a bridge.",
    nodes=attached_nodes,
    needs=(Kind.IFCFG_BRIDGE,),
)
def bridge(subject: Subject) -> Judgement:
    """The card's keys of lab.yaml without those with a digit; BOOTPROTO becomes OVSBOOTPROTO.

    Then DEVICE, DEVICETYPE and TYPE of a bridge; and fail_mode=standalone in OVS_EXTRA, without
    which the bridge passes nothing after a reboot until neutron's agent runs. NAME and UUID may be
    any, PREFIX may stand for NETMASK, and further keys and addresses may be there, in any order
    and with any quotes, unless they give the bridge another gateway or DHCP.
    """
    expected = bridge_keys(subject.lab.deployment, _external_nic(subject))
    seen = ifcfg.parse(subject.texts[Kind.IFCFG_BRIDGE])
    return _compared(expected, seen, contradicts=CONTRADICTS_BRIDGE)


def _external_nic(subject: Subject) -> ResolvedNic:
    name = subject.lab.deployment.external_nic
    return next(nic for nic in subject.node.nics if nic.name == name)


def _compared(
    expected: Mapping[str, str], seen: Mapping[str, str], *, contradicts: str
) -> Judgement:
    """Show only the keys that differ; all of them when none does."""
    meant, found = _meaning(expected), _meaning(seen)
    wrong = [key for key, value in meant.items() if found.get(key) != value]
    surplus = sorted(key for key in set(found) - set(meant) if re.fullmatch(contradicts, key))
    if not wrong and not surplus:
        return Judgement(ok=True, expected=_lines(expected), seen="the same")
    wanted = [f"{key}={expected.get(key, meant[key])}" for key in wrong]
    wanted += [f"no {key}" for key in surplus]
    shown = {**found, **seen}
    told = [f"{key}={shown[key]}" if key in shown else f"no {key}" for key in wrong]
    told += [f"{key}={shown[key]}" for key in surplus]
    return Judgement(ok=False, expected=", ".join(wanted), seen=", ".join(told))


def _meaning(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the keys as initscripts 9.49 takes them, so that other spellings are no difference.

    A card without ONBOOT is brought up, and any protocol but DHCP and BOOTP is a static address.
    """
    found = {key: value for key, value in keys.items() if key not in _FREE}
    found["ONBOOT"] = "no" if found.get("ONBOOT", "").lower() == "no" else "yes"
    for key in {"BOOTPROTO", "OVSBOOTPROTO"} & set(found):
        if found[key] not in {"dhcp", "bootp"}:
            del found[key]
    # The first address is IPADDR0 where there is no IPADDR, and has the mask of its own number.
    if "IPADDR" not in found and "IPADDR0" in found:
        for key in ("IPADDR", "PREFIX", "NETMASK"):
            found[key] = found.pop(f"{key}0", "")
    mask = found.pop("NETMASK", "")
    if mask and not found.get("PREFIX"):
        with suppress(ValueError):
            found["PREFIX"] = str(IPv4Network(f"0.0.0.0/{mask}").prefixlen)
    bridge, extra = found.get("DEVICE", ""), found.get(EXTRA, "")
    if re.search(rf"set bridge {re.escape(bridge)} (?:(?!--).)*\bfail_mode=standalone\b", extra):
        found[EXTRA] = f"set bridge {bridge} fail_mode=standalone"
    return found


def _lines(keys: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in keys.items())
