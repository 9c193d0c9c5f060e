"""Packstack's options: every answer-file key of a release, and which values it takes.

The table `options.tsv` of a release lists what Packstack's plugins declare (branch stable/<release>):
key, command option, default, validators, allowed values. Reading it takes a while, so nothing here
does until a key is asked for. Which keys are secrets is the same in every release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from labkit.lab import releases
from labkit.lab.option_steps import step_problem
from labkit.lab.topology import Release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_PASSWORD = "CONFIG_DEFAULT_PASSWORD"  # noqa: S105 -- a key, no password
MAX_PORT = 65534  # validate_port refuses 65535
# packstack/installer/processors.py, process_bool
SWITCH_WORDS = frozenset({"y", "yes", "true", "n", "no", "false"})
# Passwords reach URLs (rabbit://, mysql+pymysql://) and shell files unescaped.
URL_SAFE = r"[A-Za-z0-9._-]{1,64}"
UNMARKED_SECRETS = frozenset({"CONFIG_MANILA_SERVICE_INSTANCE_PASSWORD", "CONFIG_RH_SAT6_KEY"})
URL_SAFE_TEXT = "1 to 64 letters, digits, '.', '_' or '-', as Packstack escapes nothing"


class Random(StrEnum):
    """How Packstack makes up a value that is left out."""

    PASSWORD = "password"  # noqa: S105 -- a kind of value, no password
    HEX16 = "hex16"
    HEX32 = "hex32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of Packstack.

    Attributes:
        key: Its name in an answer file.
        cli: Its name on the command line with the leading dashes; empty when it has none.
        group: The plugin's group it belongs to.
        default: What Packstack takes when it is left out; `<…>` stands for what it finds out.
        validators: Packstack's validators, without their prefix `validate_`.
        condition: When Packstack reads the group at all (`labkit.lab.conditions`).
        allowed: The values it may have; for the regexp validators one expression.
        processors: What Packstack rewrites it with, without the prefix `process_`.
        masked: Its value is a secret.
        random: How a missing value is made up; None when it is not.
        replaces: Older keys that still count while this one is absent.
    """

    key: str
    cli: str
    group: str
    default: str
    validators: tuple[str, ...]
    condition: str
    allowed: tuple[str, ...]
    processors: tuple[str, ...]
    masked: bool
    random: Random | None
    replaces: tuple[str, ...]

    @property
    def secret(self) -> bool:
        """Return whether its value is never shown; Packstack's own marks lack two."""
        return self.masked or self.random is not None or self.key in UNMARKED_SECRETS


def options(release: Release = Release.QUEENS) -> tuple[Option, ...]:
    """Return all options, in Packstack's order."""
    return _table(release)


@cache
def _table(release: Release) -> tuple[Option, ...]:
    text = releases.text(release, "options.tsv")
    header, *lines = (line.split("\t") for line in text.splitlines())
    return tuple(_option(dict(zip(header, line, strict=True))) for line in lines)


def _option(row: Mapping[str, str]) -> Option:
    validators = _words(row["validators"])
    # A regular expression has '|' in it for another reason.
    regexp = {"regexp", "multi_regexp"} & set(validators)
    allowed = (row["allowed"],) if regexp else tuple(filter(None, row["allowed"].split("|")))
    return Option(
        key=row["key"],
        cli=row["option"],
        group=row["group"],
        default=row["default"],
        validators=validators,
        condition=row["condition"],
        allowed=allowed,
        processors=_words(row["processors"]),
        masked=row["masked"] == "y",
        random=Random(row["random"]) if row["random"] else None,
        replaces=_words(row["replaces"]),
    )


def _words(cell: str) -> tuple[str, ...]:
    return tuple(filter(None, cell.split(",")))


@cache
def _by_key(release: Release) -> Mapping[str, Option]:
    return {option.key: option for option in options(release)}


def find(key: str, release: Release = Release.QUEENS) -> Option | None:
    """Return the option of an answer-file key, or None.

    Packstack's parser does not tell capitals from small letters, and neither does this.
    """
    return _by_key(release).get(key.upper())


def replacement(key: str, release: Release = Release.QUEENS) -> Option | None:
    """Return the option that took the place of a deprecated key, or None."""
    return next((option for option in options(release) if key.upper() in option.replaces), None)


def close_keys(key: str, release: Release = Release.QUEENS) -> tuple[str, ...]:
    """Return the keys that somebody who wrote an unknown one may have meant, best first."""
    known = list(_by_key(release))
    for attempt in (key.upper(), f"CONFIG_{key.upper()}"):
        found = get_close_matches(attempt, known, n=3, cutoff=0.8)
        if found:
            return tuple(found)
    return ()


def secret_keys() -> tuple[str, ...]:
    """Return the keys whose values are never shown."""
    return tuple(option.key for option in options() if option.secret)


def problem(key: str, value: str, release: Release = Release.QUEENS) -> str | None:
    """Return what Packstack expects instead of a value, as a noun phrase; None when it is fine.

    What takes the guest or the network to judge is left to Packstack: whether a host answers, or a
    file is there.

    Args:
        key: A key that `find` knows.
        value: What is to stand in the answer file.
        release: Whose Packstack reads it.
    """
    option = find(key, release)
    if option is None:
        message = f"'{key}' is no key of Packstack"
        raise ValueError(message)
    expected = parser_problem(value, release)
    becomes_password = option.random is not None or (value and key == DEFAULT_PASSWORD)
    if expected is None and becomes_password and not re.fullmatch(URL_SAFE, value):
        expected = URL_SAFE_TEXT
    if expected is None and "bool" in option.processors:
        expected = None if value.lower() in SWITCH_WORDS else "'y' or 'n'"
    for name in () if expected else option.validators:
        judge = JUDGES.get(name)
        expected = judge(value, option.allowed) if judge else None
        if expected is not None:
            return expected
    return (
        expected or _outside(option, value) or step_problem(option.key, value, option.validators)
    )


