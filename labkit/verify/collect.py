"""The one script that runs all commands of a node side by side, and the reader of its answer."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from labkit.verify.outputs import Output, commands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labkit.lab.topology import ResolvedLab, ResolvedNode
    from labkit.verify.outputs import Command

COMMAND_SECONDS = 30
# More of one stream is no use to a check, and not worth sending.
STREAM_BYTES = 1024 * 1024
_FRAME = re.compile(rb"(?P<code>\d{1,3}) (?P<out>\d{1,8}) (?P<err>\d{1,8}) (?P<file>.+)")

# Two processes for the whole answer: an emulated guest pays a quarter of a second for each.
_ANSWER = """\
wait
paths=(); codes=()
for file in "${files[@]}"; do
  paths+=("$dir/$file.out" "$dir/$file.err"); code=255
  [ ! -f "$dir/$file.code" ] || read -r code <"$dir/$file.code"
  codes+=("$code")
done
mapfile -t sizes < <(stat -c %s -- "${paths[@]}")
printf 'labkit-outputs %d\\n' "${#files[@]}"
for i in "${!files[@]}"; do
  out=${sizes[2*i]} err=${sizes[2*i+1]}
  printf '%d %d %d %s\\n' "${codes[i]}" \\
    "$((out > most ? most : out))" "$((err > most ? most : err))" "${files[i]}"
done
head -q -c "$most" -- "${paths[@]}"
"""


def script(lab: ResolvedLab, node: ResolvedNode) -> str:
    """Return the script for root's bash that runs every command of a node, all at once.

    It prints a line with the number of commands; per command its exit code, the bytes of its two
    streams and its file; then all streams. Lengths come first, so nothing a command prints can
    be taken for anything else.
    """
    return script_of(commands(lab, node))


def script_of(asked: Sequence[Command]) -> str:
    """Return the script for these commands."""
    lines = [
        "umask 077; export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"most={STREAM_BYTES}",
        "dir=$(mktemp -d) && trap 'rm -rf \"$dir\"' EXIT || exit",
        f"files=({' '.join(shlex.quote(command.file) for command in asked)})",
        f'ask() {{ timeout -k 2 {COMMAND_SECONDS} bash -c "$2"',
        '  echo "$?" >"$dir/$1.code"; }',
    ]
    for command in asked:
        file = shlex.quote(command.file)
        streams = f'</dev/null >"$dir"/{file}.out 2>"$dir"/{file}.err'
        lines.append(f"ask {file} {shlex.quote(command.shell)} {streams} &")
    return "\n".join([*lines, _ANSWER])


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
