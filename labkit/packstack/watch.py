"""What a node shows of a running Packstack: its boot id, and the Puppet logs on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.resources import guest_script

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK_BYTES = 256 * 1024
MARK = b"labkit-log "
# Of the newest run, on the controller (packstack/installer/basedefs.py): there Packstack puts each
# log when its manifest has ended, a moment before it removes its directories on the hosts.
FETCHED = "/var/tmp/packstack/latest/manifests"  # noqa: S108 -- Packstack's own place


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


def watch_script(offsets: Mapping[str, int], *, since: str, fetched: str = "") -> str:
    """Return the script that prints a node's boot id and what is new in its Puppet logs.

    Args:
        offsets: Bytes known already, by `LogPiece.path`.
        since: A file of the guest; logs older than it belong to earlier runs. On a node
            without it all logs count.
        fetched: A directory of the guest whose `*.pp.log` are looked at too; empty for none.
    """
    return guest_script(
        __package__,
        "watch",
        since=since,
        chunk=CHUNK_BYTES,
        fetched=fetched,
        paths=tuple(offsets),
        offsets=tuple(str(offset) for offset in offsets.values()),
    )


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
