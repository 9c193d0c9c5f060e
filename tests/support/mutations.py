"""What can be wrong with a deployed lab: a change of one output, and the checks that must fail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.verify.outputs import Output
    from tests.support.transcripts import Outputs

HEAD = "controller"
IP = "ip-addr.txt"
OVS = "ovs-vsctl-show.txt"
PING = "ping-full-frames.txt"
ROUTES = "ip-route-get.txt"
TO_HEAD = "--- 172.16.208.39 ping statistics ---\n1 packets transmitted, "
UNIT = "systemctl-neutron-lbaasv2-agent.txt"
SERVICES = "openstack-compute-service-list.json"
HYPERVISORS = "openstack-hypervisor-list.json"
AGENTS = "openstack-network-agent-list.json"
BR_EX_ADDRESS = "    inet 172.16.208.39/24 brd 172.16.208.255 scope global br-ex\n"
NIC_HEAD = "    link/ether 08:00:27:c5:30:43 brd ff:ff:ff:ff:ff:ff\n    inet6 fe80::a00:27ff"
VXLAN_PORT = """\
        Port "vxlan-ac10d096"
            Interface "vxlan-ac10d096"
                type: vxlan
                options: {df_default="true", in_key=flow, local_ip="172.16.208.138", out_key=flow, remote_ip="172.16.208.150"}
"""
STRANGER = VXLAN_PORT.replace("ac10d096", "0a000001").replace("172.16.208.150", "10.0.0.1")
TWIN = VXLAN_PORT.replace("ac10d096", "ac10d096x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One change: `old` becomes `new` in a node's file, and exactly the checks in `fails` fail."""

    name: str
    file: str
    old: str
    new: str
    fails: frozenset[str]
    node: str = HEAD

    def of(self, outputs: Outputs) -> Outputs:
        output = outputs[self.node][self.file]
        assert output.text.count(self.old) == 1, f"{self.name}: its text is there once"
        changed: Output = replace(output, text=output.text.replace(self.old, self.new))
        return {**outputs, self.node: {**outputs[self.node], self.file: changed}}


def mutation(name: str, file: str, old: str, new: str, *fails: str, node: str = HEAD) -> Mutation:
    return Mutation(name=name, file=file, old=old, new=new, fails=frozenset(fails), node=node)


