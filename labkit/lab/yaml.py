"""Reads a YAML file into plain data that knows where every key and value stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from labkit.errors import LabFileError
from labkit.lab import masking
from labkit.lab.types import Unquoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Place: TypeAlias = tuple[str | int, ...]
Plain: TypeAlias = "str | list[Plain] | dict[str, Plain]"

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
MAX_FOUND = 60
NOTHING = "nothing"
WRITTEN_OUT = "every value written out in its place, so that a message can name its line"
MERGE_KEY = "a merge key ('<<')"
# What people do most when YAML is broken, by the parser's words; whether it is where the thing begins.
SLIPS = (
    (
        r"but found '<scalar>'",
        "more text behind a closing quote, or a line that begins elsewhere than those beside it",
        False,
    ),
    (
        r"expected <block end>",
        "a line that begins further left or right than those beside it",
        False,
    ),
    (r"could not find expected ':'", "a line without a ':' and a blank after its key", True),
    (r"character '\\t'", "a tab; blanks are what a line begins with", False),
    (
        r"mapping values are not allowed",
        "a ': ' where none can be: its key begins too far right, or its text needs quotes",
        False,
    ),
    (r"scanning a quoted scalar", "a quote that is never closed", True),
    (
        r"parsing a flow (sequence|mapping), expected ','",
        "a bracket that is not closed, or a ',' too few",
        True,
    ),
    (r"parsing a flow node.*stream end", "a bracket that is never closed", True),
    (
        r"character '[@`%]' that cannot",
        "a text that begins with a sign of YAML's own and needs quotes",
        False,
    ),
    (r"single document", "a second document; a lab file is one", False),
)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a text, both numbers counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something in a file that is not as it should be.

    Attributes:
        position: Where to look.
        place: Keys and list indices that lead there; empty for the whole file.
        expected: Noun phrase.
        found: Noun phrase, what the file has instead; no secret is in it.
    """

    position: Position
    place: Place
    expected: str
    found: str

    def line(self, file: str) -> str:
        """Return it as `file:LINE:COL: path: expected …, found …`."""
        path = masking.meant_for_url(".".join(str(part) for part in self.place)) or "the file"
        where = f"{file}:{self.position.line}:{self.position.column}"
        return f"{where}: {path}: expected {self.expected}, found {self.found}"


