"""Outputs of deployed labs: the walk-through's own, and ones made for any lab in both styles of OVS."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

from labkit.lab import deployment, releases
from labkit.verify import outputs
from labkit.verify.checks import ifcfg
from labkit.verify.checks.tunnels import port_name
from labkit.verify.outputs import Kind, Output, file_name
from labkit.verify.run import ERROR_SUFFIX
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab, ResolvedNode

DOCUMENT = ROOT / "tests" / "data" / "document" / "verify"
Outputs = dict[str, dict[str, Output]]


@cache
def _document() -> dict[tuple[str, str], str]:
    return {
        (path.parent.name, path.name): path.read_text(encoding="utf-8")
        for path in sorted(DOCUMENT.glob("*/*"))
    }


def document() -> Outputs:
    """Return the outputs that the walk-through shows."""
    found: Outputs = {}
    for (node, file), text in _document().items():
        found.setdefault(node, {})[file] = Output(text=text)
    return found


def whole(lab: ResolvedLab) -> Outputs:
    """Return the walk-through's outputs, and beside them OpenStack's answers, pings and routes."""
    found = document()
    found["controller"] |= openstack(lab)
    for node in lab.nodes:
        found[node.name] |= full_frames(lab, node) | routes(lab, node)
    return found


def made(lab: ResolvedLab, *, quoted: bool = False) -> Outputs:
    """Return the outputs of a lab as it should be.

    Args:
        lab: The lab.
        quoted: Names in quotes, as Open vSwitch 2.9 prints those with a digit.
    """
    found: Outputs = {}
    for node in deployment.deployed_nodes(lab):
        files = {
            Kind.IP_ADDR: _ip_addr(lab, node),
            Kind.OVS: _ovs(lab, node, quote='"' if quoted else ""),
        }
        if node in deployment.network_nodes(lab):
            if deployment.attaches_external_nic(lab):
                pair = ifcfg_pair(lab, node)
                for kind in (Kind.IFCFG_NIC, Kind.IFCFG_BRIDGE):
                    files[kind] = pair[file_name(kind, lab)]
            if lab.deployment.lbaas:
                files[Kind.LBAAS_UNIT] = (
                    "* neutron-lbaasv2-agent.service - Agent\n"
                    "     Loaded: loaded (/usr/lib/systemd/system/x; enabled)\n"
                    "     Active: active (running) since Tue 2018-07-03 02:33:00 EDT; 2h ago\n"
                )
        found[node.name] = full_frames(lab, node) | routes(lab, node)
        found[node.name] |= {
            file_name(kind, lab): Output(text=text) for kind, text in files.items()
        }
    found[deployment.controller(lab).name] |= openstack(lab)
    return found


def full_frames(lab: ResolvedLab, node: ResolvedNode) -> dict[str, Output]:
    """Return what ping says of a node's full frames, nothing for a node that sends none."""
    text = "".join(
        f"PING {frame.to} ({frame.to}) from {frame.source} : "
        f"{frame.mtu - 28}({frame.mtu}) bytes of data.\n\n"
        f"--- {frame.to} ping statistics ---\n"
        "1 packets transmitted, 1 received, 0% packet loss, time 0ms\n"
        "rtt min/avg/max/mdev = 0.456/0.456/0.456/0.000 ms\n\n"
        for frame in outputs.full_frames(lab, node)
    )
    return {file_name(Kind.FULL_FRAMES, lab): Output(text=text)} if text else {}


def routes(lab: ResolvedLab, node: ResolvedNode) -> dict[str, Output]:
    """Return what `ip route get` says of a node's peers, nothing for a node without any."""
    own = deployment.management_address(node)
    text = "".join(
        f"{peer} dev br-ex src {own} uid 0 \n    cache \n" for peer in outputs.peers(lab, node)
    )
    return {file_name(Kind.ROUTES, lab): Output(text=text)} if text else {}


def ifcfg_pair(lab: ResolvedLab, node: ResolvedNode) -> dict[str, str]:
    """Return the two ifcfg files of a node whose external card is a port, by name."""
    asked = lab.deployment
    nic = next(nic for nic in node.nics if nic.name == asked.external_nic)
    return {
        file_name(Kind.IFCFG_NIC, lab): _ifcfg(ifcfg.port_keys(asked, nic)),
        file_name(Kind.IFCFG_BRIDGE, lab): _ifcfg(ifcfg.bridge_keys(asked, nic)),
    }


