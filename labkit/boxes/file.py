"""The content of a box.yaml: one model for each way a box is made."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, field_validator

from labkit.lab.topology import Release
from labkit.lab.types import Edge

PackageName = Annotated[str, Field(pattern=r"^@?[A-Za-z0-9][A-Za-z0-9._+-]*$")]


class Trim(Edge):
    """One measure that makes the guest smaller or faster to boot.

    Its work is done by these keys, by the script `trims/<name>`, or by both.
    """

    why: str = Field(min_length=1, description="What it leaves out, and what that costs nobody.")
    kernel_args: tuple[str, ...] = Field(default=(), description="Added to the command line.")
    exclude_paths: tuple[str, ...] = Field(
        default=(), description="Path patterns that dpkg does not unpack."
    )
    include_paths: tuple[str, ...] = Field(
        default=(), description="Exceptions from exclude_paths."
    )


class DebianBoxFile(Edge):
    """The box.yaml of a box that mmdebstrap makes of Debian packages."""

    description: str = Field(min_length=1, description="One sentence for the list of boxes.")
    stand_in: bool = Field(description="True for a box that only stands in for CentOS.")
    builder: Literal["mmdebstrap"] = Field(description="What makes the root file system.")
    based_on: str | None = Field(
        default=None, description="A box whose keys and files this one starts from."
    )
    suite: str = Field(pattern=r"^[a-z]+$", description="Debian release by code name.")
    disk_gib: int = Field(ge=2, le=512, description="Virtual size of the disk in GiB.")
    packages: tuple[str, ...] = Field(min_length=1, description="Packages to install.")
    more_packages: tuple[str, ...] = Field(
        default=(), description="Further packages, for a box that is based on another."
    )
    wheels: str | None = Field(
        default=None,
        description="Requirements file of the box for pip, each line with its hash; `customize` "
        "finds the wheels in `wheels/`.",
    )
    kernel_args: tuple[str, ...] = Field(description="The kernel command line without root=.")
    trims: dict[str, Trim] = Field(default={}, description="Applied in this order.")
    release: Release = Field(
        default=Release.QUEENS, description="The release of OpenStack whose Packstack it brings."
    )
    package_base: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        description="Where the stand-in's packages seem to lie; takes the place of lab.yaml's repos.",
    )


class InstallIso(Edge):
    """The installation image a kickstart box is made from."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.iso$", description="Its file name.")
    size: int = Field(gt=0, description="Its length in bytes.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Its checksum in hex.")
    sources: tuple[Annotated[str, Field(pattern=r"^https?://\S+$")], ...] = Field(
        min_length=1, description="URLs of the very file, tried in this order."
    )
    label: str = Field(
        min_length=1, max_length=32, pattern=r"^[\x20-\x7e]+$", description="Its volume label."
    )


class InstallTimeouts(Edge):
    """How long an installation may take with KVM; without KVM it is given several times that."""

    install: int = Field(default=3600, gt=0, description="Seconds for the whole installation.")
    silence: int = Field(
        default=600,
        gt=0,
        description="Seconds without a log line, console output or disk write.",
    )


class KickstartBoxFile(Edge):
    """The box.yaml of a box that anaconda installs from an ISO by a kickstart."""

    description: str = Field(min_length=1, description="One sentence for the list of boxes.")
    stand_in: bool = Field(description="True for a box that only stands in for CentOS.")
    builder: Literal["kickstart"] = Field(description="What makes the root file system.")
    based_on: str | None = Field(
        default=None, description="A box whose keys and files this one starts from."
    )
    iso: InstallIso = Field(description="What it is installed from.")
    kickstart: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*\.ks\.j2$",
        description="Its template in the directory 'kickstart'.",
    )
    kickstart_version: str = Field(
        pattern=r"^RHEL\d+$", description="The kickstart syntax, as ksvalidator names it."
    )
    disk_gib: int = Field(ge=2, le=512, description="Virtual size of the disk in GiB.")
    memory_mib: int = Field(
        default=2048,
        ge=1024,  # anaconda refuses below 768 MiB, more when its image stays in memory
        description="Memory of the machine that installs, in MiB.",
    )
    cpus: int = Field(default=2, ge=1, le=64, description="CPUs of the machine that installs.")
    packages: tuple[PackageName, ...] = Field(
        min_length=1, description="Packages and, with '@', groups to install from the ISO."
    )
    absent_packages: tuple[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9*][A-Za-z0-9._+*-]*$")], ...
    ] = Field(default=(), description="Packages of those groups to leave out; '*' is a wildcard.")
    guest: dict[str, str] = Field(
        default={}, description="Versions of packages the installed guest is expected to have."
    )
    timeouts: InstallTimeouts = Field(
        default=InstallTimeouts(), description="When an installation is given up."
    )


class ImageBoxFile(Edge):
    """The box.yaml of a box that is made from an image of a disk."""

    description: str = Field(min_length=1, description="One sentence for the list of boxes.")
    stand_in: bool = Field(
        default=False, description="True for a box that only stands in for CentOS."
    )
    builder: Literal["image"] = Field(description="What makes the root file system.")
    based_on: str | None = Field(
        default=None, description="A box whose keys and files this one starts from."
    )
    image: str = Field(
        max_length=4096,
        description="A qcow2 file: a path, relative to this box.yaml, or an http(s) URL.",
    )
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        validate_default=True,
        description="The image's checksum in hex; a URL needs it.",
    )
    size: int | None = Field(
        default=None,
        gt=0,
        description="The image's length in bytes, for a server that does not tell it.",
    )
    disk_gib: int = Field(ge=2, le=512, description="Virtual size of the disk in GiB.")
    contract: Literal["add", "complete"] = Field(
        default="add",
        description="add: labkit puts into the image what its boxes have; complete: it has all that.",
    )

    @property
    def url(self) -> str | None:
        """Return where the image is fetched from; None for a path."""
        return self.image if "://" in self.image else None

    @field_validator("image")
    @classmethod
    def _path_or_url(cls, value: str) -> str:
        if not value or not value.isprintable():
            msg = "a path or an http(s) URL of printable characters is expected"
            raise ValueError(msg)
        # What stands before an '@' there may be a password, and is shown with the URL.
        if "://" in value and not re.fullmatch(r"https?://[^\s/@]+/\S+", value):
            msg = "a path, or an http(s) URL without a user in it, is expected"
            raise ValueError(msg)
        return value

    @field_validator("sha256", mode="after")
    @classmethod
    def _needed_for_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and "://" in info.data.get("image", ""):
            msg = "an image from a URL needs its checksum"
            raise ValueError(msg)
        return value


BoxFile = DebianBoxFile | KickstartBoxFile | ImageBoxFile

_BOX_FILE: TypeAdapter[BoxFile] = TypeAdapter(Annotated[BoxFile, Field(discriminator="builder")])


def parse_box_file(data: object) -> BoxFile:
    """Return the model of a box.yaml's content.

    Raises:
        pydantic.ValidationError: A key is missing, unknown or not as it should be.
    """
    return _BOX_FILE.validate_python(data)


def problems(error: ValidationError) -> tuple[str, ...]:
    """Return what is wrong with a box.yaml, one `key: what` each."""
    lines = []
    for problem in error.errors():
        # The first part is the builder whose model was taken; of no builder there is no part.
        place = ".".join(map(str, problem["loc"][1:])) or "builder"
        lines.append(f"{place}: {problem['msg']}")
    return tuple(lines)
