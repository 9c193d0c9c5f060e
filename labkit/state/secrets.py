"""The secrets of a lab, and text that has none of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from labkit.lab import options
from labkit.lab.answers import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from labkit.lab.topology import ResolvedLab
    from labkit.state.directory import LabDirectory

# A word that somebody chose for a password, such as 'openstack', is in too much that is none.
_HIDDEN = re.compile(r"(?=.*[^A-Za-z]).{8,}|.{16,}", re.DOTALL)
_LOGIN = re.compile(r"://[^/?#@:]*:(?P<password>.*)@", re.DOTALL)


def password_file(directory: LabDirectory) -> Path:
    """Return where the secrets of a lab's OpenStack lie, as a JSON object by answer-file key."""
    return directory.keys / "packstack-passwords.json"


def known_secrets(lab: ResolvedLab, directory: LabDirectory) -> frozenset[str]:
    """Return what must not be shown: secrets of the lab file, and those that were made.

    Left out is what has fewer than eight characters, or letters alone and fewer than sixteen.
    """
    return frozenset(
        secret
        for secret in (*_written(lab), *_made(password_file(directory)))
        if _HIDDEN.fullmatch(secret)
    )


def hidden(text: str, secrets: Iterable[str]) -> str:
    """Return a text with every secret blacked out, longer ones first."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _written(lab: ResolvedLab) -> Iterator[str]:
    answers = dict(lab.deployment.answers)
    if answers:
        yield from (answers[key] for key in options.secret_keys() if key in answers)
    urls = (*lab.repositories.bases, lab.repositories.proxy or "", *answers.values())
    for login in filter(None, map(_LOGIN.search, urls)):
        yield login["password"]
        yield unquote(login["password"])


def _made(path: Path) -> Iterator[str]:
    # What is damaged is for the verb to say that needs it.
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(found, dict):
        yield from (value for value in found.values() if isinstance(value, str))
