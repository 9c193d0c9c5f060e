"""Transcripts of Packstack runs below tests/data/packstack, written after its output protocol.

Each directory holds `output.log`, `<node>.puppet.log` files, and `expected.json`. They are written
after the source of Packstack stable/queens; none is the record of a real run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRANSCRIPTS = Path(__file__).parents[1] / "data" / "packstack"
NAMES = tuple(sorted(path.parent.name for path in TRANSCRIPTS.glob("*/output.log")))

CONTROLLER = "172.16.208.39"

# What an all-in-one has by default, of the keys that decide on steps and manifests.
DEFAULTS = {
    "CONFIG_GLANCE_INSTALL": "y",
    "CONFIG_CINDER_INSTALL": "y",
    "CONFIG_CINDER_BACKEND": "lvm",
    "CONFIG_NOVA_INSTALL": "y",
    "CONFIG_NEUTRON_INSTALL": "y",
    "CONFIG_CLIENT_INSTALL": "y",
    "CONFIG_HORIZON_INSTALL": "y",
    "CONFIG_SWIFT_INSTALL": "y",
    "CONFIG_CEILOMETER_INSTALL": "y",
    "CONFIG_AODH_INSTALL": "y",
    "CONFIG_PANKO_INSTALL": "n",
    "CONFIG_NTP_SERVERS": "",
    "EXCLUDE_SERVERS": "",
    "CONFIG_CONTROLLER_HOST": CONTROLLER,
    "CONFIG_NETWORK_HOSTS": CONTROLLER,
    "CONFIG_COMPUTE_HOSTS": CONTROLLER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A run on record."""

    output: bytes
    puppet: dict[str, str]
    expected: dict[str, Any]


def transcript(name: str) -> Transcript:
    """Read a transcript; line ends and escapes are kept."""
    directory = TRANSCRIPTS / name
    ending = ".puppet.log"
    return Transcript(
        output=(directory / "output.log").read_bytes(),
        puppet={
            path.name.removesuffix(ending): path.read_bytes().decode()
            for path in sorted(directory.glob(f"*{ending}"))
        },
        expected=json.loads((directory / "expected.json").read_text(encoding="utf-8")),
    )
