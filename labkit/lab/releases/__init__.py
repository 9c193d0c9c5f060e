"""The OpenStack releases labkit deploys: a folder of data each, read when it is asked for.

A folder has `release.yaml` (which Packstack, which repositories), `options.tsv` (every answer-file
key) and `steps.tsv` (what a run prints).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from pydantic import Field
from ruamel.yaml import YAML

from labkit.lab.types import Edge

if TYPE_CHECKING:
    from labkit.lab.topology import Release

ARCHITECTURE = "x86_64"
KEYS = "/etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS"


class Repository(Edge):
    """A yum repository of a CentOS 7 release tree."""

    name: str = Field(
        pattern=r"^[a-z0-9-]+$", description="Its id in labkit.repo without the prefix."
    )
    path: str = Field(
        pattern=r"^([a-z0-9_-]+/)+$", description="Where it lies below `<base>/<tree>/`."
    )
    sig: str = Field(
        default="",
        pattern=r"^[A-Za-z]*$",
        description="The special interest group that signs it; CentOS 7 itself when left out.",
    )
    exclude: str = Field(
        default="", description="Packages never taken from it, as in its stock .repo file."
    )

    @property
    def key(self) -> str:
        """Return the path in the guest of the key its packages are signed with."""
        return f"{KEYS}-SIG-{self.sig}" if self.sig else f"{KEYS}-7"

    @property
    def repo_id(self) -> str:
        """Return its id; not the stock one, which yum would find twice."""
        return f"labkit-{self.name}"


CENTOS = tuple(
    Repository(name=name, path=f"{path}/{ARCHITECTURE}/")
    for name, path in (("base", "os"), ("updates", "updates"), ("extras", "extras"))
)


class ReleaseFile(Edge):
    """The content of a release.yaml."""

    title: str = Field(description="What OpenStack calls it.")
    packstack: str = Field(description="The version of Packstack whose tables these are.")
    package: str = Field(
        description="The package of CentOS' extras that brings the groups' keys and .repo files."
    )
    repositories: tuple[Repository, ...] = Field(
        description="The special interest groups' repositories."
    )
    pins: Mapping[str, Mapping[str, str]] = Field(
        default={},
        description="By CentOS release tree: packages whose other versions break facter or Packstack.",
    )
    answers: Mapping[str, str] = Field(
        default={}, description="Answers that every scenario gives, as this release needs them."
    )
    percent_is_read: bool = Field(
        default=False, description="Packstack's parser fails on '%(' (SafeConfigParser)."
    )
    nova_services: tuple[str, ...] = Field(description="What Nova lists of a controller.")


@cache
def facts(release: Release) -> ReleaseFile:
    """Return what release.yaml says of a release."""
    return ReleaseFile.model_validate(YAML(typ="safe").load(text(release, "release.yaml")))


def repositories(release: Release) -> tuple[Repository, ...]:
    """Return every repository that a release's nodes need: CentOS' own first."""
    return (*CENTOS, *facts(release).repositories)


def text(release: Release, name: str) -> str:
    """Return a file of a release's folder.

    Args:
        release: The release.
        name: The file's name.
    """
    return files(__package__).joinpath(release.value, name).read_text(encoding="utf-8")
