"""Labs of one controller and any number of compute nodes, as small as Packstack allows."""

from __future__ import annotations

HEAD = """\
name: {name}
box: rehearsal
dns: {{servers: [192.0.2.53], domain: {name}.test}}
networks:
  lan: {{mode: nat, cidr: 10.77.{number}.0/24, gateway: 10.77.{number}.254}}
nodes:
"""
NODE = """\
  {name}:
    roles: [{role}]
    cpus: 1
    memory: 1 GiB
    disk: 8 GiB
    nics:
      enp0s3: {{network: lan, address: 10.77.{number}.{first}}}
      enp0s8: {{network: lan, address: 10.77.{number}.{second}}}
"""


def lab_text(name: str, computes: int, *, number: int) -> str:
    """Return the file of a lab of so many compute nodes, on 10.77.<number>.0/24."""
    names = {"controller": "controller"} | {f"c{i}": "compute" for i in range(1, computes + 1)}
    nodes = (
        NODE.format(name=node, role=role, number=number, first=10 + i, second=100 + i)
        for i, (node, role) in enumerate(names.items())
    )
    return f"{HEAD.format(name=name, number=number)}{''.join(nodes)}deployment:\n  scenario: multinode\n"
