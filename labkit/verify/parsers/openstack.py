"""Reads the JSON lists of python-openstackclient and the table of nova-manage, both of Queens."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeService:
    """A row of `openstack compute service list`."""

    binary: str
    host: str
    status: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypervisor:
    """A row of `openstack hypervisor list`."""

    name: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A row of `openstack network agent list`."""

    kind: str
    host: str
    alive: bool


def compute_services(text: str) -> tuple[ComputeService, ...]:
    """Return nova's services.

    Raises:
        ValueError: The text is no such list.
    """
    return tuple(
        ComputeService(
            binary=_word(row, "Binary"),
            host=_word(row, "Host"),
            status=_word(row, "Status"),
            state=_word(row, "State"),
        )
        for row in _rows(text)
    )


def hypervisors(text: str) -> tuple[Hypervisor, ...]:
    """Return nova's hypervisors.

    Raises:
        ValueError: The text is no such list.
    """
    return tuple(
        Hypervisor(name=_word(row, "Hypervisor Hostname"), state=_word(row, "State"))
        for row in _rows(text)
    )


def agents(text: str) -> tuple[Agent, ...]:
    """Return neutron's agents. Queens prints `Alive` as true, or as `:-)` like its tables.

    Raises:
        ValueError: The text is no such list.
    """
    return tuple(
        Agent(
            kind=_word(row, "Agent Type"),
            host=_word(row, "Host"),
            alive=row.get("Alive") is True or row.get("Alive") == ":-)",
        )
        for row in _rows(text)
    )


def token_user(text: str) -> str:
    """Return the user id of `openstack token issue -c expires -c user_id`.

    Raises:
        ValueError: The text is no such record.
    """
    data = _json(text)
    if not isinstance(data, dict):
        msg = "it is JSON, but no record"
        raise ValueError(msg)  # noqa: TRY004 -- every reader here has one error
    if not _word(data, "expires"):
        msg = "its 'expires' is empty"
        raise ValueError(msg)
    return _word(data, "user_id")


def table(text: str) -> tuple[dict[str, str], ...]:
    """Return the rows of a PrettyTable by column title.

    Raises:
        ValueError: The text has no table.
    """
    lines = [line.strip() for line in text.splitlines()]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|") and line.endswith("|")
    ]
    if not cells:
        msg = "it has no table"
        raise ValueError(msg)
    head, *rows = cells
    return tuple(dict(zip(head, row, strict=False)) for row in rows)


def _rows(text: str) -> tuple[dict[str, object], ...]:
    data = _json(text)
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        msg = "it is JSON, but no list of records"
        raise ValueError(msg)
    return tuple(data)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        msg = "it is not JSON"
        raise ValueError(msg) from exc


def _word(row: dict[str, object], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        msg = f"a record has no text under '{key}'"
        raise ValueError(msg)  # noqa: TRY004 -- every reader here has one error
    return value
