"""Packstack's answer file: written, read back as Packstack reads it, and shown without secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.lab import masking, options
from labkit.lab.topology import Release

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTION = "general"
MASK = "********"
# What stands for a password that Packstack has not made up yet (packstack/installer/processors.py).
PLACEHOLDER = "PW_PLACEHOLDER"
# Packstack takes its own address for each that is left out, and that is the one towards the default
# gateway. A key forgotten there becomes a further host with services on it: all or none are set.
HOST_KEYS = (
    "CONFIG_CONTROLLER_HOST",
    "CONFIG_COMPUTE_HOSTS",
    "CONFIG_NETWORK_HOSTS",
    "CONFIG_STORAGE_HOST",
    "CONFIG_SAHARA_HOST",
    "CONFIG_AMQP_HOST",
    "CONFIG_MARIADB_HOST",
    "CONFIG_REDIS_HOST",
)


def render(
    answers: Mapping[str, str],
    *,
    asked: frozenset[str] = frozenset(),
    release: Release = Release.QUEENS,
) -> str:
    """Return the text of an answer file; what it leaves out, Packstack takes its default for.

    Args:
        answers: Keys and values that `options.problem` found no fault with.
        asked: Keys that the lab file sets under `deployment.answers`.
        release: Whose Packstack reads it.
    """
    secrets = frozenset(options.secret_keys())
    groups: dict[str, list[str]] = {
        "where everything runs: all eight host keys, always together": [],
        "what the scenario asks for": [],
        "what deployment.answers of the lab file asks for": [],
        "secrets: made once for this lab and never changed": [],
    }
    hosts, scenario, own, secret = groups.values()
    for option in options.options(release):
        if option.key not in answers:
            continue
        if option.key in HOST_KEYS:
            group = hosts
        elif option.key in secrets:
            group = secret
        else:
            group = own if option.key in asked else scenario
        group.append(f"{option.key}={answers[option.key]}")
    lines = [f"[{SECTION}]"]
    for title, entries in groups.items():
        if entries:
            lines += ["", f"# {title}", *entries]
    return "\n".join(lines) + "\n"


def parse(text: str) -> dict[str, str]:
    """Return keys and values of an answer file, as Packstack's parser reads it.

    A file that Packstack has written again may hold a NUL byte in one comment; such bytes are
    dropped. Lines that are no entry are passed over, as are keys outside the one section.
    """
    found: dict[str, str] = {}
    inside = False
    for raw in text.replace("\0", "").splitlines():
        line = raw.strip()
        if not line or line[0] in "#;" or raw[0].isspace():
            continue
        header = re.fullmatch(r"\[([^]]+)\].*", line)
        if header:
            inside = header[1] == SECTION
            continue
        entry = re.match(r"([^:=\s][^:=]*?)\s*[:=]\s*(.*)", line)
        if inside and entry:
            value = re.sub(r"(?<!^)\s;.*", "", entry[2]).strip()
            found[entry[1].upper()] = "" if value == '""' else value
    return found


def masked(text: str) -> str:
    """Return an answer file's text with every secret blacked out."""
    secrets = frozenset(options.secret_keys())

    def black(line: str) -> str:
        key, equals, value = line.partition("=")
        hidden = value and key.strip().upper() in secrets
        return f"{key}{equals}{MASK if hidden else masking.url(value)}"

    return "\n".join(black(line) for line in text.split("\n"))


def secrets_of(answers: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets among answers that are in use.

    Placeholders are not, and neither are keys beside one that Packstack makes up when it loads its
    plugins: it does so at every run for a service that is not installed.
    """
    idle = {option.group for option in options.options() if answers.get(option.key) == PLACEHOLDER}
    at_load = {options.Random.HEX16, options.Random.HEX32}
    return {
        option.key: answers[option.key]
        for option in options.options()
        if (option.masked or option.random)
        and answers.get(option.key) not in {None, "", PLACEHOLDER}
        and not (option.random in at_load and option.group in idle)
    }
