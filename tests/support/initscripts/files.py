"""The files of one node as the network scripts read them: sourced, and a few lines found by grep."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.initscripts.sourcing import Sourced, source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# `network` takes these from the lines that have them anywhere, by eval (rc.d/init.d/network, start).
EVALUATED = ("DEVICE", "TYPE", "SLAVE", "NM_CONTROLLED")
# __sed_discard_ignored_files of rc.d/init.d/functions, and what `network` leaves out beside: the
# loopback, aliases and ranges of them.
IGNORED = re.compile(
    r"(~|\.bak|\.old|\.orig|\.rpmnew|\.rpmorig|\.rpmsave)$|^ifcfg-lo$|:|^ifcfg-.*-range"
)
# shvar-style booleans of rc.d/init.d/functions: is_true, is_false.
TRUE = re.compile(r"[tT]|[yY]|[yY][eE][sS]|[oO][nN]|[tT][rR][uU][eE]|1")
FALSE = re.compile(r"[fF]|[nN]|[nN][oO]|[oO][fF][fF]|[fF][aA][lL][sS][eE]|0")
# The grep of rc.d/init.d/network, start: any line will do, and whatever follows on it.
_NOT_ON_BOOT = re.compile(r"^ONBOOT=['\"]?[Nn][Oo]['\"]?", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeText:
    """What is to be judged together.

    Attributes:
        files: Texts by the names that are in /etc/sysconfig/network-scripts.
        network: Text of /etc/sysconfig/network; None where there is no such file.
        macs: Per card, the address it has.
        networkmanager: Whether NetworkManager runs.
    """

    files: Mapping[str, str]
    network: str | None = "NETWORKING=yes\n"
    macs: Mapping[str, str] = field(default_factory=dict)
    networkmanager: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ifcfg:
    """One ifcfg file.

    Attributes:
        name: What follows `ifcfg-`: the argument of ifup.
        text: The file.
        sourced: What sourcing it gives.
        evaluated: What `network` gets for each of `EVALUATED`.
    """

    name: str
    text: str
    sourced: Sourced
    evaluated: Mapping[str, Sourced]

    def __getitem__(self, key: str) -> str:
        return self.sourced.values.get(key, "")

    @property
    def on_boot(self) -> bool:
        """Return whether both `network` and `ifup NAME boot` go on with it."""
        return not _NOT_ON_BOOT.search(self.text) and self["ONBOOT"] not in {"no", "NO"}

    def matches(self, key: str) -> bool:
        """Return whether the greps of network-functions find a key with its value.

        Blanks may come before, one pair of quotes around the value, and a blank or `#` after it.
        """
        value = re.escape(self[key])
        pattern = rf"^\s*{key}=['\"]?{value}['\"]?([\s#]|$)"
        return bool(re.search(pattern, self.text, re.MULTILINE | re.IGNORECASE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What the scripts know of a node.

    Attributes:
        ifcfg: Its files by name, those that are no device's left out.
        network: What /etc/sysconfig/network gives; None where it is missing.
        macs: Per card, the address it has.
        networkmanager: Whether NetworkManager runs.
    """

    ifcfg: Mapping[str, Ifcfg]
    network: Sourced | None
    macs: Mapping[str, str]
    networkmanager: bool

    def value(self, file: Ifcfg, key: str) -> str:
        """Return a variable as ifup-eth has it: /etc/sysconfig/network is sourced before the file."""
        given = {} if self.network is None else self.network.values
        return {**given, **file.sourced.values}.get(key, "")


def read(texts: Iterable[NodeText]) -> list[Node]:
    """Return nodes as the scripts read them; one bash for all."""
    each = list(texts)
    wanted = [text for node in each for text in _wanted(node)]
    sourced = source(wanted)
    return [_node(node, sourced) for node in each]


def _wanted(node: NodeText) -> Iterable[str]:
    for text in node.files.values():
        yield text
        yield from (_evaluated(text, key) for key in EVALUATED)
    if node.network is not None:
        yield node.network


def _evaluated(text: str, key: str) -> str:
    """Return what `eval $(grep -F KEY= FILE)` runs: the words of all such lines in one line."""
    lines = "\n".join(line for line in text.split("\n") if f"{key}=" in line)
    return " ".join(word for word in re.split(r"[ \t\n]+", lines) if word)


def _node(node: NodeText, sourced: Mapping[str, Sourced]) -> Node:
    files = {
        name.removeprefix("ifcfg-"): Ifcfg(
            name=name.removeprefix("ifcfg-"),
            text=text,
            sourced=sourced[text],
            evaluated={key: sourced[_evaluated(text, key)] for key in EVALUATED},
        )
        for name, text in node.files.items()
        if name.startswith("ifcfg-") and not IGNORED.search(name)
    }
    return Node(
        ifcfg=files,
        network=None if node.network is None else sourced[node.network],
        macs=node.macs,
        networkmanager=node.networkmanager,
    )