# Of the walk-through's own outputs.
DOCUMENT = (
    mutation("wrong remote_ip", OVS, 'remote_ip="172.16.208.150"', 'remote_ip="172.16.208.151"', "vxlan-ports", "vxlan-strangers"),
    mutation("wrong local_ip", OVS, 'local_ip="172.16.208.138"', 'local_ip="172.16.208.39"', "vxlan-ports"),
    mutation("wrong local_ip on the compute node", OVS, 'local_ip="172.16.208.150"', 'local_ip="172.16.208.141"', "vxlan-ports", node="compute"),
    mutation("missing tunnel", OVS, VXLAN_PORT, "", "vxlan-ports"),
    mutation("two tunnels to one peer", OVS, VXLAN_PORT, TWIN + VXLAN_PORT, "vxlan-ports"),
    mutation("tunnel of another type", OVS, "type: vxlan", "type: gre", "vxlan-ports"),
    mutation("broken tunnel", OVS, "                type: vxlan\n", '                type: vxlan\n                error: "could not add network device"\n', "vxlan-ports"),
    mutation("tunnel to a stranger", OVS, VXLAN_PORT, VXLAN_PORT + STRANGER, "vxlan-strangers"),
    mutation("wrong tunnel name", OVS, 'Interface "vxlan-ac10d096"', 'Interface "vxlan-ac10d08a"', "vxlan-names"),
    mutation("kernel's name for a tunnel", OVS, 'Interface "vxlan-ac10d08a"', 'Interface "vxlan_sys_4789"', "vxlan-names", node="compute"),
    mutation("no vxlan device", IP, "15: vxlan_sys_4789: ", "15: vxlan_sys_8472: ", "vxlan-device"),
    mutation("vxlan device down", IP, "vxlan_sys_4789: <BROADCAST,MULTICAST,UP,LOWER_UP>", "vxlan_sys_4789: <BROADCAST,MULTICAST>", "vxlan-device", node="compute"),
    mutation("address also on the card", IP, NIC_HEAD, NIC_HEAD.replace("    inet6", BR_EX_ADDRESS + "    inet6"), "external-nic-bare"),
    mutation("no address on the bridge", IP, BR_EX_ADDRESS, "", "external-address"),
    mutation("wrong prefix length", IP, "inet 172.16.208.39/24", "inet 172.16.208.39/16", "external-address"),
    mutation("bridge down", IP, "br-ex: <BROADCAST,MULTICAST,UP,LOWER_UP>", "br-ex: <BROADCAST,MULTICAST>", "external-address"),
    mutation("another MAC on the card", IP, NIC_HEAD, NIC_HEAD.replace("30:43", "30:44"), "external-mac"),
    mutation("another MAC on a card of QEMU's", IP, NIC_HEAD, NIC_HEAD.replace("08:00:27:c5:30:43", "52:54:00:c5:30:43"), "external-mac"),
    mutation("no external device", IP, "16: br-ex:", "16: br-out:", "external-address", "external-mac"),
    mutation("wrong tunnel address", IP, "inet 172.16.208.138/24", "inet 172.16.208.139/24", "tunnel-address"),
    mutation("tunnel card down", IP, "enp0s8: <BROADCAST,MULTICAST,UP,LOWER_UP>", "enp0s8: <BROADCAST,MULTICAST>", "tunnel-address", node="compute"),
    mutation("no management address", IP, "inet 172.16.208.141/24", "inet 172.16.208.142/24", "management-address", node="compute"),
    mutation("no br-int", OVS, "Bridge br-int", "Bridge br-other", "integration-bridge", "tunnel-patch", "external-patch"),
    mutation("no br-tun", OVS, "Bridge br-tun", "Bridge br-other", "tunnel-bridge", "tunnel-patch", "vxlan-ports", node="compute"),
    mutation("no br-ex", OVS, "Bridge br-ex", "Bridge br-other", "external-bridge", "external-port", "external-patch"),
    mutation("card is no port", OVS, '            Interface "enp0s3"\n', "", "external-port"),
    mutation("card gone from the kernel", OVS, '            Interface "enp0s3"\n', '            Interface "enp0s3"\n                error: "could not open network device enp0s3 (No such device)"\n', "external-port"),
    mutation("wrong patch peer", OVS, "peer=patch-int", "peer=patch-ex", "tunnel-patch", node="compute"),
    mutation("no external patch", OVS, "Interface int-br-ex", "Interface int-br-x", "external-patch"),
    mutation("patch port of another type", OVS, "                type: patch\n                options: {peer=int-br-ex}", "                type: internal", "external-patch"),
    mutation("broken patch port", OVS, "                options: {peer=int-br-ex}", '                options: {peer=int-br-ex}\n                error: "no such port"', "external-patch"),
    mutation("bridge file with a port on DHCP", "ifcfg-br-ex", "ONBOOT=yes\n", "ONBOOT=yes\nOVSDHCPINTERFACES=enp0s3\n", "ifcfg-bridge"),
    mutation("port file without its bridge", "ifcfg-enp0s3", "OVS_BRIDGE=br-ex\n", "", "ifcfg-port"),
    mutation("port file with an address", "ifcfg-enp0s3", "ONBOOT=yes\n", "ONBOOT=yes\nIPADDR=172.16.208.39\n", "ifcfg-port"),
    mutation("port file of a plain card", "ifcfg-enp0s3", "TYPE=OVSPort", "TYPE=Ethernet", "ifcfg-port"),
    mutation("port file with a command", "ifcfg-enp0s3", "ONBOOT=yes", "ONBOOT=$(reboot)", "ifcfg-port"),
    mutation("bridge file without OVS_EXTRA", "ifcfg-br-ex", 'OVS_EXTRA="set bridge br-ex fail_mode=standalone"\n', "", "ifcfg-bridge"),
    mutation("bridge file with another gateway", "ifcfg-br-ex", "GATEWAY=172.16.208.254", "GATEWAY=172.16.208.1", "ifcfg-bridge"),
    mutation("bridge file with another netmask", "ifcfg-br-ex", "NETMASK=255.255.255.0", "NETMASK=255.255.0.0", "ifcfg-bridge"),
    mutation("bridge file without an address", "ifcfg-br-ex", "IPADDR=172.16.208.39\n", "", "ifcfg-bridge"),
    mutation("bridge file on DHCP", "ifcfg-br-ex", "OVSBOOTPROTO=static", "OVSBOOTPROTO=dhcp", "ifcfg-bridge"),
    mutation("bridge file with a second gateway", "ifcfg-br-ex", "ONBOOT=yes\n", "ONBOOT=yes\nGATEWAY1=172.16.208.1\n", "ifcfg-bridge"),
    mutation("bridge file with DHCP beside the address", "ifcfg-br-ex", "ONBOOT=yes\n", "ONBOOT=yes\nBOOTPROTO=dhcp\n", "ifcfg-bridge"),
    mutation("bridge file that is not brought up", "ifcfg-br-ex", "ONBOOT=yes\n", "ONBOOT='No'\n", "ifcfg-bridge"),
    mutation("bridge file with fail_mode in another's OVS_EXTRA", "ifcfg-br-ex", '"set bridge br-ex fail_mode=standalone"', '"set bridge br-ex stp_enable=true -- set bridge br-x fail_mode=standalone"', "ifcfg-bridge"),
    mutation("port file on DHCP", "ifcfg-enp0s3", "BOOTPROTO=none", "BOOTPROTO=dhcp", "ifcfg-port"),
    mutation("port file with a second address", "ifcfg-enp0s3", "ONBOOT=yes\n", "ONBOOT=yes\nIPADDR1=172.16.208.40\n", "ifcfg-port"),
    mutation("port file of another bridge", "ifcfg-enp0s3", "ONBOOT=yes\n", "ONBOOT=yes\nBRIDGE=br0\n", "ifcfg-port"),
    mutation("inactive unit", UNIT, "Active: active (running)", "Active: inactive (dead)", "lbaas-unit"),
    mutation("restarting unit", UNIT, "Active: active (running)", "Active: activating (auto-restart) (Result: exit-code)", "lbaas-unit"),
    mutation("unknown unit", UNIT, "   Active: ", "   Inactive: ", "lbaas-unit"),
)  # fmt: skip
# Of OpenStack's answers, which the walk-through does not show.
OPENSTACK = (
    mutation("service down", SERVICES, '"nova-compute", "Host": "compute.packstack.test", "Status": "enabled", "State": "up"', '"nova-compute", "Host": "compute.packstack.test", "Status": "enabled", "State": "down"', "nova-services"),
    mutation("service disabled", SERVICES, '"nova-scheduler", "Host": "controller.packstack.test", "Status": "enabled"', '"nova-scheduler", "Host": "controller.packstack.test", "Status": "disabled"', "nova-services"),
    mutation("no scheduler", SERVICES, '"nova-scheduler"', '"nova-other"', "nova-services"),
    mutation("dead switch agent", AGENTS, '"compute.packstack.test", "Alive": ":-)"', '"compute.packstack.test", "Alive": false', "neutron-agents"),
    mutation("dead metering agent", AGENTS, '"Metering agent", "Host": "controller.packstack.test", "Alive": ":-)"', '"Metering agent", "Host": "controller.packstack.test", "Alive": false', "neutron-agents"),
    mutation("no L3 agent", AGENTS, '"L3 agent"', '"Some agent"', "neutron-agents"),
    mutation("dead load balancer agent", AGENTS, '"Loadbalancerv2 agent", "Host": "controller.packstack.test", "Alive": true', '"Loadbalancerv2 agent", "Host": "controller.packstack.test", "Alive": "xxx"', "lbaas-agent"),
    mutation("no load balancer agent", AGENTS, '"Loadbalancerv2 agent"', '"Other agent"', "lbaas-agent"),
    mutation("agents are no JSON", AGENTS, '[{"Agent Type": "Open vSwitch agent"', "Unauthorized", "neutron-agents", "lbaas-agent"),
    mutation("hypervisor down", HYPERVISORS, '"up"', '"down"', "hypervisors"),
    mutation("no hypervisor", HYPERVISORS, "compute.packstack.test", "localhost.localdomain", "hypervisors"),
    mutation("compute node in no cell", "nova-cell-hosts.txt", "compute.packstack.test", "localhost.localdomain", "cells"),
    mutation("keystone down", "keystone-http.txt", "200", "503", "keystone-answers"),
    mutation("no token", "openstack-token.json", '"3f1c"', '""', "keystone-token"),
    mutation("dashboard fails", "dashboard-http.txt", "200", "500", "dashboard-answers"),
    mutation("large packets are lost", PING, f"{TO_HEAD}1 received, 0%", f"{TO_HEAD}0 received, 100%", "full-frames", node="compute"),
    mutation("larger packet than the card takes", PING, f"{TO_HEAD}1 received, 0%", f"{TO_HEAD}0 received, +1 errors, 100%", "full-frames", node="compute"),
    mutation("no ping", PING, "--- 172.16.208.39 ping statistics ---", "", "full-frames", node="compute"),
    mutation("A5 controller talks from its second card", ROUTES, "src 172.16.208.39", "src 172.16.208.138", "source-address"),
    mutation("no route to the controller", ROUTES, "172.16.208.39 dev", "172.16.208.40 dev", "source-address", node="compute"),
    mutation("no routes", ROUTES, "dev br-ex src", "unreachable", "source-address"),
)  # fmt: skip


