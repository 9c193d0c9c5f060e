"""Renders the kickstart of a box, the kernel line that hands it to anaconda, and what sets up an image.

Writes nothing.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

from labkit.errors import OperationError
from labkit.lab.templates import render
from labkit.resources import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labkit.boxes.file import KickstartBoxFile

# The port on which the kickstart reports: PACKAGE, FAILED and OK lines (kickstart/centos7-verify).
RESULT_PORT = "org.labkit.install.0"
KICKSTART_PATH = "ks.cfg"
# The first brings an image to where anaconda leaves a system, the others are those of a kickstart.
IMAGE_SCRIPTS = ("image-prepare", "centos7-post", "centos7-verify")
# Both on the installer's command line and in the installed system. RHEL's systemd 219 names
# virtio cards by their PCI path only when net.ifnames=1 is there (rhbz 1269216).
KERNEL_ARGS = ("net.ifnames=1", "biosdevname=0", "console=tty0", "console=ttyS0,115200n8")

# What libblkid leaves as it is in /dev/disk/by-label (util-linux, blkid_encode_string).
_PLAIN_IN_LABEL = frozenset(string.ascii_letters + string.digits + "#+-.:=@_")
_RPM_FILE = re.compile(r"(?P<name>.+)-[^-]+-[^-]+\.[^.-]+\.rpm")


def render_kickstart(box: KickstartBoxFile, *, firstboot: Mapping[str, bytes]) -> str:
    """Return the kickstart of a box.

    Args:
        box: Its box.yaml.
        firstboot: Content of `labkit-firstboot` and `labkit-firstboot.service` by name, of which
            the guest gets every byte.

    Raises:
        HostError: The template is missing from this installation.
    """
    stem = box.kickstart.removesuffix(".ks.j2")
    return render(
        f"kickstart/{box.kickstart}",
        box=box,
        kernel_args=KERNEL_ARGS,
        port=f"/dev/virtio-ports/{RESULT_PORT}",
        script=firstboot["labkit-firstboot"],
        unit=firstboot["labkit-firstboot.service"],
        post=read_text(f"kickstart/{stem}-post").rstrip("\n"),
        verify=read_text(f"kickstart/{stem}-verify").rstrip("\n"),
    )


def render_image_scripts(*, firstboot: Mapping[str, bytes]) -> dict[str, str]:
    """Return the scripts that make an image a box, by name, in the order they are run inside it.

    Args:
        firstboot: As for `render_kickstart`.

    Raises:
        HostError: One is missing from this installation.
    """
    return {
        name: render(
            "kickstart/image-script.j2",
            name=name,
            kernel_args=KERNEL_ARGS,
            script=firstboot["labkit-firstboot"],
            unit=firstboot["labkit-firstboot.service"],
            part=read_text(f"kickstart/{name}").rstrip("\n"),
        )
        for name in IMAGE_SCRIPTS
    }


def missing_packages(box: KickstartBoxFile, names_on_iso: Iterable[str]) -> tuple[str, ...]:
    """Return the packages of a box that its ISO does not have, in the order of the box.yaml.

    Groups are not looked for: what they hold is said in the ISO's `repodata`, and anaconda itself
    stops when a group is unknown.

    Args:
        box: The box's box.yaml.
        names_on_iso: File names in the ISO's `/Packages`; those of other things than RPMs are
            passed over.
    """
    found = (_RPM_FILE.fullmatch(name) for name in names_on_iso)
    present = {rpm["name"] for rpm in found if rpm is not None}
    return tuple(name for name in box.packages if name[0] != "@" and name not in present)


def kernel_line(*, stage2_label: str, kickstart_label: str) -> str:
    """Return the kernel command line that starts anaconda with a kickstart from a second CD.

    Every part is there for a reason found in anaconda 21.48.22.134 and dracut 033: `inst.ks` by
    label, because the implicit way is a race and `cdrom:` hangs with two drives; `inst.cmdline`,
    because `inst.text` would wait for an answer; `rd.retry`, because the default of 180 seconds
    only delays the failure of a CD that is not there.

    Args:
        stage2_label: Volume label of the installation ISO, as it stands in the ISO.
        kickstart_label: Volume label of the ISO that holds `ks.cfg` in its root.

    Raises:
        OperationError: A label is empty, or cannot be written on the command line.
    """
    words = (
        f"inst.ks=hd:LABEL={_device_label(kickstart_label)}:/{KICKSTART_PATH}",
        f"inst.stage2=hd:LABEL={_device_label(stage2_label)}",
        "inst.cmdline",
        *KERNEL_ARGS,
        "rd.retry=60",
    )
    return " ".join(words)


def _device_label(label: str) -> str:
    """Return a label as udev names it in /dev/disk/by-label."""
    if not label or ":" in label or not label.isprintable():
        msg = (
            "A volume label of printable characters without ':' was expected, because anaconda "
            f"ends a label there, and {label!r} was found."
        )
        raise OperationError(msg, hint="Use an ISO with another volume label.")
    return "".join(
        # Characters beyond ASCII pass as they are; the escapes are lower case hex.
        char if char in _PLAIN_IN_LABEL or not char.isascii() else f"\\x{ord(char):02x}"
        for char in label
    )
