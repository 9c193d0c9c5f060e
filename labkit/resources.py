"""Finds what labkit ships besides code: templates, boxes, kickstarts, the default lab, guests' scripts."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import HostError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def root() -> Traversable:
    """Return the directory that holds `Vagrantfile.j2`, `boxes` and `kickstart`.

    In a wheel that is `labkit/data`; in a checkout, editable installs included, it is the
    directory above the package.

    Raises:
        HostError: The installation carries no templates.
    """
    package = files("labkit")
    places = [package / "data"]
    if isinstance(package, Path):
        places.append(package.parent)
    for place in places:
        if is_root(place):
            return place
    msg = f"labkit's templates were expected beside the package '{package}' and are not there."
    raise HostError(msg, hint="Install labkit again, from a wheel or with 'make setup'.")


def is_root(place: Traversable) -> bool:
    """Return whether a directory is one such as `root()`: of this labkit or of another."""
    return (place / "Vagrantfile.j2").is_file()


def read_text(name: str) -> str:
    """Return the text of a shipped file.

    Args:
        name: Its path below `root()`, with forward slashes.

    Raises:
        HostError: There is no such file.
    """
    try:
        return root().joinpath(*name.split("/")).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, KeyError) as exc:
        msg = f"The file '{name}' is missing from labkit's installation."
        raise HostError(
            msg, hint="Install labkit again, from a wheel or with 'make setup'."
        ) from exc


def guest_script(package: str, name: str, /, **data: str | int | tuple[str, ...]) -> str:
    """Return a script for bash in a guest, with the data of this call in it.

    Args:
        package: The package that has it in its directory `guest`.
        name: Its name there, without `.sh`.
        data: Values of the variables that stand between `# data:` and `# end of data` in it.
            They are quoted: nothing in them is more than text to bash.

    Raises:
        ValueError: Those are other variables.
    """
    text = files(package).joinpath("guest", f"{name}.sh").read_text(encoding="utf-8")
    before, *rest = re.split(r"^# data: .*\n((?:.*\n)*?)# end of data\n", text, flags=re.MULTILINE)
    block = "".join(rest[:1])
    if re.findall(r"^(\w+)=", block, re.MULTILINE) != list(data):
        msg = f"the script '{name}' has other variables, or in another order, than {list(data)}"
        raise ValueError(msg)
    lines = (f"{variable}={_bash(value)}\n" for variable, value in data.items())
    return "".join((before, *lines, *rest[1:]))


def _bash(value: str | int | tuple[str, ...]) -> str:
    if not isinstance(value, tuple):
        return shlex.quote(str(value))
    if len(value) < 2:  # noqa: PLR2004 -- one or none fits on the line
        return f"({''.join(shlex.quote(item) for item in value)})"
    return "(\n" + "".join(f"  {shlex.quote(item)}\n" for item in value) + ")"
