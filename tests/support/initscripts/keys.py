"""The keys an ifcfg file of an Ethernet card, a bond, a bridge or an Open vSwitch device may have.

Keys of modems, ISDN, IPsec, tunnels and wireless cards are left out: a lab has none of these.
"""

from __future__ import annotations

import re

# sysconfig.txt, section ifcfg-<interface-name>; those of NUMBERED also with a number.
NUMBERED = frozenset({"IPADDR", "PREFIX", "NETMASK", "BROADCAST", "ARPCHECK", "ARPUPDATE"})
DOCUMENTED = NUMBERED | frozenset({
    "NAME", "DEVICE", "TYPE", "GATEWAY", "METRIC", "ONBOOT", "HOTPLUG", "USERCTL", "BOOTPROTO", "MTU",
    "WINDOW", "PEERDNS", "DNS1", "DNS2", "DOMAIN", "SCOPE", "SRCADDR", "HWADDR", "MACADDR",
    "NOZEROCONF", "PERSISTENT_DHCLIENT", "DHCPRELEASE", "NO_DHCP_HOSTNAME", "DHCP_SEND_HOSTNAME",
    "DHCP_HOSTNAME", "DHCP_FQDN", "DHCLIENT_IGNORE_GATEWAY", "DHCLIENTARGS", "NM_CONTROLLED", "ZONE",
    "IPV4_FAILURE_FATAL", "NETWORK", "DEFROUTE", "ARP", "LINKDELAY", "ETHTOOL_OPTS",
    "IPV6INIT", "IPV6FORWARDING", "IPV6ADDR", "IPV6ADDR_SECONDARIES", "IPV6_MTU", "IPV6_PRIVACY",
    "IPV6_ROUTER", "IPV6_AUTOCONF", "IPV6_CONTROL_RADVD", "DHCPV6C", "DHCPV6C_OPTIONS",
    "VLAN", "REORDER_HDR", "GVRP", "SLAVE", "MASTER", "BONDING_OPTS",
    "BRIDGE", "STP", "DELAY", "BRIDGING_OPTS",
})  # fmt: skip
# Read by a script and not documented: ifup, ifup-eth, ifup-ipv6, ifup-post, network-functions.
READ = frozenset({
    "DEVICETYPE", "UUID", "DEVTIMEOUT", "ETHTOOL_DELAY", "EXTRA_ROUTE_OPTS", "NOROUTESET",
    "NO_ALIASROUTING", "RESOLV_MODS", "DNS3", "VID", "PHYSDEV", "VLAN_EGRESS_PRIORITY_MAP", "PRIO",
    "AGEING", "TEAM_CONFIG", "TEAM_MASTER", "ARPING_WAIT", "IPV6_DEFAULTGW", "IPV6_DEFAULTDEV",
    "IPV6_FORCE_ACCEPT_RA", "IPV6_SET_SYSCTLS",
})  # fmt: skip
# Open vSwitch: rhel/README.RHEL.rst and rhel/etc_sysconfig_network-scripts_ifup-ovs.
OPENVSWITCH = frozenset({
    "OVS_BRIDGE", "OVS_OPTIONS", "OVS_EXTRA", "OVSBOOTPROTO", "OVSDHCPINTERFACES", "OVSREQUIRES",
    "BOND_IFACES", "OVS_TUNNEL_TYPE", "OVS_TUNNEL_OPTIONS", "OVS_PATCH_PEER", "OVS_PORT_MODE",
    "OVS_PORT_PATH", "DATAPATH",
})  # fmt: skip
# No script reads them; NetworkManager does (its settings plugin ifcfg-rh), and anaconda writes them.
NETWORKMANAGER = frozenset({
    "PEERROUTES", "IPV6_DEFROUTE", "IPV6_PEERDNS", "IPV6_PEERROUTES", "IPV6_FAILURE_FATAL",
    "PROXY_METHOD", "BROWSER_ONLY", "IPV6_ADDR_GEN_MODE",
})  # fmt: skip
KNOWN = DOCUMENTED | READ | OPENVSWITCH | NETWORKMANAGER
# The types that ifup-ovs has a branch for, 2.9 to 2.11.
OVS_TYPES = frozenset({
    "OVSBridge", "OVSUserBridge", "OVSPort", "OVSIntPort", "OVSBond", "OVSTunnel", "OVSPatchPort",
    "OVSDPDKPort", "OVSDPDKRPort", "OVSDPDKVhostUserPort", "OVSDPDKBond",
})  # fmt: skip


def is_known(key: str) -> bool:
    """Return whether a key means something in such a file."""
    return key in KNOWN or re.sub(r"[0-9]+$", "", key) in NUMBERED
