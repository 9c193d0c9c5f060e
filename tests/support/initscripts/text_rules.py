"""Rules of what bash and grep make of a file's lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.initscripts.files import EVALUATED, FALSE, TRUE
from tests.support.initscripts.keys import is_known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.initscripts.files import Node

Found = tuple[str, str]
SWITCHES = ("NM_CONTROLLED", "PEERDNS", "IPV6INIT")


def assignments(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        for fault in file.sourced.faults:
            yield name, fault


def grep_and_eval(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        for key in EVALUATED:
            lines = file.evaluated[key]
            for fault in lines.faults:
                yield name, f"eval of the lines with {key}=: {fault}"
            if not lines.faults and lines.values.get(key, "") != file[key]:
                yield name, f"{key} is '{file[key]}', for eval '{lines.values.get(key, '')}'"


def known_key(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        for key in file.sourced.values:
            if not is_known(key):
                yield name, key


def switch_value(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        for key in SWITCHES:
            value = file[key]
            if value and not TRUE.fullmatch(value) and not FALSE.fullmatch(value):
                yield name, f"{key} is '{value}'"


def onboot(node: Node) -> Iterator[Found]:
    for name, file in node.ifcfg.items():
        value = file["ONBOOT"]
        if value not in {"", "yes", "no"}:
            yield name, f"ONBOOT is '{value}'"
        elif file.on_boot is not (value != "no"):
            yield name, f"ONBOOT is '{value}' in the end, and an earlier line has 'no'"
        elif value == "no" and not file.matches("ONBOOT"):
            yield name, "ONBOOT=no is not at a line's start"
