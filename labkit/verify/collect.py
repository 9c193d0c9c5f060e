"""The one script that runs all commands of a node side by side, and the reader of its answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.resources import guest_script
from labkit.verify.outputs import Kind, Output, command_seconds, commands

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.verify.outputs import Command

# More of one stream is no use to a check, and not worth sending.
STREAM_BYTES = 1024 * 1024
_FRAME = re.compile(rb"(?P<code>\d{1,3}) (?P<out>\d{1,8}) (?P<err>\d{1,8}) (?P<file>.+)")


def script(lab: ResolvedLab, node: ResolvedNode, kinds: Collection[Kind] = tuple(Kind)) -> str:
    """Return the script for root's bash that runs a node's commands of these kinds, all at once."""
    asked = [command for command in commands(lab, node) if command.kind in kinds]
    return script_of(asked, seconds=command_seconds(lab))


def script_of(asked: Sequence[Command], *, seconds: int) -> str:
    """Return the script for these commands, each of which is given so many seconds."""
    return guest_script(
        __package__,
        "outputs",
        most=STREAM_BYTES,
        seconds=seconds,
        files=tuple(command.file for command in asked),
        shells=tuple(command.shell for command in asked),
    )


def unpack(answer: bytes) -> Mapping[str, Output]:
    """Return what the script printed as outputs by file name.

    Raises:
        ValueError: It is not the script's answer, or it broke off.
    """
    head, _, rest = answer.partition(b"\n")
    count = re.fullmatch(rb"labkit-outputs (\d{1,3})", head)
    if count is None:
        msg = "it does not begin with the number of outputs"
        raise ValueError(msg)
    frames: list[re.Match[bytes]] = []
    for _ in range(int(count[1])):
        line, _, rest = rest.partition(b"\n")
        frame = _FRAME.fullmatch(line)
        if frame is None:
            msg = "a line that should describe an output does not"
            raise ValueError(msg)
        frames.append(frame)
    if len(rest) != sum(int(frame["out"]) + int(frame["err"]) for frame in frames):
        msg = "it has more or fewer bytes than it says"
        raise ValueError(msg)
    outputs: dict[str, Output] = {}
    for frame in frames:
        out, err = int(frame["out"]), int(frame["err"])
        outputs[frame["file"].decode("utf-8", "replace")] = Output(
            text=rest[:out].decode("utf-8", "replace"),
            returncode=int(frame["code"]),
            stderr=rest[out : out + err].decode("utf-8", "replace"),
        )
        rest = rest[out + err :]
    return outputs
