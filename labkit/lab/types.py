"""The values lab.yaml may have: each with its bounds, and the words for a value outside them."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from math import ceil
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from labkit.lab.topology import Form, NetworkMode, Release

if TYPE_CHECKING:
    from collections.abc import Callable

# Two names of 30 characters keep `<lab>_<node>` and every file named after it far below the
# limits of libvirt, Vagrant and file systems.
NAME_LENGTH = 30
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$"
DOMAIN_PATTERN = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"
IFCFG_KEY_PATTERN = r"^[A-Z][A-Z0-9_]*$"
MAX_BOX_NAME = 60  # as much as is worth repeating when there is no such box
NIC_PATTERN = r"^enp0s[0-9]{1,3}$"
# IFNAMSIZ of the Linux kernel is 16 with the closing NUL.
BRIDGE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$"
# libvirt itself refuses only a slash and a line end; the name stands on command lines and in paths.
POOL_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,62}$"
MAC_PATTERN = r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"
SIZE_PATTERN = r"^[1-9][0-9]* ?[MG](iB)?$"
# M and G alone are powers of two to virsh, qemu-img, LVM and Packstack alike; MB and GB are not to all.
MIB_PER_UNIT = {"MiB": 1, "M": 1, "GiB": 1024, "G": 1024}
# What else is written, and what it is taken to mean.
OTHER_UNITS = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024 * 1024}
MAX_CPUS = 64
MIN_MEMORY_MIB, MAX_MEMORY_MIB = 256, 1024 * 1024
MIN_DISK_GIB, MAX_DISK_GIB = 4, 16 * 1024
DEFAULT_DISK_GIB = 60
SCENARIO_PATTERN = r"^[a-z][a-z0-9-]{0,40}$"
ANSWER_KEY_PATTERN = r"^[A-Z][A-Z0-9_]*$"
PHYSICAL_NETWORK_PATTERN = r"^[a-z][a-z0-9_-]{0,30}$"
KEY_FILE_PATTERN = r"^([^\x00-\x1f\x7f]*/)?RPM-GPG-KEY-CentOS-SIG-[A-Za-z0-9]{1,40}$"
RELEASE_PATTERN = r"^7\.[0-9]\.[0-9]{4}$"
_USER = r"([A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})+@"
_SERVER = r"([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
URL_PATTERN = rf"^https?://({_USER})?{_SERVER}(/[A-Za-z0-9._~%/+-]*)?$"
MAX_HUNG_MINUTES = 24 * 60
# The least that IPv4 asks of a link, and the most that a virtio card and a bridge can have.
MIN_MTU, MAX_MTU = 68, 65535
SWITCHES = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Days, hours, minutes, seconds in this order, each at most once: 1h30m.
DURATION_PATTERN = "^(?=[0-9])" + "".join(rf"([1-9][0-9]{{0,3}}{unit})?" for unit in "dhms") + "$"
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 60 * 60, "d": 24 * 60 * 60}
# Both kept after CentOS 7's end of life on 2024-06-30; see docs/how-to/repositories.md.
VAULTS = ("https://vault.centos.org", "https://archive.kernel.org/centos-vault")


class Unquoted(str):
    """A scalar without quotes: a text as it is written, unless its place wants a number or a switch."""

    __slots__ = ()


class Edge(BaseModel):
    """What labkit reads from a file, or writes into one: frozen, and no key passes unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def unexpected(*, expected: str) -> PydanticCustomError:
    """Return the error of a value that is not what lab.yaml asks for there.

    Args:
        expected: Noun phrase that completes "expected …".
    """
    return PydanticCustomError("unexpected", "{expected}", {"expected": expected})


