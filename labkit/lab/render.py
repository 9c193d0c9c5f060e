"""Renders a resolved lab into text: guest files, Vagrantfile, libvirt networks. Writes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree as ET

from labkit.errors import HostError
from labkit.lab.templates import render
from labkit.lab.topology import LAB_NAMESPACE, NetworkMode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab, ResolvedNetwork, ResolvedNode

XML_SPECIAL = re.compile(r"[<>&'\"]")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFile:
    """A file labkit puts into a guest, owned by root.

    Attributes:
        path: Absolute path in the guest.
        content: Its text.
        mode: Permission bits.
    """

    path: str
    content: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class VagrantSettings:
    """What the Vagrantfile needs to know of this host beside the lab.

    Attributes:
        box_name: The box's name in Vagrant's catalogue.
        box_version: The box's version there.
        domain_type: kvm where it was seen to work, else qemu (emulation).
        storage_pool: libvirt pool of the box volume and the nodes' disks.
        seed_paths: Per node name, its seed ISO.
        console_paths: Per node name, the file its serial console is written to.
        firstboot_paths: Per node name, the file labkit-firstboot reports to.
        private_key_path: SSH key of user vagrant, RSA in PEM form (Debian's net-ssh reads no
            other); Vagrant refuses the file when it does not exist.
    """

    box_name: str
    box_version: str
    domain_type: Literal["kvm", "qemu"]
    storage_pool: str
    seed_paths: Mapping[str, Path]
    console_paths: Mapping[str, Path]
    firstboot_paths: Mapping[str, Path]
    private_key_path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LabTexts:
    """Everything that is rendered from the lab alone, without knowing its host.

    Attributes:
        networks: libvirt's definition of every network labkit makes, by its name in lab.yaml.
        guest: Every node's configuration files, by the node's name.
    """

    networks: Mapping[str, str]
    guest: Mapping[str, tuple[GuestFile, ...]]

    def files(self) -> dict[str, str]:
        """Return all of them as relative path and text."""
        return {
            **{f"networks/{name}.xml": text for name, text in self.networks.items()},
            **{
                f"{node}{file.path}": file.content
                for node, files in self.guest.items()
                for file in files
            },
        }


def lab_mark(lab: ResolvedLab) -> str:
    """Return the description every domain of the lab carries."""
    return f"labkit lab={lab.name} id={lab.lab_id}"


def node_files(lab: ResolvedLab, node: ResolvedNode) -> tuple[GuestFile, ...]:
    """Return the configuration files of a node, ifcfg files first."""
    scripts = "/etc/sysconfig/network-scripts"
    ifcfgs = [
        GuestFile(
            path=f"{scripts}/ifcfg-{nic.name}", content=render("kickstart/ifcfg.j2", nic=nic)
        )
        for nic in node.nics
    ]
    templates = {
        "/etc/hostname": "hostname.j2",
        "/etc/hosts": "hosts.j2",
        "/etc/resolv.conf": "resolv.conf.j2",
        "/etc/sysconfig/network": "sysconfig-network.j2",
        "/etc/sysctl.d/90-labkit-multihome.conf": "multihome-sysctl.conf.j2",
        "/etc/udev/rules.d/70-persistent-net.rules": "persistent-net.rules.j2",
    }
    others = [
        GuestFile(path=path, content=render(f"kickstart/{template}", lab=lab, node=node))
        for path, template in templates.items()
    ]
    return (*ifcfgs, *others)


def vagrantfile(lab: ResolvedLab, settings: VagrantSettings) -> str:
    """Return the one Vagrantfile of all nodes.

    Raises:
        HostError: A path cannot be put into libvirt's XML by vagrant-libvirt.
    """
    for paths in (settings.seed_paths, settings.console_paths, settings.firstboot_paths):
        for node in lab.nodes:
            _check_path(paths[node.name])
    return render("Vagrantfile.j2", lab=lab, settings=settings, mark=lab_mark(lab))


def network_xml(lab: ResolvedLab, network: ResolvedNetwork) -> str:
    """Return libvirt's definition of a network labkit makes.

    Neither DHCP nor DNS is offered, so libvirt starts no dnsmasq: the guests' addresses are
    static and their name servers come from lab.yaml.

    Raises:
        ValueError: The network is an existing bridge, which libvirt does not manage.
    """
    if network.libvirt_name is None:
        msg = f"network '{network.name}' is a bridge of the host"
        raise ValueError(msg)
    # Not ET.register_namespace: that changes a table the whole process shares.
    root = ET.Element("network")
    ET.SubElement(root, "name").text = network.libvirt_name
    ET.SubElement(root, "uuid").text = str(network.uuid)
    metadata = ET.SubElement(root, "metadata")
    attributes = {"xmlns:labkit": LAB_NAMESPACE, "id": str(lab.lab_id), "name": lab.name}
    ET.SubElement(metadata, "labkit:lab", attributes)
    if network.mode is NetworkMode.NAT:
        ET.SubElement(root, "forward", mode="nat")
    ET.SubElement(root, "bridge", name=network.bridge, stp="off", delay="0")
    if network.mtu is not None:
        ET.SubElement(root, "mtu", size=str(network.mtu))
    ET.SubElement(root, "dns", enable="no")
    if network.gateway is not None:
        prefix = str(network.cidr.prefixlen)
        ET.SubElement(root, "ip", address=str(network.gateway), prefix=prefix)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def lab_texts(lab: ResolvedLab) -> LabTexts:
    """Return everything that is rendered from the lab alone."""
    return LabTexts(
        networks={
            network.name: network_xml(lab, network)
            for network in lab.networks
            if network.libvirt_name is not None
        },
        guest={node.name: node_files(lab, node) for node in lab.nodes},
    )


def _check_path(path: Path) -> None:
    # vagrant-libvirt writes paths into the domain XML as they are (0.11.2, domain.xml.erb).
    found = XML_SPECIAL.search(str(path))
    if found is not None:
        msg = (
            f"A path without < > & ' \" was expected, because vagrant-libvirt cannot pass those on "
            f"to libvirt, and '{path}' has {found[0]} in it."
        )
        raise HostError(
            msg, hint="Move the lab to another directory, or set LABKIT_STATE_DIR to one."
        )