def openstack(lab: ResolvedLab) -> dict[str, Output]:
    """Return what OpenStack's clients print on the controller of a lab as it should be."""
    head = deployment.controller(lab).fqdn
    computes = [node.fqdn for node in deployment.compute_nodes(lab)]
    services = [(name, head) for name in releases.facts(lab.release).nova_services]
    services += [("nova-compute", host) for host in computes]
    agents = [("Open vSwitch agent", node.fqdn) for node in deployment.tunnel_nodes(lab)]
    kinds = ["DHCP agent", "L3 agent", "Metadata agent", "Metering agent"]
    kinds += ["Loadbalancerv2 agent"] if lab.deployment.lbaas else []
    agents += [(kind, n.fqdn) for n in deployment.network_nodes(lab) for kind in kinds]
    rule = "+-----------+------+--------------------------+"
    cells = "\n".join(f"|   cell1   | 9c2d | {host} |" for host in computes)
    texts = {
        Kind.COMPUTE_SERVICES: json.dumps(
            [
                {"ID": i, "Binary": name, "Host": host, "Status": "enabled", "State": "up"}
                for i, (name, host) in enumerate(services)
            ]
        ),
        Kind.HYPERVISORS: json.dumps(
            [{"ID": 1, "Hypervisor Hostname": host, "State": "up"} for host in computes]
        ),
        Kind.AGENTS: json.dumps(
            [
                {"Agent Type": kind, "Host": host, "Alive": (True, ":-)")[i % 2], "State": True}
                for i, (kind, host) in enumerate(agents)
            ]
        ),
        Kind.TOKEN: '{"expires": "2018-07-03T07:33:00+0000", "user_id": "3f1c"}\n',
        Kind.CELL_HOSTS: f"{rule}\n| Cell Name | Cell UUID | Hostname |\n{rule}\n{cells}\n{rule}\n",
        Kind.KEYSTONE_HTTP: "200",
        Kind.DASHBOARD_HTTP: "200",
    }
    return {file_name(kind, lab): Output(text=text) for kind, text in texts.items()}


def _ifcfg(keys: dict[str, str]) -> str:
    return "".join(f'{key}="{value}"\n' for key, value in keys.items())


def _ip_addr(lab: ResolvedLab, node: ResolvedNode) -> str:
    asked = lab.deployment
    moved = deployment.attaches_external_nic(lab) and node in deployment.network_nodes(lab)
    devices = []
    for nic in node.nics:
        outside = moved and nic.name == asked.external_nic
        devices.append((nic.name, nic.mac, "" if outside else str(nic.address)))
        if outside:
            devices.append((asked.external_bridge, nic.mac, str(nic.address)))
    if len(deployment.tunnel_nodes(lab)) > 1 and node in deployment.tunnel_nodes(lab):
        devices.append(("vxlan_sys_4789", "b6:26:b9:70:3b:8a", ""))
    lines = []
    for number, (name, mac, address) in enumerate(devices, start=2):
        lines.append(f"{number}: {name}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP")
        lines.append(f"    link/ether {mac} brd ff:ff:ff:ff:ff:ff")
        lines += [f"    inet {address} brd 172.16.208.255 scope global {name}"] if address else []
    return "\n".join(lines) + "\n"


def _ovs(lab: ResolvedLab, node: ResolvedNode, *, quote: str) -> str:
    external = lab.deployment.external_bridge
    bridges: dict[str, list[tuple[str, str, str]]] = {}
    ends = deployment.tunnel_nodes(lab)
    if node in ends:
        bridges["br-int"] = [("patch-tun", "patch", "{peer=patch-int}")]
        bridges["br-tun"] = [("patch-int", "patch", "{peer=patch-tun}")]
    for peer in ends if node in ends else ():
        if peer is not node:
            remote = deployment.tunnel_address(lab, peer)
            local = deployment.tunnel_address(lab, node)
            options = f'{{df_default="true", in_key=flow, local_ip="{local}", out_key=flow, remote_ip="{remote}"}}'
            bridges["br-tun"].append((port_name(remote), "vxlan", options))
    if node in deployment.network_nodes(lab):
        bridges["br-int"].append((f"int-{external}", "patch", f"{{peer=phy-{external}}}"))
        bridges[external] = [(f"phy-{external}", "patch", f"{{peer=int-{external}}}")]
        if deployment.attaches_external_nic(lab):
            bridges[external].append((lab.deployment.external_nic, "", ""))
    lines = ["8690bb97-ba2f-4b7b-8087-8d3484ba2d64"]
    for bridge, ports in bridges.items():
        lines += [f"    Bridge {bridge}", "        fail_mode: secure"]
        for name, kind, options in [*ports, (bridge, "internal", "")]:
            shown = f"{quote}{name}{quote}"
            lines += [f"        Port {shown}", f"            Interface {shown}"]
            lines += [f"                type: {kind}"] if kind else []
            lines += [f"                options: {options}"] if options else []
    return "\n".join([*lines, '    ovs_version: "3.1.0"']) + "\n"


def save(outputs: Outputs, directory: Path) -> None:
    """Write outputs as `labkit verify --from` reads them."""
    for node, files in outputs.items():
        (directory / node).mkdir(exist_ok=True)
        for name, output in files.items():
            (directory / node / name).write_text(output.text, encoding="utf-8", newline="")
            if output.returncode or output.stderr:
                text = f"exit {output.returncode}\n{output.stderr}"
                (directory / node / f"{name}{ERROR_SUFFIX}").write_text(text, encoding="utf-8")


def packed(outputs: Mapping[str, Output]) -> str:
    """Return outputs as the collecting script prints them."""
    heads = [
        f"{item.returncode} {len(item.text.encode())} {len(item.stderr.encode())} {file}"
        for file, item in outputs.items()
    ]
    bodies = [item.text + item.stderr for item in outputs.values()]
    return "\n".join([f"labkit-outputs {len(outputs)}", *heads, ""]) + "".join(bodies)