# What a user or the distribution may have added or spelt differently: nothing fails.
ALLOWED = (
    mutation("port file with further keys", "ifcfg-enp0s3", "ONBOOT=yes\n", "ONBOOT=yes\nMTU=9000\nNM_CONTROLLED=no\nIPV6INIT=no\nHWADDR=08:00:27:c5:30:43\nETHTOOL_OPTS='speed 1000'\n"),
    mutation("port file with comments and other quotes", "ifcfg-enp0s3", "ONBOOT=yes\n", "# it's $mine\n  ONBOOT='yes' # on\n\nOWNER='a $x'\nCOST=\"\\$5\"\nexport ZONE=public\n"),
    mutation("port file without BOOTPROTO and ONBOOT", "ifcfg-enp0s3", "ONBOOT=yes\nBOOTPROTO=none\n", ""),
    mutation("port file with another name", "ifcfg-enp0s3", "NAME=enp0s3", "NAME='System uplink'"),
    mutation("port file with static for none", "ifcfg-enp0s3", "BOOTPROTO=none", 'BOOTPROTO="static"'),
    mutation("bridge file with further keys", "ifcfg-br-ex", "ONBOOT=yes\n", "ONBOOT=yes\nMTU=9000\nZONE=public\nDNS1=1.1.1.1\nIPV6INIT=no\n"),
    mutation("bridge file with a second address", "ifcfg-br-ex", "ONBOOT=yes\n", "ONBOOT=yes\nIPADDR1=172.16.208.40\nPREFIX1=24\n"),
    mutation("bridge file with a prefix length", "ifcfg-br-ex", "NETMASK=255.255.255.0", "PREFIX='24'"),
    mutation("bridge file with numbered keys", "ifcfg-br-ex", "IPADDR=172.16.208.39\nNETMASK=255.255.255.0", "IPADDR0=172.16.208.39\nPREFIX0=24"),
    mutation("bridge file with none for static", "ifcfg-br-ex", "OVSBOOTPROTO=static", "OVSBOOTPROTO=none"),
    mutation("bridge file with more in OVS_EXTRA", "ifcfg-br-ex", '"set bridge br-ex fail_mode=standalone"', '"set bridge br-ex other-config:hwaddr=08:00:27:c5:30:43 fail_mode=standalone -- set bridge br-ex stp_enable=true"'),
    mutation("second address of the bridge", IP, BR_EX_ADDRESS, BR_EX_ADDRESS + BR_EX_ADDRESS.replace("208.39", "208.40")),
    mutation("further address of the tunnel card", IP, "    inet 172.16.208.138/24", "    inet 10.1.0.1/24 scope global enp0s8\n    inet 172.16.208.138/24"),
    mutation("MAC of a second port of the bridge", IP, "16: br-ex: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UNKNOWN group default qlen 1000\n    link/ether 08:00:27:c5:30:43", "16: br-ex: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UNKNOWN group default qlen 1000\n    link/ether 08:00:27:8b:da:87"),
    mutation("further bridge and port", OVS, "    Bridge br-tun\n", '    Bridge br-mine\n        Port "gre0"\n            Interface "gre0"\n                type: gre\n                options: {remote_ip="10.0.0.1"}\n    Bridge br-tun\n'),
    mutation("further port of the external bridge", OVS, '            Interface "enp0s3"\n', '            Interface "enp0s3"\n        Port "enp0s9"\n            Interface "enp0s9"\n'),
)  # fmt: skip
ALLOWED_OPENSTACK = (
    mutation("service of a host taken out", SERVICES, "[{", '[{"Binary": "nova-compute", "Host": "old", "Status": "disabled", "State": "down"}, {'),
    mutation("service of somebody's own", SERVICES, "[{", '[{"Binary": "nova-console", "Host": "controller.packstack.test", "Status": "enabled", "State": "down"}, {'),
    mutation("agent of a host taken out", AGENTS, "[{", '[{"Agent Type": "L3 agent", "Host": "old", "Alive": false}, {'),
    mutation("agent of somebody's own", AGENTS, "[{", '[{"Agent Type": "BGP dynamic routing agent", "Host": "controller.packstack.test", "Alive": false}, {'),
    mutation("hypervisor of somebody's own", HYPERVISORS, "[{", '[{"Hypervisor Hostname": "old", "State": "down"}, {'),
)  # fmt: skip
