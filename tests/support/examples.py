"""The example labs and the host-specific settings that tests render them with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from labkit.lab.file import load
from labkit.lab.render import VagrantSettings
from labkit.lab.resolve import resolve

if TYPE_CHECKING:
    from labkit.lab.topology import ResolvedLab

ROOT = Path(__file__).parents[2]
LAB_ID = UUID("11111111-2222-4333-8444-555555555555")
EXAMPLES = {
    "packstack": ROOT / "lab.yaml",
    **{path.stem: path for path in sorted((ROOT / "tests" / "data" / "labs").glob("*.yaml"))},
}


def example(name: str) -> ResolvedLab:
    """Return an example lab, resolved with a fixed id."""
    return resolve(load(EXAMPLES[name]), lab_id=LAB_ID)


def settings(
    lab: ResolvedLab, directory: Path, *, key: Path | None = None, kvm: bool = False
) -> VagrantSettings:
    """Return settings that put everything of the host below one directory."""

    def paths(suffix: str) -> dict[str, Path]:
        return {node.name: directory / f"{node.name}{suffix}" for node in lab.nodes}

    return VagrantSettings(
        box_name=f"labkit-{lab.box}",
        box_version="1.0.0",
        domain_type="kvm" if kvm else "qemu",
        storage_pool="default",
        seed_paths=paths(".iso"),
        console_paths=paths("-console.log"),
        firstboot_paths=paths("-firstboot.log"),
        private_key_path=key or directory / "id_rsa",
    )


# A lab of two nodes as far as its answers; what a deployment asks for is to follow.
DEPLOYED = """\
name: demo
box: rehearsal
dns: {domain: demo.test}
networks:
  lan: {mode: nat, cidr: 10.0.0.0/24, gateway: 10.0.0.1}
nodes:
  one:
    roles: [controller, network]
    cpus: 1
    memory: 512 MiB
    nics:
      enp0s3: {network: lan, address: 10.0.0.3}
      enp0s8: {network: lan, address: 10.0.0.4}
  two:
    roles: [compute]
    cpus: 1
    memory: 512 MiB
    nics:
      enp0s3: {network: lan, address: 10.0.0.5}
      enp0s8: {network: lan, address: 10.0.0.6}
deployment:
"""
