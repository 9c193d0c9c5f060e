"""What is mounted, and removing a directory tree only where nothing is: rmtree would empty it too."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

from labkit.errors import HostError

MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def mount_points(text: bytes) -> tuple[Path, ...]:
    r"""Return the mount points of a mountinfo, in its order.

    The kernel writes a space, a tab, a newline and a backslash (and '#' since Linux 5.13) as octal
    escapes: `\040`, `\011`, `\012`, `\134` (fs/proc_namespace.c, show_mountinfo).
    """
    fields = [line.split(b" ")[4] for line in text.splitlines()]
    plain = [_ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), field) for field in fields]
    return tuple(Path(os.fsdecode(path)) for path in plain)


def remove_tree(path: Path, mountinfo: Path = MOUNTINFO) -> None:
    """Remove a directory and all that is in it, or the link to one; nothing when it is not there.

    Raises:
        HostError: Something is mounted on it or in it.
    """
    if path.is_symlink():
        path.unlink()
    if not path.exists():
        return
    real = path.resolve()
    for mount in mount_points(mountinfo.read_bytes()):
        if mount.is_relative_to(real):
            place = shlex.quote(str(mount))
            msg = f"'{path}' cannot be removed: '{mount}' is still mounted there."
            raise HostError(msg, hint=f"Run 'umount -R {place}' and try again.")
    shutil.rmtree(path)
