"""What a node shows of a running Packstack: its boot id, and the Puppet logs on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK_BYTES = 256 * 1024
MARK = b"labkit-log "

# Packstack keeps each run's manifests below a directory of its own and renames a log from
# X.pp.running to X.pp.finished when Puppet is done (packstack/modules/puppet.py).
_WATCH = """\
export LC_ALL=C
read -r boot </proc/sys/kernel/random/boot_id
echo "boot $boot"
shopt -s nullglob
for log in /var/tmp/packstack/*/manifests/*.pp.running /var/tmp/packstack/*/manifests/*.pp.finished; do
  [ "$log" -nt "$since" ] || [ ! -e "$since" ] || continue
  base=${log%.running}; base=${base%.finished}
  known=0
  while read -r name count; do [ "$name" = "$base" ] && known=$count; done <<<"$offsets"
  size=$(stat -c %s "$log") || continue
  more=$((size - known))
  [ "$more" -gt 0 ] || more=0
  [ "$more" -le "$chunk" ] || more=$chunk
  echo "labkit-log $log $size $more"
  [ "$more" = 0 ] || tail -c +"$((known + 1))" "$log" | head -c "$more"
  echo
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPiece:
    """A Puppet log as it was at one moment.

    Attributes:
        path: Without the ending that says whether Puppet is done: the log's identity.
        manifest: The manifest's file name, `<ip>_<role>.pp`.
        size: Its length in bytes.
        content: What is new since the offset asked for; not more than `CHUNK_BYTES`.
    """

    path: str
    manifest: str
    size: int
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSample:
    """What a node showed at one moment."""

    boot_id: str
    logs: tuple[LogPiece, ...]


def watch_script(offsets: Mapping[str, int], *, since: str) -> str:
    """Return the script that prints a node's boot id and what is new in its Puppet logs.

    Args:
        offsets: Bytes known already, by `LogPiece.path`.
        since: A file of the guest; logs older than it belong to earlier runs. On a node
            without it all logs count.
    """
    known = "\\n".join(f"{path} {count}" for path, count in offsets.items() if _plain(path))
    return f"chunk={CHUNK_BYTES} since='{since}' offsets=$'{known}'\n{_WATCH}"


def _plain(path: str) -> bool:
    # The path comes from the guest and goes back into a script: nothing that needs quoting.
    return path.startswith("/") and all(c.isalnum() or c in "/._-" for c in path)


def parse_watch(printed: bytes) -> NodeSample:
    """Return what `watch_script` printed as a record.

    Raises:
        ValueError: It is not what the script prints.
    """
    first, _, rest = printed.partition(b"\n")
    word, boot_id = first.decode("utf-8").split(" ")
    if word != "boot":
        msg = f"expected the boot id first, found {first!r}"
        raise ValueError(msg)
    logs: list[LogPiece] = []
    while rest:
        head, _, rest = rest.partition(b"\n")
        if not head.startswith(MARK):
            msg = f"expected a log's head, found {head[:80]!r}"
            raise ValueError(msg)
        path, size, more = head.removeprefix(MARK).decode("utf-8").rsplit(" ", 2)
        content, rest = rest[: int(more)], rest[int(more) + 1 :]
        base = path.rpartition(".")[0]
        logs.append(
            LogPiece(
                path=base,
                manifest=base.rpartition("/")[2],
                size=int(size),
                content=content,
            )
        )
    return NodeSample(boot_id=boot_id, logs=tuple(logs))
