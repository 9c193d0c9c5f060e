"""Finds what labkit ships besides code: templates, boxes, kickstarts, the default lab."""

from __future__ import annotations

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
        if (place / "Vagrantfile.j2").is_file():
            return place
    msg = f"labkit's templates were expected beside the package '{package}' and are not there."
    raise HostError(msg, hint="Install labkit again, from a wheel or with 'make setup'.")


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
        raise HostError(msg, hint="Install labkit again.") from exc
