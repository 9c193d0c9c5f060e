"""What Packstack's steps make of single answers after its validators let them pass.

Read in the plugins of Packstack 12.0.2; the file is named beside each.
"""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# PyYAML of Python 2 writes such a text without quotes, and Ruby's YAML, with which Puppet reads
# it, takes it for a number or a date.
NUMBER_FOR_PUPPET = re.compile(
    r"[-+]?[0-9][0-9_]*\.?[0-9_]*[eE][-+]?[0-9]+|[-+]?\.[0-9_]*[eE][-+]?[0-9]+|-\.[0-9_]+"
    r"|[0-9]{4}-(?![0-9]{2}-[0-9]{2}$)[0-9]{1,2}-[0-9]{1,2}"
)
NUMBERS = frozenset({"integer", "float", "port"})
MAX_VNI, MAX_GRE, MAX_VLAN = 2**24 - 1, 2**32 - 1, 4094
PAIR = r"[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+"


def step_problem(key: str, value: str, validators: tuple[str, ...]) -> str | None:
    """Return what a step of Packstack needs instead of a value, as a noun phrase; None if fine."""
    judge = STEPS.get(key)
    expected = judge(value) if judge else None
    if expected is None and not NUMBERS & set(validators) and NUMBER_FOR_PUPPET.fullmatch(value):
        expected = "a text that Puppet cannot take for a number or a date"
    return expected


def _pattern(pattern: str, expected: str) -> Callable[[str], str | None]:
    return lambda value: None if re.fullmatch(pattern, value) else expected


def _short(least: int, most: int) -> Callable[[str], str | None]:
    """Judge a part of a certificate's subject (OpenSSL's upper bounds of RFC 5280)."""
    what = f"{least} characters" if least == most else f"at most {most} characters"
    return lambda value: None if least <= len(value) <= most else f"{what} of a certificate"


def _no_number(value: str) -> str | None:
    try:
        float(value)
    except ValueError:
        return None
    return "a text that is no number, which Packstack would replace by one made at random"


def _ratio(value: str) -> str | None:
    return None if not value or 0 < float(value) < float("inf") else "a number above 0"


def _list(value: str) -> str | None:
    try:
        fits = isinstance(json.loads(value), list)
    except ValueError:
        fits = False
    return None if fits else "a list in JSON, such as '[\"start=192.0.2.10,end=192.0.2.20\"]'"


def _network(value: str) -> str | None:
    try:
        IPv4Network(value if "/" in value else "")
    except ValueError:
        return "an IPv4 network such as '172.24.4.0/24'"
    return None


def _group(value: str) -> str | None:
    try:
        fits = not value or IPv4Address(value).is_multicast
    except ValueError:
        fits = False
    return None if fits else "an IPv4 multicast address such as '239.1.1.1', or nothing"


def _pairs(example: str) -> Callable[[str], str | None]:
    """Judge pairs that Packstack or Neutron split at their colon; each side stands once."""

    def judge(value: str) -> str | None:
        words = [word.strip() for word in value.split(",")] if value else []
        sides = list(
            zip(*(word.split(":") for word in words if word.count(":") == 1), strict=True)
        )
        if all(re.fullmatch(PAIR, word) for word in words) and all(
            len(set(side)) == len(words) for side in sides
        ):
            return None
        return f"pairs such as '{example}' with commas between them, each name in one pair"

    return judge


def _ranges(most: int, *, named: bool = False) -> Callable[[str], str | None]:
    """Judge ranges of segment numbers; Neutron ends when it starts with others."""
    example = "extnet:100:200" if named else "10:100"

    def fits(word: str) -> bool:
        name, _, numbers = word.partition(":") if named else ("-", "", word)
        if named and name and not numbers and word == name:
            return True
        ends = re.fullmatch(r"([0-9]+):([0-9]+)", numbers)
        return bool(name and ends and 1 <= int(ends[1]) <= int(ends[2]) <= most)

    def judge(value: str) -> str | None:
        if not value or all(fits(word.strip()) for word in value.split(",")):
            return None
        return f"ranges such as '{example}' from 1 to {most}, the lower number first"

    return judge


_count = _pattern(r"[1-9][0-9]{0,3}", "a whole number above 0")
STEPS: Mapping[str, Callable[[str], str | None]] = {
    # prescript_000.py; Puppet's templates put it into every service's configuration.
    "CONFIG_SERVICE_WORKERS": _pattern(
        r"|[1-9][0-9]{0,3}|%\{[^{}]+\}",
        "a whole number above 0, or an expression such as '%{::processorcount}'",
    ),
    # cinder_250.py, check_cinder_vg
    "CONFIG_CINDER_VOLUMES_SIZE": _pattern(
        r"[1-9][0-9]*G", "a size such as '20G', whole and in G"
    ),
    # swift_600.py, get_storage_size and parse_devices
    "CONFIG_SWIFT_STORAGE_SIZE": _pattern(
        r"[1-9][0-9]*[GMK]", "a size such as '2G', '2000M' or '2000000K'"
    ),
    "CONFIG_SWIFT_STORAGE_ZONES": _count,
    "CONFIG_SWIFT_STORAGE_REPLICAS": _count,
    # heat_650.py, process_string_nofloat
    "CONFIG_HEAT_AUTH_ENC_KEY": _no_number,
    # nova_300.py
    "CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO": _ratio,
    "CONFIG_NOVA_SCHED_RAM_ALLOC_RATIO": _ratio,
    # provision_700.py, initSequences, and its manifests
    "CONFIG_PROVISION_DEMO_ALLOCATION_POOLS": _list,
    "CONFIG_PROVISION_DEMO_FLOATRANGE": _network,
    "CONFIG_PROVISION_TEMPEST_FLOATRANGE": _network,
    # ssl_001.py, create_self_signed_cert
    "CONFIG_SSL_CERT_SUBJECT_C": _short(2, 2),
    "CONFIG_SSL_CERT_SUBJECT_ST": _short(1, 128),
    "CONFIG_SSL_CERT_SUBJECT_L": _short(1, 128),
    "CONFIG_SSL_CERT_SUBJECT_O": _short(1, 64),
    "CONFIG_SSL_CERT_SUBJECT_OU": _short(1, 64),
    "CONFIG_SSL_CERT_SUBJECT_CN": _short(1, 64),
    "CONFIG_SSL_CERT_SUBJECT_MAIL": _short(1, 128),
    # neutron_350.py, find_mapping and find_pair_with
    "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": _pairs("extnet:br-ex"),
    "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": _pairs("br-ex:enp0s3"),
    "CONFIG_NEUTRON_ML2_SRIOV_INTERFACE_MAPPINGS": _pairs("extnet:enp0s3"),
    "CONFIG_NEUTRON_ML2_VLAN_RANGES": _ranges(MAX_VLAN, named=True),
    "CONFIG_NEUTRON_ML2_TUNNEL_ID_RANGES": _ranges(MAX_GRE),
    "CONFIG_NEUTRON_ML2_VNI_RANGES": _ranges(MAX_VNI),
    "CONFIG_NEUTRON_ML2_VXLAN_GROUP": _group,
}