@dataclass(slots=True, kw_only=True)
class Document:
    """A read file.

    Attributes:
        data: Its content; entries with a problem of their own are left out. Scalars are texts as
            they are written: what is a number or a switch is for their places to say, and YAML's
            versions do not agree on it.
        keys: Position of each key or list item.
        values: Position of each value.
        written: How each value can be named in a message; what is known for a secret is not in it.
        problems: Duplicate keys, values that are missing or not plain.
    """

    data: Plain = field(default_factory=dict)
    keys: dict[Place, Position] = field(default_factory=dict)
    values: dict[Place, Position] = field(default_factory=dict)
    written: dict[Place, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        LabFileError: It cannot be read, is no UTF-8, or its syntax is broken.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as exc:
        msg = f"The lab file '{path}' does not exist."
        hint = "'labkit init' writes one; '--lab FILE' names one that is elsewhere."
        raise LabFileError(msg, hint=hint) from exc
    except IsADirectoryError as exc:
        msg = f"A lab file was expected at '{path}', and a directory was found."
        raise LabFileError(
            msg, hint=f"Give the path of a file, such as '{path}/lab.yaml'."
        ) from exc
    except OSError as exc:
        msg = f"The lab file '{path}' cannot be read: {exc.strerror}."
        raise LabFileError(msg) from exc
    if len(raw) > MAX_BYTES:
        msg = f"The lab file '{path}' is larger than 1 MiB, which no lab needs."
        raise LabFileError(msg, hint="Give the path of a lab file; 'labkit init' writes one.")
    return parse(_decoded(raw, path), str(path))


def text(data: object) -> str:
    """Return plain data as YAML, its keys in their order."""
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 4096
    stream = StringIO()
    writer.dump(data, stream)
    return stream.getvalue()


def parse(text: str, name: str) -> Document:
    """Read YAML text.

    Args:
        text: The text.
        name: What to call the file in messages.

    Raises:
        LabFileError: The text is empty, its syntax is broken, or it nests or refers too far.
    """
    document = Document()
    try:
        refusals = list(_refusals(text))
        if refusals:
            raise failure(name, refusals)
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as exc:
        raise failure(name, [_syntax_problem(exc)]) from exc
    except ReaderError as exc:
        before = text[: exc.position]
        position = Position(before.count("\n") + 1, exc.position - before.rfind("\n"))
        problem = Problem(
            position=position,
            place=(),
            expected="printable text",
            found=f"the character U+{ord(text[exc.position]):04X}",
        )
        raise failure(name, [problem]) from exc
    except YAMLError as exc:
        msg = f"The lab file '{name}' is no YAML: {exc}."
        raise LabFileError(msg) from exc
    if node is None or _is_null(node):
        msg = f"The lab file '{name}' is empty."
        raise LabFileError(msg, hint="'labkit init DIR' writes one to start from.")
    _add(document, (), node)
    if not isinstance(node, MappingNode):
        problem = Problem(
            position=_position(node),
            place=(),
            expected="a mapping ('key: value')",
            found=document.written[()],
        )
        raise failure(name, [problem])
    return document


def failure(name: str, problems: list[Problem]) -> LabFileError:
    """Return the one error that lists every problem of a file, in file order."""
    lines = dict.fromkeys(
        problem.line(name) for problem in sorted(problems, key=lambda problem: problem.position)
    )
    count = f"{len(lines)} problems" if len(lines) > 1 else "a problem"
    return LabFileError(
        f"The lab file '{name}' has {count}.",
        details=tuple(lines),
        hint="Correct each line as it says; 'labkit validate' reads the file again.",
    )


def _decoded(raw: bytes, path: Path) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = raw[: exc.start]
        problem = Problem(
            position=Position(before.count(b"\n") + 1, exc.start - before.rfind(b"\n")),
            place=(),
            expected="UTF-8 text",
            found=f"the byte 0x{raw[exc.start]:02x}",
        )
        raise failure(str(path), [problem]) from exc


def _refusals(text: str) -> Iterator[Problem]:
    """Yield what would make the text mean more than it says, before anything is built from it."""
    # Of each open mapping, how many keys and values came so far; None of a list.
    parts: list[int | None] = []
    merging = False
    for event in YAML(typ="safe", pure=True).parse(text):
        position = Position(event.start_mark.line + 1, event.start_mark.column + 1)
        is_key = False
        if isinstance(event, NodeEvent) and parts and parts[-1] is not None:
            is_key = parts[-1] % 2 == 0
            parts[-1] += 1
        if isinstance(event, CollectionStartEvent):
            parts.append(0 if isinstance(event, MappingStartEvent) else None)
        elif isinstance(event, CollectionEndEvent):
            parts.pop()
        if len(parts) > MAX_DEPTH:
            yield Problem(
                position=position,
                place=(),
                expected=f"at most {MAX_DEPTH} levels",
                found="deeper nesting",
            )
            return
        refused = _refused(event, is_key=is_key)
        if refused is not None and not merging:
            expected, found = refused
            yield Problem(position=position, place=(), expected=expected, found=found)
        # What is merged is mostly an alias, of which all has been said then.
        merging = refused is not None and refused[1] == MERGE_KEY


def _refused(event: Event, *, is_key: bool) -> tuple[str, str] | None:
    """Return what is expected instead of an event, and its name; None where it may be."""
    if is_key and isinstance(event, ScalarEvent) and event.value == "<<" and not event.style:
        return WRITTEN_OUT, MERGE_KEY
    if isinstance(event, AliasEvent):
        return f"{WRITTEN_OUT}, or quotes around a text with '*' in front", "an alias"
    if getattr(event, "anchor", None):
        return f"{WRITTEN_OUT}, or quotes around a text with '&' in front", "an anchor"
    if getattr(event, "tag", None):
        return "values without a tag, or quotes around a text with '!' in front", "a tag"
    return None


def _syntax_problem(error: MarkedYAMLError) -> Problem:
    # What it quotes of a tag may be a secret without quotes; of all else it names one character.
    parts = (error.context, re.sub(r"(tag handle) .*", r"\1", error.problem or ""))
    told = ", ".join(str(part) for part in parts if part)
    mark = error.problem_mark or error.context_mark
    found = f"a syntax error: {told}"
    for pattern, meaning, where_it_begins in SLIPS:
        if re.search(pattern, told):
            found = meaning
            mark = (error.context_mark if where_it_begins else None) or mark
            break
    position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
    return Problem(position=position, place=(), expected="valid YAML", found=found)


def _position(node: Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def _add(document: Document, place: Place, node: Node) -> Plain:
    """Put a node's positions into the document and return its plain data."""
    document.values[place] = _position(node)
    document.keys.setdefault(place, _position(node))
    mask = masking.meant_for_url if place[:1] == ("repos",) else masking.anything
    document.written[place] = _written(node, mask)
    data: Plain
    if isinstance(node, MappingNode):
        data = _mapping(document, place, node)
    elif isinstance(node, SequenceNode):
        data = _sequence(document, place, node)
    else:
        data = _scalar(node)
    if not place:
        document.data = data
    return data


def _mapping(document: Document, place: Place, node: MappingNode) -> dict[str, Plain]:
    data: dict[str, Plain] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, ScalarNode) else None
        if not key or _is_null(key_node):
            _complain(document, place, key_node, "a plain key", _written(key_node))
            continue
        here = (*place, key)
        if here in document.keys:
            first = document.keys[here].line
            found = f"'{key}' again (first on line {first})"
            _complain(document, here, key_node, "each key once", found)
            continue
        document.keys[here] = _position(key_node)
        if _is_null(value_node):
            expected = "a value, or the key left out"
            _complain(document, here, key_node, expected, _written(value_node))
        else:
            data[key] = _add(document, here, value_node)
    return data


def _sequence(document: Document, place: Place, node: SequenceNode) -> list[Plain]:
    data: list[Plain] = []
    for index, item in enumerate(node.value):
        here = (*place, index)
        if _is_null(item):
            # An item is never dropped: the ones after it would change their index.
            data.append("")
            document.keys[here] = document.values[here] = _position(item)
            _complain(document, here, item, "a value", _written(item))
        else:
            data.append(_add(document, here, item))
    return data


def _complain(document: Document, place: Place, node: Node, expected: str, found: str) -> None:
    document.problems.append(
        Problem(position=_position(node), place=place, expected=expected, found=found)
    )


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and str(node.tag).endswith(":null")


def _written(node: Node, mask: Callable[[str], str] = masking.anything) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    if _is_null(node):
        return f"'{node.value}', which is nothing without quotes" if node.value else NOTHING
    text = mask(str(node.value))
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    shown = f"'{text}'" if len(text) <= MAX_FOUND else f"'{text[:MAX_FOUND]}…'"
    # "expected a whole number, found '4'" would puzzle whoever wrote "4" in quotes.
    return f"the text {shown}" if getattr(node, "style", None) else shown


def _scalar(node: Node) -> str:
    text = str(node.value)
    return text if getattr(node, "style", None) else Unquoted(text)
