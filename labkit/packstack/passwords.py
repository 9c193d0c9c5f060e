"""The secrets of a lab's OpenStack: made once, kept in one file for the owner alone."""

from __future__ import annotations

import json
import re
import secrets
import string
from typing import TYPE_CHECKING

from labkit.errors import HostError, OperationError
from labkit.host.files import write_atomically
from labkit.lab.options import DEFAULT_PASSWORD, URL_SAFE, Option, Random, options
from labkit.state.secrets import password_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labkit.state.directory import LabDirectory

LENGTH = 16
ALPHABET = string.ascii_letters + string.digits


def complete(known: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """Return a secret for every key that Packstack would make one up for.

    Args:
        known: Those the lab has already; they stay, whatever is asked for.
        asked: The lab file's `deployment.answers`: a secret there is taken, and
            CONFIG_DEFAULT_PASSWORD for every password that has none, as Packstack does it.
    """
    return {
        option.key: known.get(option.key) or asked.get(option.key) or _made(option, asked)
        for option in options()
        if option.random is not None
    }


def _made(option: Option, asked: Mapping[str, str]) -> str:
    match option.random:
        case Random.HEX32:
            return secrets.token_hex(16)
        case Random.HEX16:
            # Heat takes a key that reads as a number, such as 12e4, for one
            # (packstack/installer/processors.py, process_string_nofloat).
            return f"{secrets.choice('abcdef')}{secrets.token_hex(8)[1:]}"
        case _:
            default = asked.get(DEFAULT_PASSWORD)
            return default or "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def load(directory: LabDirectory) -> dict[str, str]:
    """Return the secrets a lab has; none when they have not been made yet.

    Raises:
        OperationError: The file is damaged or cannot be read.
    """
    path = password_file(directory)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise _damaged(path, type(exc).__name__) from exc
    if not isinstance(data, dict):
        raise _damaged(path, "it holds no mapping")
    keys = {option.key for option in options()}
    wrong = [
        key
        for key, value in data.items()
        if key not in keys or not isinstance(value, str) or not re.fullmatch(URL_SAFE, value)
    ]
    if wrong:
        raise _damaged(path, f"wrong entries: {', '.join(wrong)}")
    return data


def ensure(directory: LabDirectory, asked: Mapping[str, str]) -> dict[str, str]:
    """Return the lab's secrets, after making and keeping those it does not have.

    Args:
        directory: The lab's directory; `create` has been called.
        asked: The lab file's `deployment.answers`.

    Raises:
        OperationError: The file is damaged.
        HostError: It cannot be written.
    """
    known = load(directory)
    whole = complete(known, asked)
    if whole != known:
        keep(directory, whole)
    return whole


def keep(directory: LabDirectory, found: Mapping[str, str]) -> None:
    """Write a lab's secrets, such as those of an answer file that Packstack made up itself.

    Args:
        directory: The lab's directory; `create` has been called.
        found: Secrets by key; those that nobody makes up, such as RHN's, are left out.

    Raises:
        HostError: The file cannot be written.
    """
    path = password_file(directory)
    made = {option.key for option in options() if option.random is not None}
    kept = {key: value for key, value in found.items() if key in made}
    try:
        write_atomically(path, json.dumps(kept, indent=2) + "\n", mode=0o600)
    except OSError as exc:
        message = f"The lab's passwords cannot be written to '{path}': {exc.strerror}."
        raise HostError(message) from exc


def _damaged(path: Path, reason: str) -> OperationError:
    return OperationError(
        f"The lab's passwords were expected in '{path}', and the file is damaged.",
        details=(reason,),
        hint=(
            "Before the first 'labkit deploy' remove the file. Afterwards the same passwords stand "
            "in the answer file on the controller; labkit takes them from there when the file is gone."
        ),
    )
