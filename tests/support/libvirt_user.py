"""Becomes a user whom libvirt lets in by its group, inside a sandbox, and runs a command.

Started as `python libvirt_user.py DIRECTORY... -- COMMAND...` by root, it ends as that command. The
directories, the clone, its Python and the boxes are mounted anew where a directory above them lets
nobody else pass, as root's home does.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import sys
from pathlib import Path

from labkit.host.files import cache_root
from labkit.host.process import run

USER = "nobody"
GROUP = "libvirt"
HOME = Path("/run/labkit-user")
SOCKET = Path("/run/libvirt/libvirt-sock")
CLONE = Path(__file__).parents[2]


def closed_above(path: Path) -> Path | None:
    """Return the uppermost directory above a path that lets only its owner and group pass."""
    above = reversed(path.absolute().parents)
    return next((each for each in above if not each.stat().st_mode & stat.S_IXOTH), None)


def open_the_way(paths: list[Path]) -> None:
    """Mount each path anew where others cannot reach it; only this sandbox sees that."""
    closed = {path: above for path in paths if (above := closed_above(path)) is not None}
    kept = {path: HOME / "kept" / str(number) for number, path in enumerate(closed)}
    for path, place in kept.items():
        place.mkdir(parents=True)
        run(["mount", "--bind", path, place], timeout=10)
    for above in set(closed.values()):
        run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", above], timeout=10)
    for path, place in kept.items():
        path.mkdir(parents=True, exist_ok=True)
        run(["mount", "--bind", place, path], timeout=10)


def main(words: list[str]) -> None:
    """Become the user, with a home that holds the clone's lab file alone, and run the command there."""
    end = words.index("--")
    paths, command = [Path(word) for word in words[:end]], words[end + 1 :]
    os.umask(0o022)
    HOME.mkdir()
    user, group = pwd.getpwnam(USER), grp.getgrnam(GROUP)
    open_the_way([CLONE, Path(sys.base_prefix), cache_root(), *paths])
    # As the packages of libvirt have it on a host: its group may write, others may not.
    os.chown(SOCKET, -1, group.gr_gid)
    SOCKET.chmod(0o770)
    shutil.copy(CLONE / "lab.yaml", HOME)
    os.chown(HOME, user.pw_uid, user.pw_gid)
    os.chdir(HOME)
    environment = dict(os.environ) | {"HOME": str(HOME), "PYTHONPATH": str(CLONE)}
    for name in ("LABKIT_STATE_DIR", "XDG_STATE_HOME", "VAGRANT_HOME"):
        environment.pop(name, None)
    os.setgroups([group.gr_gid])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.execvpe(command[0], command, environment)  # noqa: S606 -- no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