def _outside(option: Option, value: str) -> str | None:
    """Judge values that Packstack lists and does not check, such as CONFIG_NOVA_LIBVIRT_VIRT_TYPE.

    An expression for Hiera is resolved by Puppet on each node and may stand for any of them.
    """
    judged = {"options", "multi_options", "neutron", "regexp", "multi_regexp"}
    # CONFIG_AMQP_AUTH_PASSWORD carries a list that belongs to another option.
    if option.masked or "bool" in option.processors or judged & set(option.validators):
        return None
    if not option.allowed or value in option.allowed or re.fullmatch(r"%\{[^{}]+\}", value):
        return None
    return _one_of(option.allowed)


def parser_problem(value: str, release: Release) -> str | None:
    """Return what Packstack's parser needs instead of a value, or None.

    That is ConfigParser of Python 2.7: it cuts ' ;' and what follows, strips blanks and turns '""'
    into nothing; before Stein it fails on '%('. '%{…}' and '%%' pass as they are.
    """
    if not value.isascii() or (value and not value.isprintable()):
        return "one line of printable ASCII, as Packstack runs on Python 2"
    if value != value.strip():
        return "a value without blanks at its ends, which Packstack would cut off"
    if re.search(r"\s;", value) or value.startswith(";"):
        return "a value without ' ;', where Packstack's parser starts a comment"
    if "%(" in value and releases.facts(release).percent_is_read:
        return "a value without '%(', on which Packstack's parser fails"
    if value == '""':
        return "nothing between the '' of YAML for an empty value, as Packstack drops '\"\"'"
    return None


def _one_of(allowed: tuple[str, ...]) -> str:
    names = [f"'{word}'" for word in allowed]
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


# Each does what Packstack's validator of that name does (packstack/installer/validators.py;
# storage and storage_size: plugins/swift_600.py) and returns what was expected, or None. Most of
# Packstack's accept an empty value.
def _not_empty(value: str, _allowed: tuple[str, ...]) -> str | None:
    return None if value else "a value that is not empty"


def _integer(value: str, _allowed: tuple[str, ...]) -> str | None:
    # int() of Python 3 takes '1_000' as well, that of Python 2 does not.
    return None if re.fullmatch(r"([+-]?[0-9]+)?", value) else "a whole number"


def _float(value: str, _allowed: tuple[str, ...]) -> str | None:
    try:
        float(value.replace("_", "x") or 0)
    except ValueError:
        return "a number"
    return None


def _port(value: str, allowed: tuple[str, ...]) -> str | None:
    fits = not value or (_integer(value, allowed) is None and 0 <= int(value) <= MAX_PORT)
    return None if fits else f"a port from 0 to {MAX_PORT}"


def _options(value: str, allowed: tuple[str, ...]) -> str | None:
    return None if not value or value in allowed else _one_of(allowed)


def _multi_options(value: str, allowed: tuple[str, ...]) -> str | None:
    wrong = value and any(_options(part.strip(), allowed) for part in value.split(","))
    return f"one or more of {_one_of(allowed)}, with commas between them" if wrong else None


def _ip(value: str, _allowed: tuple[str, ...]) -> str | None:
    try:
        ip_address(value or "0.0.0.0")  # noqa: S104 -- stands for an empty value, nothing listens
    except ValueError:
        return "an IPv4 or IPv6 address"
    return None


def _multi_export(value: str, allowed: tuple[str, ...]) -> str | None:
    for export in value.split(","):
        host, found, path = export.partition(":/")
        inner = re.search(r"\[([^]]+)\]", host)
        address = inner[1] if inner else host
        if not (found and path and address) or _ip(address, allowed):
            return "NFS exports such as '192.0.2.1:/export', with commas between them"
        # An IPv6 address belongs into brackets and an IPv4 address does not.
        if (ip_address(address).version == 4) == bool(inner) or ":/" in path:  # noqa: PLR2004 -- IPv4
            return "NFS exports such as '192.0.2.1:/export', with commas between them"
    return None


def _regexp(value: str, allowed: tuple[str, ...]) -> str | None:
    matches = not value or any(re.search(pattern, value) for pattern in allowed)
    return None if matches else f"a value that matches {_one_of(allowed)}"


def _multi_regexp(value: str, allowed: tuple[str, ...]) -> str | None:
    return next(filter(None, (_regexp(part.strip(), allowed) for part in value.split(","))), None)


def _neutron(value: str, _allowed: tuple[str, ...]) -> str | None:
    return None if value == "y" else "'y', as this release of Packstack needs Neutron"


def _storage(value: str, _allowed: tuple[str, ...]) -> str | None:
    return None if not value or value.startswith("/") else "a device's path, such as '/dev/vdb'"


def _storage_size(value: str, _allowed: tuple[str, ...]) -> str | None:
    return (
        None
        if re.match(r"[0-9]+[GMKgmk]", value)
        else "a size such as '2G', '2000M' or '2000000K'"
    )


JUDGES: Mapping[str, Callable[[str, tuple[str, ...]], str | None]] = {
    "not_empty": _not_empty,
    "integer": _integer,
    "float": _float,
    "port": _port,
    "options": _options,
    "multi_options": _multi_options,
    "ip": _ip,
    "multi_export": _multi_export,
    "regexp": _regexp,
    "multi_regexp": _multi_regexp,
    "neutron": _neutron,
    "storage": _storage,
    "storage_size": _storage_size,
}