def _text(pattern: str, expected: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise unexpected(expected=expected)
        return str(value)

    return parse


def _whole(least: int, most: int, what: str = "a whole number") -> Callable[[object], int]:
    def parse(value: object) -> int:
        # Neither 010 nor 0x10: YAML's versions read the first as 8 or as 10.
        if isinstance(value, Unquoted) and re.fullmatch(r"[1-9][0-9]{0,8}", value):
            value = int(value)
        if type(value) is not int or not least <= value <= most:
            raise unexpected(expected=f"{what} from {least} to {most}")
        return value

    return parse


def _mebibytes(value: object, *, least: int, step: int) -> int:
    """Return a size in MiB.

    Args:
        value: What the file has.
        least: The smallest that fits, in MiB; a number without a unit below it is taken for GiB, and
            no less is proposed.
        step: What it comes in, in MiB.
    """
    unit = "GiB" if step == MIB_PER_UNIT["GiB"] else "MiB or GiB"
    found = re.fullmatch(r"(0|[1-9][0-9]{0,9})(\.[0-9]+)? ?([A-Za-z]*)", str(value))
    if found is None:
        example = "60 GiB" if unit == "GiB" else "8 GiB"
        raise unexpected(expected=f"a whole number with its unit, such as '{example}'")
    amount, fraction, written = found.groups(default="")
    if written in MIB_PER_UNIT and not fraction:
        return int(amount) * MIB_PER_UNIT[written]
    if written in MIB_PER_UNIT:
        expected = f"a size in whole {unit}"
    else:
        why = f"'{written}' is not one" if written else "a bare number does not say which"
        expected = f"a size in MiB or GiB ({why})"
    factor = OTHER_UNITS.get(re.sub("i?b$", "", written.lower()))
    if factor is None:
        factor = 1 if float(amount + fraction) >= least else 1024
    meant = max(ceil(float(amount + fraction) * factor / step) * step, least)
    in_gib = meant % 1024 == 0 and (step > 1 or factor >= MIB_PER_UNIT["GiB"])
    example = f"{meant // 1024} GiB" if in_gib else f"{meant} MiB"
    raise unexpected(expected=f"{expected}, such as '{example}'")


def _memory(value: object) -> int:
    mib = _mebibytes(value, least=MIN_MEMORY_MIB, step=1)
    if not MIN_MEMORY_MIB <= mib <= MAX_MEMORY_MIB:
        raise unexpected(expected=f"{MIN_MEMORY_MIB} MiB to {MAX_MEMORY_MIB // 1024} GiB")
    return mib


def _disk(value: object) -> int:
    gib, rest = divmod(_mebibytes(value, least=MIN_DISK_GIB * 1024, step=1024), 1024)
    if rest or not MIN_DISK_GIB <= gib <= MAX_DISK_GIB:
        raise unexpected(expected=f"whole GiB, from {MIN_DISK_GIB} GiB to {MAX_DISK_GIB} GiB")
    return gib


def _box(value: object) -> str:
    # Which boxes there are depends on where the lab file lies: a rule asks for that.
    if not isinstance(value, str) or len(value) > MAX_BOX_NAME or not value.isprintable():
        raise unexpected(expected="the name of a box, such as 'centos7'")
    return str(value)


def _address(value: object) -> IPv4Address:
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise unexpected(
            expected="an IPv4 address without a prefix length, such as '172.16.208.39'"
        ) from None


def _cidr(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    text = value if isinstance(value, str) and "/" in value else ""
    try:
        network = IPv4Network(text)
    except ValueError:
        try:
            meant = f"'{IPv4Network(text, strict=False)}'"
        except ValueError:
            meant = "'172.16.208.0/24'"
        raise unexpected(expected=f"an IPv4 network such as {meant}") from None
    if not 8 <= network.prefixlen <= 30:  # noqa: PLR2004 -- the message beside it says what they are
        raise unexpected(expected="a prefix length from /8 to /30")
    first = network.network_address
    if (
        first.is_loopback
        or first.is_multicast
        or first.is_reserved
        or first.is_link_local
        or not first.packed[0]
    ):
        raise unexpected(expected="a network whose addresses can be given to machines")
    return network


def _mac(value: object) -> str:
    expected = "a MAC address for one card, such as '52:54:00:12:34:56'"
    if not isinstance(value, str) or not re.fullmatch(MAC_PATTERN, value):
        raise unexpected(expected=expected)
    # Bit 0 of the first octet marks a group address, which no card may have.
    if int(value[:2], 16) & 1 or set(value) <= {"0", ":"}:
        raise unexpected(expected=expected)
    return value.lower()


def _flag(value: object) -> bool:
    if isinstance(value, Unquoted) and value in SWITCHES:
        return SWITCHES[value]
    if not isinstance(value, bool):
        raise unexpected(expected="true or false")
    return value


def _line(yes: str, no: str) -> Callable[[object], str]:
    """Return what reads a text as it is written, but for YAML's own words for a switch."""

    def parse(value: object) -> str:
        if isinstance(value, Unquoted) and value in SWITCHES:
            raise unexpected(
                expected=f"text; for a switch write {yes} or {no}, for the word itself put quotes around it"
            )
        if not isinstance(value, str):
            raise unexpected(expected="text")
        if not value.isprintable():
            raise unexpected(expected="one line of printable text")
        return str(value)

    return parse


def duration(text: str) -> int:
    """Return the seconds of a time span such as `90m` or `1h30m`.

    Raises:
        ValueError: It is none.
    """
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(text)
    parts = re.findall("([0-9]+)([dhms])", text)
    return sum(int(amount) * SECONDS_PER_UNIT[unit] for amount, unit in parts)


def _lifetime(value: object) -> int:
    try:
        return duration(value if isinstance(value, str) else "")
    except ValueError:
        expected = "a time such as '90m', '12h', '3d' or '1h30m', or the key left out for never"
        raise unexpected(expected=expected) from None


def _choice(kind: type[StrEnum]) -> Callable[[object], StrEnum]:
    names = [f"'{member}'" for member in kind]

    def parse(value: object) -> StrEnum:
        try:
            return kind(value if isinstance(value, str) else "")
        except ValueError:
            raise unexpected(expected=f"{', '.join(names[:-1])} or {names[-1]}") from None

    return parse


class Role(StrEnum):
    """What a node does in OpenStack."""

    CONTROLLER = "controller"
    NETWORK = "network"
    COMPUTE = "compute"


_NAME = f"lower-case letters, digits and '-', a letter first, at most {NAME_LENGTH} characters"
_SIZE_SCHEMA = {"type": "string", "pattern": SIZE_PATTERN, "examples": ["8 GiB", "8192 MiB"]}

Name = Annotated[
    str, Field(pattern=NAME_PATTERN), BeforeValidator(_text(NAME_PATTERN, f"a name: {_NAME}"))
]
HostName = Annotated[
    str, Field(pattern=NAME_PATTERN), BeforeValidator(_text(NAME_PATTERN, f"a host name: {_NAME}"))
]
BoxName = Annotated[
    str, PlainValidator(_box), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})
]
NicName = Annotated[
    str,
    Field(pattern=NIC_PATTERN),
    BeforeValidator(_text(NIC_PATTERN, "a card's name 'enp0s<slot>', such as 'enp0s3'")),
]
IfcfgKey = Annotated[
    str,
    Field(pattern=IFCFG_KEY_PATTERN),
    BeforeValidator(_text(IFCFG_KEY_PATTERN, "an ifcfg key in capitals, such as 'UUID'")),
]
BridgeName = Annotated[
    str,
    Field(pattern=BRIDGE_PATTERN),
    BeforeValidator(
        _text(BRIDGE_PATTERN, "a bridge's name of at most 15 characters, such as 'br0'")
    ),
]
PoolName = Annotated[
    str,
    Field(pattern=POOL_PATTERN),
    BeforeValidator(
        _text(POOL_PATTERN, "a storage pool's name as 'virsh pool-list --all' has it")
    ),
]
DomainName = Annotated[
    str,
    Field(pattern=DOMAIN_PATTERN),
    BeforeValidator(
        _text(DOMAIN_PATTERN, "a domain name in lower case, such as 'packstack.test'")
    ),
]
Address = Annotated[IPv4Address, BeforeValidator(_address)]
Cidr = Annotated[
    IPv4Network,
    BeforeValidator(_cidr),
    WithJsonSchema({"type": "string", "format": "ipv4network"}),
]
Mac = Annotated[str, Field(pattern=MAC_PATTERN), BeforeValidator(_mac)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Cpus = Annotated[int, Field(ge=1, le=MAX_CPUS), BeforeValidator(_whole(1, MAX_CPUS))]
Mtu = Annotated[int, Field(ge=MIN_MTU, le=MAX_MTU), BeforeValidator(_whole(MIN_MTU, MAX_MTU))]
MemoryMib = Annotated[int, PlainValidator(_memory), WithJsonSchema(_SIZE_SCHEMA)]
DiskGib = Annotated[int, PlainValidator(_disk), WithJsonSchema(_SIZE_SCHEMA)]
Lifetime = Annotated[
    int,
    PlainValidator(_lifetime),
    WithJsonSchema(
        {"type": "string", "pattern": DURATION_PATTERN, "examples": ["90m", "12h", "1h30m"]}
    ),
]
IfcfgValue = Annotated[
    str, BeforeValidator(_line("yes", "no")), WithJsonSchema({"type": ["string", "number"]})
]
ScenarioName = Annotated[
    str,
    Field(pattern=SCENARIO_PATTERN),
    BeforeValidator(_text(SCENARIO_PATTERN, "a scenario's name, such as 'multinode'")),
]
AnswerKey = Annotated[
    str,
    Field(pattern=ANSWER_KEY_PATTERN),
    BeforeValidator(
        _text(ANSWER_KEY_PATTERN, "an answer-file key, such as 'CONFIG_SERVICE_WORKERS'")
    ),
]
AnswerValue = Annotated[
    str, BeforeValidator(_line("y", "n")), WithJsonSchema({"type": ["string", "number"]})
]
PhysicalNetwork = Annotated[
    str,
    Field(pattern=PHYSICAL_NETWORK_PATTERN),
    BeforeValidator(
        _text(PHYSICAL_NETWORK_PATTERN, "a name in lower case for Neutron, such as 'extnet'")
    ),
]
Tree = Annotated[
    str,
    Field(pattern=RELEASE_PATTERN),
    BeforeValidator(_text(RELEASE_PATTERN, "a CentOS 7 release, such as '7.9.2009'")),
]
KeyFile = Annotated[
    str,
    Field(pattern=KEY_FILE_PATTERN),
    BeforeValidator(
        _text(
            KEY_FILE_PATTERN,
            "a key file's path, the file named as CentOS names it, such as "
            "'keys/RPM-GPG-KEY-CentOS-SIG-Cloud'",
        )
    ),
]
Url = Annotated[
    str,
    Field(pattern=URL_PATTERN),
    BeforeValidator(
        _text(
            URL_PATTERN,
            "an http or https URL such as 'https://vault.centos.org', with '%' and two hex digits "
            "for each special character of a user or password in it",
        )
    ),
]
Minutes = Annotated[
    int,
    Field(ge=1, le=MAX_HUNG_MINUTES),
    BeforeValidator(_whole(1, MAX_HUNG_MINUTES, "a whole number of minutes")),
]
ReleaseName = Annotated[Release, BeforeValidator(_choice(Release))]
FormName = Annotated[Form, BeforeValidator(_choice(Form))]
RoleName = Annotated[Role, BeforeValidator(_choice(Role))]
ModeName = Annotated[NetworkMode, BeforeValidator(_choice(NetworkMode))]
