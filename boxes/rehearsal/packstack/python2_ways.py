"""The ways of Python 2 that Packstack 12.0.2 relies on, for a Python 3 that runs it.

Imported before Packstack. Each entry names what of Packstack needs it; nothing here changes what
Packstack decides or prints.
"""

from __future__ import annotations

import builtins
import configparser
import functools
import io
import platform
import subprocess
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Text(str):
    """Text that can be decoded, as what open() read could (modules/documentation.py)."""

    __slots__ = ()

    def decode(self, *_encoding: str) -> Text:
        """Return the text: it was decoded when it was read."""
        return self


class Popen(subprocess.Popen):  # type: ignore[type-arg]  # always text here
    """A child that reads and writes text: its output is searched (installer/utils/shell.py)."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"text": True, "errors": "replace", **options})


class Interpolation(configparser.Interpolation):
    """Refuses `%(`, and leaves `%{::processorcount}` alone (installer/run_setup.py)."""

    def before_get(self, parser: Any, section: str, option: str, value: str, defaults: Any) -> str:
        """Return the value as Python 2's ConfigParser would, which no answer refers with."""
        del parser, defaults
        if "%(" in value:
            raise configparser.InterpolationMissingOptionError(option, section, value, "")
        return value


class ConfigParser(configparser.RawConfigParser):
    """Python 2's parser of answer files: ` ;` begins a comment, a key may stand twice."""

    def __init__(self, *args: Any, **options: Any) -> None:
        ways = {
            "inline_comment_prefixes": (";",),
            "strict": False,
            "interpolation": Interpolation(),
            "empty_lines_in_values": False,
        }
        super().__init__(*args, **{**ways, **options})

    def _read(self, fp: Any, fpname: str) -> None:
        super()._read(fp, fpname)
        for section in self._sections.values():  # type: ignore[attr-defined]  # no stub has it
            # --validate-answer-file takes this entry out again.
            section.setdefault("__name__", "")


def sorted_by_cmp(
    found: Iterable[Any],
    cmp: Callable[[Any, Any], int] | None = None,
    *,
    key: Callable[[Any], Any] | None = None,
    reverse: bool = False,
    _sorted: Callable[..., list[Any]] = sorted,
) -> list[Any]:
    """Return it sorted, by a comparison if there is one (the plugins' order, run_setup.py)."""
    return _sorted(found, key=functools.cmp_to_key(cmp) if cmp else key, reverse=reverse)


def open_text(*args: Any, _open: Callable[..., Any] = open, **options: Any) -> Any:
    """Open a file that does not tell text from bytes.

    What was read can be decoded (modules/documentation.py), and what OpenSSL made can be written
    (plugins/ssl_001.py).
    """
    file = _open(*args, **options)
    if isinstance(file, io.TextIOWrapper):
        read, write = file.read, file.write
        file.read = lambda *size: Text(read(*size))  # type: ignore[method-assign]  # as it says
        file.write = lambda data: write(  # type: ignore[method-assign]  # as it says
            data.decode() if isinstance(data, bytes) else data
        )
    return file


def linux_distribution(*_args: object, **_options: object) -> tuple[str, str, str]:
    """Return what /etc/redhat-release says (nova_300.py, prescript_000.py)."""
    name, _, rest = Path("/etc/redhat-release").read_text(encoding="utf-8").partition(" release ")
    version, _, nickname = rest.strip().partition(" ")
    return name, version, nickname.strip("()")


def install() -> None:
    """Give Python these ways."""
    builtins.sorted = sorted_by_cmp  # type: ignore[assignment]  # takes cmp as well
    builtins.open = open_text  # type: ignore[assignment]  # its files know decode as well
    subprocess.Popen = Popen  # type: ignore[misc]  # for those who import it from now on
    platform.linux_distribution = linux_distribution  # type: ignore[attr-defined]  # gone in 3.8
    configparser.ConfigParser = ConfigParser  # type: ignore[misc]  # for those who import it
    configparser.SafeConfigParser = ConfigParser  # type: ignore[misc,assignment]  # gone in 3.12
    for name, kind in (("String", str), ("List", list), ("Dict", dict)):
        setattr(types, f"{name}Type", kind)
